"""Two certified OAuth clients from npm, openid-client and oauth4webapi, go the whole way with both issuers, unmodified.

The scripts beside this file are what a member would write with each library. The SME's part is done here, with the sandbox's
browser; a script and this file talk over standard input and output, one JSON document to a line.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from consent_server.sandbox.browser import Browser, follow
from consent_server.scheme import instant
from tests.conftest import RunningSandbox

pytestmark = pytest.mark.xdist_group("sandbox")

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
REDIRECT_URI = "https://client.example/callback"
SME = "normal"  # connected to the CAP, so that both issuers can serve it


def converse(folder: Path, script: str, job: dict[str, Any], browse: Callable[[str], str]) -> dict[str, Any]:
    """Run a script to its end; answers what the server told it."""
    # No other proxy, certificate or option than the script's own
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with subprocess.Popen(
        ["node", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        try:
            _write(running.stdin, job)
            for line in running.stdout:
                document = json.loads(line)
                if "told" in document:
                    return document["told"]
                _write(running.stdin, {"callback": browse(document["open"])})
            pytest.fail(f"{script} ended by itself:\n{running.stderr.read()}")
        finally:
            running.kill()


def _write(stream: Any, document: dict[str, Any]) -> None:
    stream.write(json.dumps(document) + "\n")
    stream.flush()


# issuer: client, license, the data call, and how many things it answers with
CASES = {
    "edp": ("cap", "electricity_and_gas", "/datasources/{id}/import?from=%(from)sT00:00:00Z&to=%(from)sT12:00:00Z", 24),
    "cap": ("fsp", "emissions", "/emissions?from=%(from)s&to=%(to)s", 6),
}


@pytest.mark.parametrize("script", ["openid-client.mjs", "oauth4webapi.mjs"], ids=["openid-client", "oauth4webapi"])
@pytest.mark.parametrize("party", CASES)
def test_the_client_goes_the_whole_way(script: str, party: str, node_folder: Path, sandbox: RunningSandbox) -> None:
    manifest = sandbox.manifest
    name, license_name, path, items = CASES[party]
    client, license_url = manifest["clients"][name], manifest["licenses"][license_name]
    sme = next(each for each in manifest["smes"] if each["name"] == SME)
    resource = manifest["resources"][party]
    first = instant.next_month(instant.parse(manifest["readings"]["from"]))  # of a month that is held from its start
    window = {name: instant.text(instant.months_later(first, number))[:10] for name, number in (("from", 0), ("to", 3))}
    job = {
        "issuer": manifest["issuers"][party],
        "client": {key: client[key] for key in ("client_id", "chain", "key")},
        "server_ca": manifest["trust"]["server_ca"],
        "license": license_url,
        "redirect_uri": REDIRECT_URI,
        "sources": f"{resource}/datasources" if party == "edp" else None,
        "data": resource + path % window,
        "audience": resource,
    }
    visited: list[str] = []

    def browse(url: str) -> str:
        visited.append(url)
        browser = Browser(Path(manifest["trust"]["server_ca"]))
        try:
            return follow(browser, browser.open(url), sme["journey"][party]).url
        finally:
            browser.close()

    told = converse(node_folder, script, job, browse)

    assert [sorted(parse_qs(urlsplit(url).query)) for url in visited] == [["client_id", "request_uri"]]
    claims = told.pop("claims", None)
    assert claims in (None, {"client_id": client["client_id"], "scope": license_url, "iss": manifest["issuers"][party]})
    assert 0 < told.pop("expires_in") <= 600
    assert told == {
        "issuer": manifest["issuers"][party],
        "scope": license_url,
        "token_type": "bearer",  # both libraries fold its case
        "refreshed": True,
        "data": {"status": 200, "items": items, "provenance": True},
        "afterwards": "invalid_grant",
    }


def test_the_lock_names_no_registry_and_pins_every_package() -> None:
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    asked = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    locked = {name.removeprefix("node_modules/"): each for name, each in lock["packages"].items() if name}
    assert asked == {name: locked[name]["version"] for name in asked}
    for name, each in locked.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", each["version"]), name
        assert each["integrity"].startswith("sha512-"), name
        assert "resolved" not in each, name
