"""The server refuses to start on a bad value, and what the sandbox relaxes production refuses: one row for each."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consent_server.issuer import redirect_uri
from consent_server.outbound.addresses import is_public, is_public_or_loopback
from consent_server.settings import BadSettings, Settings, load

ROOT = Path(__file__).resolve().parents[1]
PRODUCTION = ("edp.toml", "cap.toml")
SANDBOX = {"environment": "sandbox"}

#: Where the code asks which environment it is in. A new place needs its row below, or a reason here.
RELAXED = {
    "outbound/session.py": "loopback addresses may be called: test_which_addresses_may_be_called",
    "bank/settings.py": "what production refuses is optional: tests/documentation/test_bank.py",
    "issuer/par.py": "redirect URIs on ports, IP addresses and localhost: test_where_a_browser_may_be_sent",
    "caller/membership.py": "a lapsed agreement: test_who_refuses_a_lapsed_agreement",
    "parties/operator/doctor/scheme.py": "the doctor reports the same of our own agreement",
    "caller/trust.py": "a stale revocation list: tests/caller/test_trust.py, tests/refusals/test_a_revocation_list.py",
    "parties/operator/onboarding.py": "whether a first grant was made: tests/parties/operator/test_onboarding.py",
    "portal/bank_report.py": "a report says that it is the sandbox's: tests/documents/test_verify.py",
    "deployment.py": "no pause between calls to our own grid intensity",
    "web/door.py": "no Strict-Transport-Security: tests/web/test_shared.py",
    "web/pages.py": "pages say that this is the sandbox: tests/web/test_shared.py",
    "resource/remote.py": "hands the choice on to session and trust",
    "outbound/settings.py": "what calls read of settings: session.py decides",
    "settings/party.py": "the property itself, and the rows of REFUSED_IN_PRODUCTION",
}

REFUSED_IN_PRODUCTION: dict[str, tuple[dict[str, Any], str]] = {
    "a clock that can be stepped": ({"sandbox.clock": "clock"}, "sandbox.* must be absent"),
    "the sandbox's readings": (
        {"metering.readings_source": "consent_server.sandbox.readings:troubled"},
        "exists for the sandbox alone",
    ),
    "a register of the sandbox's": (
        {"metering.register_source": "consent_server.sandbox.register:identify"},
        "exists for the sandbox alone",
    ),
    "fixed sign-in codes": ({"sandbox.fixed_codes": "codes.json"}, "sandbox.* must be absent"),
    "nobody to ask": ({"public.contact.email": ""}, "public.contact needs an email or a telephone"),
    "no revocation list": ({"revocation_list.source": ""}, "revocation_list.source is required"),
    "callers that the Directory does not know": ({"clients.unknown_membership": "allow"}, "unknown_membership"),
    "calls to servers whose certificates may be revoked": (
        {"calls.server_revocation": "off"},
        "server_revocation",
    ),
    "a log-in on localhost": (
        {"journey.steps": ["login"], "login.issuer": "https://localhost:9", "login.client_id": "x", "login.key": "k"},
        "loopback",
    ),
    "public door on localhost": (
        {"public.origin": "https://localhost:8443", "issuer": "https://localhost:8443"},
        "loopback",
    ),
}

LOOPBACK = (
    "localhost",
    "LOCALHOST:8444",
    "localhost.",
    "edp.localhost",
    "127.0.0.1",
    "127.0.0.1:8444",
    "127.9.9.9",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
)

LOG_IN: dict[str, Any] = {
    "journey.steps": ["bill", "login"],
    "login.issuer": "https://login.example",
    "login.client_id": "us",
}

REFUSED_ANYWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "another environment": ({"environment": "test"}, "environment"),
    "another party": ({"party": "fsp"}, "party"),
    "metrics without a port": ({"metrics.bind": "127.0.0.1"}, "metrics.bind"),
    "metrics without a host": ({"metrics.bind": ":9464"}, "metrics.bind"),
    "metrics on the last port": ({"metrics.bind": "127.0.0.1:65535"}, "metrics.bind"),
    "an unknown key": ({"tokens.rotate": "true"}, "tokens.rotate"),
    "an unknown section": ({"token.bind_to_certificate": "true"}, "token"),
    "issuer over http": ({"issuer": "http://auth.edp.example.org"}, "issuer: "),
    "issuer with a slash": ({"issuer": "https://auth.edp.example.org/"}, "issuer: "),
    "issuer with a query": ({"issuer": "https://auth.edp.example.org?x"}, "issuer: "),
    "issuer with a user": ({"issuer": "https://u@auth.edp.example.org"}, "issuer: "),
    "issuer elsewhere": ({"issuer": "https://evil.example"}, "issuer must be on public.origin"),
    "issuer that begins alike": ({"issuer": "https://auth.edp.example.org.evil.example"}, "issuer must be on"),
    "one origin for both doors": ({"mutual_tls.origin": "https://auth.edp.example.org"}, "must differ"),
    "member of another Directory": ({"member.url": "https://directory.example/m/x"}, "is not in the Directory"),
    "Directory that begins alike": (
        {"member.application": "https://directory.core.trust.ib1.orgs/a/x"},
        "is not in the Directory",
    ),
    "a proxy's header without a proxy": ({"clients.arrival": "escaped-pem"}, "clients: proxies must name"),
    "RFC 9440 without a proxy": ({"clients.arrival": "client-cert"}, "clients: proxies must name"),
    "another arrival": ({"clients.arrival": "header"}, "clients.arrival"),
    "header with an underscore": ({"clients.header": "X_SSL_Client_Cert"}, "clients.header"),
    "header with a line end": ({"clients.header": "X-Cert\r\nX"}, "clients.header"),
    "code of 61 seconds": ({"lifetimes.code": "61"}, "lifetimes.code"),
    "pushed request of 600 seconds": ({"lifetimes.pushed_request": "600"}, "lifetimes.pushed_request"),
    "access token of 601 seconds": ({"lifetimes.access_token": "601"}, "lifetimes.access_token"),
    "no limit": ({"limits.tries_per_meter_per_day": "0"}, "limits.tries_per_meter_per_day"),
    "a boolean that is none": ({"tokens.bind_to_certificate": "perhaps"}, "tokens.bind_to_certificate"),
    "a log-in over http": ({"login.issuer": "http://login.example"}, "login.issuer"),
    "a log-in without a provider": ({"journey.steps": ["login"]}, "login.issuer and login.client_id are required"),
    "a log-in without a secret": (LOG_IN, "login.key or login.secret must be there"),
    "a log-in with two secrets": (LOG_IN | {"login.key": "k", "login.secret": "s"}, "login.key or login.secret"),
    "a log-in that is not OpenID": (LOG_IN | {"login.key": "k", "login.scopes": ["email"]}, "login.scopes"),
    "a log-in that the register has no query for": (
        LOG_IN | {"login.key": "k", "metering.register_source": "sql"},
        r"metering.sql_register.of_customer must be a query with the parameter :customer",
    ),
    "a browser sent over http": ({"login.through": ["http://login.example"]}, "login.through"),
    "no way to show who one is": ({"journey.steps": []}, "journey.steps"),
    "a number that is none": ({"revocation_list.max_age_s": "a day"}, "revocation_list.max_age_s"),
}

PROXIES = {
    "everybody": ["0.0.0.0/0"],
    "everybody over IPv6": ["127.0.0.1", "::/0"],
    "a name": ["proxy.example"],
    "host bits": ["10.0.0.1/8"],
    "nothing": [""],
}


def refused(name: str, overrides: dict[str, Any]) -> str:
    with pytest.raises(BadSettings) as error:
        load(ROOT / "config" / name, overrides)
    return str(error.value)


@pytest.mark.parametrize("name", PRODUCTION)
def test_the_files_to_start_from_are_good(name: str) -> None:
    assert not load(ROOT / "config" / name).is_sandbox


@pytest.mark.parametrize(("overrides", "says"), REFUSED_IN_PRODUCTION.values(), ids=list(REFUSED_IN_PRODUCTION))
def test_production_refuses_what_the_sandbox_may_do(overrides: dict[str, str], says: str) -> None:
    assert says in refused("edp.toml", overrides)
    assert load(ROOT / "config" / "edp.toml", overrides | SANDBOX).is_sandbox


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize(
    "of", ["api.edp.example.org", "registry.core.trust.ib1.org", "directory.core.trust.ib1.org"], ids=lambda of: of[:9]
)
def test_production_refuses_loopback_however_it_is_spelt(of: str, host: str, tmp_path: Path) -> None:
    file = tmp_path / "edp.toml"
    file.write_text((ROOT / "config" / "edp.toml").read_text(encoding="utf-8").replace(of, host))
    with pytest.raises(BadSettings, match="is a loopback address"):
        load(file)
    assert load(file, SANDBOX).is_sandbox


@pytest.mark.parametrize("environment", ["production", "sandbox"])
@pytest.mark.parametrize(("overrides", "says"), REFUSED_ANYWHERE.values(), ids=REFUSED_ANYWHERE.keys())
def test_refused_in_either_environment(environment: str, overrides: dict[str, str], says: str) -> None:
    message = refused("edp.toml", {"environment": environment} | overrides)
    assert says in message


@pytest.mark.parametrize("proxies", PROXIES.values(), ids=PROXIES.keys())
def test_a_list_of_proxies_that_would_believe_too_many_or_nobody(proxies: list[str]) -> None:
    message = refused("edp.toml", {"clients.arrival": "escaped-pem", "clients.proxies": proxies})
    assert "clients.proxies" in message


def test_a_path_behind_the_origin_is_a_good_issuer() -> None:
    settings = load(ROOT / "config" / "edp.toml", {"issuer": "https://auth.edp.example.org/tenant"})
    assert settings.issuer == "https://auth.edp.example.org/tenant"


@pytest.mark.parametrize("field", ["environment", "party", "issuer"])
def test_what_is_never_inferred(field: str, tmp_path: Path) -> None:
    text = (ROOT / "config" / "edp.toml").read_text(encoding="utf-8")
    (tmp_path / "edp.toml").write_text(re.sub(rf"(?m)^{field} = .*$", "", text, count=1))
    with pytest.raises(BadSettings, match=f"{field}: this key is missing"):
        load(tmp_path / "edp.toml")
    assert Settings.model_fields[field].is_required()


@pytest.mark.parametrize(
    ("environment", "said", "refuses"),
    [("production", "", True), ("sandbox", "", False), ("production", "warn", False), ("sandbox", "refuse", True)],
)
def test_who_refuses_a_lapsed_agreement(environment: str, said: str, refuses: bool) -> None:
    changed = {"environment": environment, "clients.lapsed_agreements": said}
    settings = load(ROOT / "config" / "edp.toml", changed)
    assert settings.clients.refuses_lapsed(sandbox=settings.is_sandbox) is refuses


@pytest.mark.parametrize(
    "url", ["http://d.example/list", "list", "https://u@d.example/list", "https://d.example/list#a"]
)
def test_an_allowlist_is_at_an_https_url_which_may_have_a_query(url: str) -> None:
    assert "scheme.server_allowlist" in refused("edp.toml", {"scheme.server_allowlist": url})
    good = "https://directory.core.trust.ib1.org/allowlist/?for=perseus"
    assert load(ROOT / "config" / "edp.toml", {"scheme.server_allowlist": good}).scheme.allowlist_url == good


def test_a_list_is_set_as_json_and_what_only_begins_like_one_is_text() -> None:
    given = {**LOG_IN, "login.key": "k", "journey.steps": '["login", "bill"]', "public.bind": "[::]:8443"}
    found = load(ROOT / "config" / "edp.toml", given)
    assert (found.journey.steps, found.public.bind) == (("login", "bill"), "[::]:8443")
    assert "journey.steps: this must be a list" in refused("edp.toml", {"journey.steps": "bill"})


def test_every_place_that_asks_for_the_environment_has_its_row() -> None:
    package = ROOT / "consent_server"
    asking = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if not file.is_relative_to(package / "sandbox") and "is_sandbox" in file.read_text(encoding="utf-8")
    }
    assert asking == RELAXED.keys()


LOOPBACK_URIS = (
    "https://localhost/cb",
    "https://localhost:8445/cb",
    "https://client.localhost/cb",
    "https://127.0.0.1/cb",
    "https://[::1]/cb",
    "https://192.0.2.7/cb",
    "https://client.example:8445/cb",
    "https://client/cb",
)


@pytest.mark.parametrize("uri", LOOPBACK_URIS)
def test_where_a_browser_may_be_sent(uri: str) -> None:
    assert redirect_uri.fault(uri, sandbox=True) is None
    assert redirect_uri.fault(uri, sandbox=False) is not None
    assert redirect_uri.fault("https://client.example/cb", sandbox=False) is None


@pytest.mark.parametrize(
    ("address", "production", "sandbox"),
    [
        ("127.0.0.1", False, True),
        ("127.8.8.8", False, True),
        ("::1", False, True),
        ("10.0.0.1", False, False),
        ("169.254.169.254", False, False),
        ("0.0.0.0", False, False),
        ("8.8.8.8", True, True),
    ],
)
def test_which_addresses_may_be_called(address: str, production: bool, sandbox: bool) -> None:
    import ipaddress

    asked: list[tuple[Callable[[Any], bool], bool]] = [(is_public, production), (is_public_or_loopback, sandbox)]
    assert all(may(ipaddress.ip_address(address)) is expected for may, expected in asked)


def test_pages_call_us_by_our_name_or_by_our_host() -> None:
    assert load(ROOT / "config" / "edp.toml", {"member.name": "Meters & Co"}).brand == "Meters & Co"
    assert load(ROOT / "config" / "edp.toml", {"member.name": ""}).brand == "auth.edp.example.org"
