"""Schemathesis, which nobody here wrote, drives every machine interface of a running sandbox from the documents that its doors
serve: no fault, no answer that its document does not describe, nothing accepted that its document forbids.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consent_server.sandbox.browser import Browser, follow
from consent_server.sandbox.client import Client, claims
from consent_server.tokens.data_sources import DataSources
from tests.conftest import RunningSandbox

pytestmark = pytest.mark.xdist_group("sandbox")

HERE = Path(__file__).parent
SME = "normal"
# What a permission is asked with. Not the manifest's first clients: a new grant would end one that another test holds.
ASKERS = {"edp": ("cap2", "electricity_and_gas"), "cap": ("fsp2", "emissions")}

# Who knocks where: id -> door, party, document, client, with an access token, only this path
RUNS = {
    "issuer": ("doors", "edp", "issuer", "cap2", False, None),
    "issuer, public side": ("pages", "edp", "issuer-public", None, False, None),
    "consumption data": ("doors", "edp", "consumption-data", "cap2", True, None),
    "emissions data": ("doors", "cap", "emissions-data", "fsp2", True, None),
    "messages": ("doors", "cap", "messages", "edp", False, None),
    "service": ("doors", "cap", "service", "cap2", False, None),
}
LONG_ONLY = {
    "meters": ("doors", "edp", "meters", "edp", False, None),
    "introspection": ("doors", "edp", "issuer", "edp", False, "/introspect"),
    "issuer of the CAP": ("doors", "cap", "issuer", "fsp2", False, None),
    "messages at the bank": ("doors", "fsp", "messages", "cap2", False, None),
    "service, public side": ("pages", "edp", "service", None, False, None),
}

Run = tuple[str, str, str, str | None, bool, str | None]


class Granted:
    """A client with a permission of the SME's; `access_token` is fresh each time."""

    def __init__(self, manifest: dict[str, Any], party: str) -> None:
        name, license_name = ASKERS[party]
        self.client = Client(manifest["clients"][name], manifest["trust"]["server_ca"])
        self.client.discover(manifest["issuers"][party])
        self.scope = manifest["licenses"][license_name]
        request = self.client.push(self.scope, "https://client.example/callback")
        browser = Browser(Path(manifest["trust"]["server_ca"]))
        sme = next(each for each in manifest["smes"] if each["name"] == SME)
        page = follow(browser, browser.open(request.url), sme["journey"][party])
        browser.close()
        self.refresh_token = self.client.redeem(request, self.client.code(request, page.url)).json()["refresh_token"]

    def access_token(self) -> str:
        return str(self.client.refresh(self.refresh_token).json()["access_token"])

    def parameters(self) -> dict[str, str]:
        sources = list(DataSources.from_claim(claims(self.access_token())["datasources"]))
        return {
            "client_id": self.client.client_id,
            "scope": self.scope,
            "refresh_token": self.refresh_token,
            "token": self.refresh_token,
            **({"id": sources[0]} if sources else {}),
        }


@pytest.fixture(scope="module")
def granted(sandbox: RunningSandbox) -> Iterator[Callable[[str], Granted]]:
    """The permission at a party's issuer, asked for once; all are given back at the end."""
    made: dict[str, Granted] = {}

    def at(party: str) -> Granted:
        if party not in made:
            made[party] = Granted(sandbox.manifest, party)
        return made[party]

    yield at
    for each in made.values():
        assert each.client.revoke(each.refresh_token).status_code == 200


def fuzz(
    sandbox: RunningSandbox, granted: Callable[[str], Granted], folder: Path, run: Run, examples: int, *more: str
) -> None:
    kind, party, name, client, token, path = run
    manifest = sandbox.manifest
    arguments = ["--tls-verify", manifest["trust"]["server_ca"], "--max-examples", str(examples), *more]
    parameters = {}
    if client is not None:
        entry = manifest["clients"][client]
        arguments += ["--request-cert", entry["chain"], "--request-cert-key", entry["key"]]
    if party in ASKERS:
        parameters = granted(party).parameters()
    if client is not None:
        parameters["client_id"] = manifest["clients"][client]["client_id"]
    if token:
        arguments += ["--header", f"Authorization: Bearer {granted(party).access_token()}"]
    if path is not None:
        arguments += ["--include-path", path]
    # What is well-formed may still be refused: a made-up token is. Everything else that schemathesis knows is checked.
    command = ["run", "--checks", "all", "--exclude-checks", "positive_data_acceptance", "--continue-on-failure"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", *command, *arguments),
            *("--suppress-health-check", "all", "--no-color", f"{manifest[kind][party]}/openapi/{name}.json"),
        ],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(HERE),
            "SCHEMATHESIS_HOOKS": "fuzzing_hooks",
            "FUZZING_GRANT": json.dumps(parameters),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    count = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert count, done.stdout
    assert count[1] == count[2]
    assert int(count[1]) >= examples


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_an_interface_is_as_its_document_says(
    run: Run, sandbox: RunningSandbox, granted: Callable[[str], Granted], tmp_path: Path
) -> None:
    fuzz(sandbox, granted, tmp_path, run, 8, "--seed", "1", "--phases", "examples,coverage,fuzzing")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("run", (RUNS | LONG_ONLY).values(), ids=RUNS | LONG_ONLY)
def test_an_interface_is_as_its_document_says_at_length(
    run: Run, sandbox: RunningSandbox, granted: Callable[[str], Granted], tmp_path: Path
) -> None:
    fuzz(sandbox, granted, tmp_path, run, 150)
