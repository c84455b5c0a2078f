"""docs/bank.md: its settings are accepted, its example runs against a sandbox, and its columns are those of the table."""

import io
import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from consent_server import clock
from consent_server.bank.settings import BankSettings, load
from consent_server.bank.table import COLUMNS
from consent_server.sandbox.browser import Browser, follow
from consent_server.sandbox.parties import to_toml
from consent_server.scheme.messages import WITHDRAWAL_SUBJECT, withdrawal
from consent_server.settings import BadSettings
from consent_server.tokens.sealing import Sealer
from tests.conftest import RunningSandbox

PAGE = (Path(__file__).resolve().parents[2] / "docs/bank.md").read_text(encoding="utf-8")
CALLBACK = "https://client.example/callback"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_the_settings_are_accepted() -> None:
    settings = BankSettings(**tomllib.loads(block("toml")))
    assert settings.clients.refuses_lapsed(sandbox=settings.is_sandbox)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        pytest.param(
            'source = "/etc/bank/certificates/client.crl"', 'source = ""', "required in production", id="no list"
        ),
        pytest.param('proxies = ["127.0.0.1"]', "", "must name the proxies", id="a header from anybody"),
        pytest.param("[clients]", '[clients]\nunknown_membership = "allow"', "must be refuse", id="unknown members"),
        pytest.param("[keys]", '[calls]\nserver_revocation = "off"\n[keys]', "must not be off", id="revoked servers"),
        pytest.param("[keys]", "[keys]\ntokens = 1", "there is no such key", id="a key that nobody reads"),
    ],
)
def test_what_is_refused_in_production(before: str, after: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "bank.toml").write_text(block("toml").replace(before, after))
    with pytest.raises(BadSettings, match=says):
        load(tmp_path / "bank.toml")


def test_the_columns_are_those_of_the_table() -> None:
    rows = [line for line in PAGE.partition("## The table")[2].splitlines() if line.startswith("| `")]
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])] == list(COLUMNS)


def settings_for(sandbox: RunningSandbox, folder: Path) -> None:
    """The same sections for the sandbox, as its bank `fsp2`."""
    manifest = sandbox.manifest
    trust, client = manifest["trust"], manifest["clients"]["fsp2"]
    of_cap = tomllib.loads((sandbox.directory / "cap/settings.toml").read_text(encoding="utf-8"))
    sections = tomllib.loads(block("toml"))
    sealing = folder / "sealing"
    Sealer.make(sealing)
    keys = {"client_certificate": client["chain"], "client_key": client["key"], "signing_root": trust["signing_ca"]}
    written = {
        "environment": "sandbox",
        "license": manifest["licenses"]["emissions"],
        "callback": CALLBACK,
        "member": {"url": client["member"], "application": client["client_id"]},
        "clients": {**sections["clients"], "root": trust["client_ca"], "issuers": of_cap["clients"]["issuers"]},
        "revocation_list": {"source": trust["crl"]},
        "scheme": {name: of_cap["scheme"][name] for name in sections["scheme"]},
        "keys": {**keys, "sealing": str(sealing), "server_roots": trust["server_ca"]},
    }
    assert written.keys() == sections.keys()
    (folder / "bank.toml").write_text(to_toml(written))


@pytest.mark.xdist_group("sandbox")
def test_the_example_runs(sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_for(sandbox, tmp_path)
    monkeypatch.chdir(tmp_path)
    manifest = sandbox.manifest
    code = re.sub(r'CAP = ".*?"', f"CAP = {manifest['issuers']['cap']!r}", block("python"))
    assert len(code.strip().splitlines()) <= 50
    example: dict[str, Any] = {}
    exec(code, example)
    session = {"customer": "Bakery"}
    browser = Browser(Path(manifest["trust"]["server_ca"]), stops_at=CALLBACK)
    sme = next(each for each in manifest["smes"] if each["name"] == "normal")
    page = follow(browser, browser.open(example["apply"](session)), sme["journey"]["cap"])
    browser.close()
    permission = example["callback"](session, urlsplit(page.url).query)
    told = example["monthly"](permission)
    assert [line.split(":")[0] for line in told] == ["electricity", "gas"]
    assert all(re.search(r"kg CO2e? in 12 months, score 2$", line) for line in told)
    (held,) = example["store"].all()
    assert held.emissions is not None
    assert held.emissions.signers[0].member == manifest["clients"]["edp"]["member"]
    assert example["as_csv"]([held], clock.now()).count("\n") == 3
    token = Sealer.from_file(tmp_path / "sealing").unseal(held.sealed_token)
    assert [sent(example, manifest, token, name)[0] for name in ("cap2", "fsp", "cap")] == [403, 403, 200]
    assert example["monthly"](permission) == "no figures: withdrawn"


def sent(example: dict[str, Any], manifest: dict[str, Any], token: str, client: str) -> Any:
    certificate = Path(manifest["clients"][client]["certificate"]).read_text()
    document = withdrawal(f"{manifest['trust']['registry']}/trust-framework", WITHDRAWAL_SUBJECT, token)
    body = json.dumps(document).encode()
    return example["message"](
        {
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_X_SSL_CLIENT_CERT": quote(certificate, safe=""),
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
    )
