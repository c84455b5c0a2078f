"""Section D of the security matrix, from outside: data, withdrawal, records, evidence and messages.

Each test begins with the id of the matrix's row that it holds.
"""

import base64
import hashlib
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from consent_server import clock
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.session import Session
from consent_server.pki.member_certificate import load_certificates
from consent_server.resource import protect, remote
from consent_server.sandbox.browser import follow
from consent_server.sandbox.client import Client, claims
from consent_server.scheme.messages import WITHDRAWAL_SUBJECT
from consent_server.tokens import refresh_token
from tests.refusals.flows import Tokens, World
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("sandbox")

MARCH = "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z"


@pytest.fixture(scope="module")
def live(world: World) -> Tokens:
    """A permission for electricity and gas that no test of this file ends."""
    return world.tokens(sme="gaps")


@pytest.fixture(scope="module")
def electricity_only(world: World, live: Tokens) -> Tokens:
    """The same client and SME, under the older text: it leaves the wider permission standing."""
    return world.tokens(sme="gaps", license="electricity")


def permission_of(world: World, tokens: Tokens, party: str = "edp") -> dict[str, Any]:
    account = claims(tokens.access)["sub"]
    return next(dict(row) for row in world.oracle.stores[party].rows("permission") if row["account"] == account)


def sources(world: World, tokens: Tokens) -> dict[str, str]:
    """Fuel -> data source id."""
    answer = world.data(tokens.granted.client, tokens.access)
    assert answer.status_code == 200, answer.text
    return {source["type"]: source["id"] for source in answer.json()["data"]}


def readings(source: str, query: str = MARCH, measure: str = "import") -> str:
    return f"/datasources/{quote(source, safe='')}/{measure}?{query}"


def withdrawn_by_sme(world: World, sme: str, permission: str | None = None) -> None:
    """The SME withdraws its newest live grant on the EDP's own pages, or the one with this id."""
    browser, edp = world.browser(), world.manifest["pages"]["edp"]
    identify, choose, confirm = world.sme(sme)["withdraw"]["edp"]
    page = follow(browser, browser.open(edp + identify["path"]), [identify])
    if permission is None:
        page = follow(browser, page, [choose])
    else:
        page = browser.open(f"{edp}{confirm['path']}?permission={permission}")
    assert follow(browser, page, [confirm]).status == 200


# D01 - D02: data that a token does not reach


def test_D01_the_smes_own_gas_under_an_electricity_only_permission(
    world: World, live: Tokens, electricity_only: Tokens
) -> None:
    assert sources(world, electricity_only).keys() == {"electricity"}
    gas = sources(world, live)["gas"]
    answer = world.oracle.refused(
        lambda: world.data(electricity_only.granted.client, electricity_only.access, readings(gas)),
        "fuel_not_covered",
        403,
        "insufficient_scope",
    )
    assert "insufficient_scope" in answer.headers["WWW-Authenticate"]


def test_D01_every_other_data_source_is_the_same_404(world: World, live: Tokens) -> None:
    others = {
        "another account's": sources(world, world.tokens(sme="export"))["electricity"],
        "another client's": sources(world, world.tokens("cap2", sme="gaps"))["electricity"],
        "unknown": "A" * 24,
        "a path": "../../etc/passwd",
        "SQL": "' OR 1=1 --",
        "a number": "1900274650835",
        "its own with a slash": sources(world, live)["electricity"] + "/",
    }
    bodies = {}
    for name, source in others.items():
        answer = world.oracle.refused(
            lambda source=source: world.data(live.granted.client, live.access, readings(source)),
            "no_such_data_source",
            404,
            "not_found",
            secrets=[source] if len(source) in (13, 24) else [],  # a meter's number, an id
        )
        bodies[name] = {**answer.json(), "correlation_id": ""}
    assert len({json.dumps(body) for body in bodies.values()}) == 1, bodies


def test_D01_a_measure_that_the_meter_does_not_have(world: World, live: Tokens) -> None:
    source = sources(world, live)["electricity"]
    world.oracle.refused(
        lambda: world.data(live.granted.client, live.access, readings(source, measure="export")),
        "no_such_measure",
        404,
        "not_found",
    )


WINDOWS = {
    "100 years": "from=1926-03-01T00:00:00Z&to=2026-03-01T00:00:00Z",
    "401 days": "from=2025-01-01T00:00:00Z&to=2026-02-06T00:00:00Z",
    "reversed": "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
    "31 February": "from=2026-02-31T00:00:00Z&to=2026-03-01T00:00:00Z",
    "25 o'clock": "from=2026-03-01T25:00:00Z&to=2026-03-02T00:00:00Z",
    "in the hour that summer time leaves out": "from=2026-03-29T01:30:00&to=2026-03-30T00:00:00Z",
    "no zone": "from=2026-03-01T00:00:00&to=2026-03-02T00:00:00",
    "a zone by name": "from=2026-03-01T00:00:00[Europe/London]&to=2026-03-02T00:00:00Z",
    "a date of another form": "from=2026-3-1&to=2026-3-2",
    "year 9999": "from=2026-03-01T00:00:00Z&to=9999-12-31T23:59:59Z",
    "year 10000": "from=2026-03-01T00:00:00Z&to=10000-01-01T00:00:00Z",
    "epoch milliseconds": "from=1772323200000&to=1772409600000",
    "epoch seconds": "from=1772323200&to=1772409600",
    "no from": "to=2026-03-01T00:00:00Z",
    "empty from": "from=&to=2026-03-01T00:00:00Z",
    "from twice": "from=2026-03-01T00:00:00Z&from=2026-03-02T00:00:00Z",
    "a plus that became a space": "from=2026-03-01T00:00:00+00:00&to=2026-03-02T00:00:00Z",
    "NUL": "from=%00&to=2026-03-02T00:00:00Z",
    "1e999": "from=1e999&to=2026-03-02T00:00:00Z",
}


@pytest.mark.parametrize("query", WINDOWS.values(), ids=WINDOWS.keys())
def test_D02_a_window_that_cannot_be_used(world: World, live: Tokens, query: str) -> None:
    path = readings(sources(world, live)["electricity"], query)
    answer = world.oracle.refused(
        lambda: world.data(live.granted.client, live.access, path), "bad_window", 422, "invalid_request"
    )
    for fault in answer.json()["detail"]:
        assert fault["loc"][0] == "query"
        assert fault["loc"][1] in ("from", "to")


# D03 - D04: a resource server that hears of withdrawals, and one that does not


class CutOff(Session):
    """Our session, whose cable can be pulled."""

    pulled = False

    def get(self, *args: Any, **more: Any) -> Any:
        if CutOff.pulled:
            raise Unreachable("no connection", "localhost")
        return super().get(*args, **more)


class Elsewhere:
    """An EDP's own data API, protected by release.protect: it has the issuer's public URLs and nothing else of it.

    Its proxy ends TLS and hands on the certificate (RFC 9440), so it can run inside the test.
    """

    def __init__(self, world: World, tokens: Tokens) -> None:
        manifest, token = world.manifest, claims(tokens.access)
        trust = world.sandbox.directory / "trust"
        guard = protect.Protect(
            issuer=manifest["issuers"]["edp"],
            audience=manifest["resources"]["edp"],
            directory=manifest["trust"]["directory"],
            client_root=manifest["trust"]["client_ca"],
            client_issuers=trust / "client_issuer.pem",
            server_roots=manifest["trust"]["server_ca"],
            revocation_list=manifest["trust"]["crl"],
            roles=tuple(manifest["clients"]["cap2"]["roles"]),
            licenses={token["scope"]: protect.License(token["permission"]["text_sha256"], tuple(token["fuels"]))},
            arrival="client-cert",
            proxies=("127.0.0.1",),
            environment="sandbox",
        )
        app = Flask("elsewhere")

        @app.get("/my/data/<meter>")
        @guard.protect(fuel="electricity", datasource="meter")
        def data(meter: str) -> dict[str, str]:
            return {"account": guard.permission.account}

        self._app = app

    def get(self, source: str, client: Client, token: str) -> TestResponse:
        leaf, *issuers = load_certificates(Path(client.entry["chain"]).read_bytes())
        return self._app.test_client().get(
            f"/my/data/{source}",
            headers={
                "Authorization": f"Bearer {token}",
                "Client-Cert": _bytes(leaf),
                "Client-Cert-Chain": ", ".join(_bytes(issuer) for issuer in issuers),
            },
        )


def _bytes(certificate: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return f":{base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()}:"


@pytest.fixture(scope="module")
def elsewhere(world: World, live: Tokens) -> Iterator[Elsewhere]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "Session", CutOff)
        yield Elsewhere(world, live)


def test_D03_withdrawn_data_is_refused_beside_the_issuer_and_elsewhere(world: World, elsewhere: Elsewhere) -> None:
    tokens = world.tokens(sme="several_sites")
    client = tokens.granted.client
    source = sources(world, tokens)["electricity"]
    assert elsewhere.get(source, client, tokens.access).status_code == 200
    withdrawn_by_sme(world, "several_sites")
    world.oracle.refused(
        lambda: world.data(client, tokens.access), "permission_ended", 401, "invalid_token", secrets=[tokens.access]
    )
    answer = until(
        lambda: (answer := elsewhere.get(source, client, tokens.access)).status_code != 200 and answer,
        "the withdrawal did not arrive elsewhere",
    )
    assert (answer.status_code, answer.get_json()["error"]) == (401, "invalid_token")
    assert answer.get_json()["error_uri"].endswith("/permission_ended")


def test_D03_withdrawn_emissions_are_refused(world: World) -> None:
    tokens = world.tokens("fsp", "normal", "emissions", "cap")
    client = tokens.granted.client
    path = "/emissions?from=2026-03-01"
    assert world.data(client, tokens.access, path).status_code == 200
    assert client.revoke(tokens.refresh).status_code == 200
    world.oracle.refused(
        lambda: world.data(client, tokens.access, path),
        "permission_ended",
        401,
        "invalid_token",
        door="cap_mutual_tls",
        secrets=[tokens.access],
    )


def test_D04_a_resource_server_that_is_cut_off_releases_nothing(
    world: World, live: Tokens, elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    source, client = sources(world, live)["electricity"], live.granted.client
    token = client.refresh(live.refresh).json()["access_token"]
    assert elsewhere.get(source, client, token).status_code == 200
    caplog.set_level("INFO")
    CutOff.pulled = True
    try:
        until(lambda: '"list_refresh_failed"' in caplog.text, "no alarm")
        # Still believed for as long as we said, and then no more.
        assert elsewhere.get(source, client, token).status_code == 200
        clock.step_by(lambda: remote.STATUS_MAX_AGE_S + 5)
        answer = elsewhere.get(source, client, token)
        assert (answer.status_code, answer.get_json()["error"]) == (503, "temporarily_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert token not in caplog.text
    finally:
        CutOff.pulled = False
        clock.step_by(int)
    until(lambda: elsewhere.get(source, client, token).status_code == 200, "it does not come back")


# D05 - D08: revocation, introspection, records


@pytest.mark.parametrize("what", ["another's refresh token", "another's access token", "unknown", "forged", "a code"])
def test_D05_revoking_what_is_not_ones_own_does_nothing(world: World, live: Tokens, what: str) -> None:
    client = world.client("cap2" if "another" in what else "cap")
    token = {
        "another's refresh token": live.refresh,
        "another's access token": live.access,
        "unknown": "nonsense",
        "forged": live.refresh[:-2] + ("A" if live.refresh[-2] != "A" else "B") + live.refresh[-1],
        "a code": live.granted.code,
    }[what]
    before = world.oracle.stores["edp"].contents()
    answer = client.revoke(token)
    assert (answer.status_code, answer.json()) == (200, {})
    assert "no-store" in answer.headers["Cache-Control"]
    assert world.oracle.stores["edp"].contents() == before
    assert live.granted.client.refresh(live.refresh).status_code == 200


def test_D05_ones_own_is_answered_alike_and_ends(world: World) -> None:
    tokens = world.tokens(sme="export")
    client = tokens.granted.client
    for _ in range(2):  # and once more is no fault
        answer = client.revoke(tokens.refresh)
        assert (answer.status_code, answer.json()) == (200, {})
    assert client.refresh(tokens.refresh).status_code == 400


@contextmanager
def database_locked(world: World, party: str) -> Iterator[None]:
    """Somebody else writes to the party's SQLite file, and does not finish."""
    other = sqlite3.connect(world.sandbox.directory / party / "database.sqlite", isolation_level=None, timeout=60)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_D06_a_revocation_that_cannot_be_written_is_no_success(world: World, live: Tokens) -> None:
    client = live.granted.client

    def revoke() -> httpx.Response:
        with database_locked(world, "edp"):
            return client.revoke(live.refresh)

    answer = world.oracle.refused(revoke, "store_unavailable", 503, "temporarily_unavailable", secrets=[live.refresh])
    assert int(answer.headers["Retry-After"]) > 0
    assert client.refresh(live.refresh).status_code == 200


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("cap", "not_an_introspector"),
        ("cap2", "not_an_introspector"),
        ("fsp", "not_an_introspector"),
        ("edp2", "not_an_introspector"),
        ("cap_fsp", "not_an_introspector"),
        ("no_role", "not_an_introspector"),
        ("revoked", ("certificate_revoked",)),
    ],
)
def test_D07_introspection_by_anyone_else(world: World, live: Tokens, name: str, refusal: Any) -> None:
    url = f"{world.manifest['doors']['edp']}/introspect"
    http = world.oracle.client(name).http
    status, error = (401, "invalid_client") if name == "revoked" else (403, "unauthorized_client")
    world.oracle.refused(
        lambda: http.post(url, data={"token": live.access}), refusal, status, error, secrets=[live.access]
    )


def test_D07_the_members_own_systems_may(world: World, live: Tokens) -> None:
    http = world.oracle.client("edp").http
    url = f"{world.manifest['doors']['edp']}/introspect"
    token = live.granted.client.refresh(live.refresh).json()["access_token"]
    answer = http.post(url, data={"token": token})
    assert (answer.status_code, answer.json()["active"]) == (200, True)
    assert http.post(url, data={"token": "nonsense"}).json() == {"active": False}


def test_D08_a_record_for_its_own_client_alone(world: World, live: Tokens) -> None:
    bodies = []
    for token in (live.refresh, "nonsense", live.access):
        answer = world.oracle.refused(
            lambda token=token: world.client("cap2").permission(token),
            "no_permission_record",
            400,
            "invalid_grant",
            secrets=[live.refresh, live.access],
        )
        bodies.append({**answer.json(), "correlation_id": ""})
    assert bodies[0] == bodies[1] == bodies[2]


def test_D08_a_record_is_there_11_months_after_the_revocation(world: World) -> None:
    """Granted and revoked in the sandbox's past: stepping ahead would wake every job of a year."""
    with world.clock(-335 * 86400):
        tokens = world.tokens(sme="export")
        client = tokens.granted.client
        assert client.revoke(tokens.refresh).status_code == 200
    answer = client.permission(tokens.refresh)
    assert answer.status_code == 200, answer.text
    record = answer.json()["permission"]
    assert record.keys() == {
        *("oauthIssuer", "client", "license", "account", "lastGranted", "expires", "evidence"),
        *("dataAvailableFrom", "tokenIssuedAt", "tokenExpires", "revoked"),
    }
    assert record["revoked"] < record["expires"]
    world.oracle.refused(lambda: client.refresh(tokens.refresh), "refresh_token_refused", 400, "invalid_grant")


# D09 - D10: evidence


def evidence_of(world: World, tokens: Tokens) -> str:
    return str(tokens.granted.client.permission(tokens.refresh).json()["permission"]["evidence"])


def test_D09_evidence_cannot_be_guessed(world: World, live: Tokens, electricity_only: Tokens) -> None:
    """That guessing ends in 429 is held in tests/journey, since the sandbox's limit is far away."""
    addresses = [evidence_of(world, tokens) for tokens in (live, electricity_only)]
    names = [address.rpartition("/")[2] for address in addresses]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", name) for name in names), "256 random bits"
    assert names[0][:6] != names[1][:6]
    guesses = {
        "one character off": names[0][:-1] + ("A" if names[0][-1] != "A" else "E"),
        "cut": names[0][:-1],
        "longer": names[0] + "A",
        "in another case": names[0].swapcase(),
        "a number": "1",
        "the permission's id": permission_of(world, live)["id"],
        "SQL": "' OR 1=1 --",
    }
    pages = set()
    base = addresses[0].rpartition("/")[0]
    for guess in guesses.values():
        answer = world.oracle.refused(
            lambda guess=guess: world.public.get(f"{base}/{quote(guess, safe='')}"),
            "not_found",
            404,
            door="edp_public",
            secrets=[guess] if len(guess) > 20 else [],
        )
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        pages.add(re.sub(r"[0-9a-f]{24}", "", answer.text))
    assert len(pages) == 1, "uniform but for the correlation id"


def test_D09_D10_evidence_is_masked_framable_inert_and_kept_from_search_engines(world: World, live: Tokens) -> None:
    log = world.oracle.log("edp_public")
    address = evidence_of(world, live)
    answer = world.public.get(address)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors https:" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "X-Frame-Options" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert "noindex" in answer.headers["X-Robots-Tag"]
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer.headers["Cache-Control"]
    assert not re.search(r"<(script|form|button|input|iframe|object|embed)\b|\bon\w+=|javascript:", answer.text, re.I)
    for what, secret in world.planted.items():
        if what.startswith(("mpan", "mprn", "postcode")):
            assert secret not in answer.text, what
    # Its address is as good as a key to it: no line of the log has it.
    assert address.rpartition("/")[2] not in log.text()


# D11 - D14: messages


def messages_to(world: World, name: str) -> list[dict[str, Any]]:
    found = world.public.get(f"{world.manifest['control']}/messages").json()["messages"]
    return [message for message in found if message["application"] == name]


def test_D11_a_withdrawal_is_committed_before_it_is_told(world: World) -> None:
    """That each delivery looks the address up afresh is held in tests/client."""
    tokens = world.tokens("cap2", sme="several_sites")
    digest = hashlib.sha256(tokens.refresh.encode()).hexdigest()
    withdrawn_by_sme(world, "several_sites")
    until(lambda: digest in {told["token_sha256"] for told in messages_to(world, "cap2")}, "no message came")
    client = tokens.granted.client
    assert world.data(client, tokens.access).status_code == 401
    assert client.refresh(tokens.refresh).status_code == 400
    [owed] = [
        row for row in world.oracle.stores["edp"].rows("outbox") if row["subject"] == permission_of(world, tokens)["id"]
    ]
    assert owed["delivered"] >= permission_of(world, tokens)["ended"]


def held_token(world: World, sme: str) -> str:
    """The refresh token that the CAP's portal holds for an SME that is connected: what a withdrawal message quotes."""
    rows = world.oracle.stores["edp"].rows("permission")
    portal = {row["client_id"] for row in rows} - {world.client(name).client_id for name in ("cap", "cap2", "cap_fsp")}
    row = max(
        (row for row in rows if row["sme"] == sme and row["client_id"] in portal), key=lambda row: row["status_index"]
    )
    keys = refresh_token.RefreshKeys(Path(world.sandbox.directory) / "edp/keys/refresh")
    return world.plant("refresh token", refresh_token.text(keys, row["refresh_version"], row["refresh_id"]))


def message(world: World, token: str, **changes: Any) -> dict[str, Any]:
    envelope = {
        "ib1:message": f"{world.manifest['trust']['registry']}/trust-framework",
        "subject": WITHDRAWAL_SUBJECT,
        "body": {"token": token},
        **changes,
    }
    return {name: value for name, value in envelope.items() if value is not None}


def tell(world: World, sender: str, document: Any, **more: Any) -> httpx.Response:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    http = world.client(sender).http
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    return http.post(f"{world.manifest['doors']['cap']}/messages", content=content, headers=headers)


@pytest.fixture(scope="module")
def normals(world: World) -> str:
    """The token of the connection that the sandbox starts with; nobody may end it."""
    return held_token(world, "normal")


Message = Callable[[World, str], tuple[str, Any, dict[str, str]]]


def sent(sender: str, headers: dict[str, str] | None = None, **changes: Any) -> Message:
    return lambda world, token: (sender, message(world, token, **changes), headers or {})


def raw(content: bytes, headers: dict[str, str] | None = None) -> Message:
    return lambda world, token: ("edp", content, headers or {})


MESSAGES: dict[str, tuple[Message, str, int, str]] = {
    "foreign: another EDP": (sent("edp2"), "message_not_yours", 403, "access_denied"),
    "no role for it: a CAP": (sent("cap"), "role_missing", 403, "unauthorized_client"),
    "no role for it: an FSP": (sent("fsp"), "role_missing", 403, "unauthorized_client"),
    "no role at all": (sent("no_role"), "role_missing", 403, "unauthorized_client"),
    "unknown subject": (
        sent("edp", subject="https://evil.example/subject"),
        "message_malformed",
        400,
        "invalid_request",
    ),
    "subject of another kind": (sent("edp", subject=[WITHDRAWAL_SUBJECT]), "message_malformed", 400, "invalid_request"),
    "no subject": (sent("edp", subject=None), "message_malformed", 400, "invalid_request"),
    "no envelope": (sent("edp", **{"ib1:message": None}), "message_malformed", 400, "invalid_request"),
    "no body": (sent("edp", body=None), "message_malformed", 400, "invalid_request"),
    "body of text": (sent("edp", body="token"), "message_malformed", 400, "invalid_request"),
    "token of a number": (sent("edp", body={"token": 1}), "message_malformed", 400, "invalid_request"),
    "token with a line end": (sent("edp", body={"token": "a\nb"}), "message_malformed", 400, "invalid_request"),
    "token without end": (sent("edp", body={"token": "x" * 5000}), "message_malformed", 400, "invalid_request"),
    "oversized": (sent("edp", more="x" * 70_000), "message_too_large", 413, "invalid_request"),
    "a list": (raw(b"[]"), "message_malformed", 400, "invalid_request"),
    "deep": (raw(b"[" * 20_000), "message_malformed", 400, "invalid_request"),
    "not JSON": (raw(b"{"), "message_malformed", 400, "invalid_request"),
    "not UTF-8": (raw(b'{"a":"\xff"}'), "message_malformed", 400, "invalid_request"),
    "a form": (
        raw(b"token=x", {"Content-Type": "application/x-www-form-urlencoded"}),
        "message_not_json",
        415,
        "invalid_request",
    ),
    "compressed": (raw(b"\x1f\x8b", {"Content-Encoding": "gzip"}), "message_not_json", 415, "invalid_request"),
}


@pytest.mark.parametrize("case", MESSAGES.values(), ids=MESSAGES.keys())
def test_D12_a_message_that_is_not_believed(world: World, normals: str, case: Any) -> None:
    make, refusal, status, error = case
    sender, document, headers = make(world, normals)
    world.oracle.refused(
        lambda: tell(world, sender, document, headers=headers),
        refusal,
        status,
        error,
        door="cap_mutual_tls",
        secrets=[normals],
    )


def test_D12_a_forged_token_has_no_effect(world: World, normals: str) -> None:
    forged = normals[:-2] + ("A" if normals[-2] != "A" else "B") + normals[-1]
    before = world.oracle.stores["cap"].contents()
    for token in (forged, "nonsense"):
        answer = tell(world, "edp", message(world, token))
        assert answer.status_code == 200
    assert world.oracle.stores["cap"].contents() == before


def connections(world: World) -> dict[str, Any]:
    return {row["id"]: row for row in world.oracle.stores["cap"].rows("connection")}


def connect(world: World, sme: str) -> str:
    """The SME connects the EDP at the CAP's portal; answers the connection."""
    before = connections(world)
    steps = world.sme(sme)["connect"]["cap"]
    browser = world.browser()
    page = follow(browser, browser.open(world.manifest["pages"]["cap"] + steps[0]["path"]), steps)
    assert page.status == 200
    [new] = connections(world).keys() - before.keys()
    return new


def test_D12_D14_a_doubled_and_a_late_message_leave_the_new_permission_alone(world: World) -> None:
    first = connect(world, "export")
    old = held_token(world, "export")
    withdrawn_by_sme(world, "export")
    until(lambda: connections(world)[first]["ended"], "the EDP's message did not end the connection")
    ended = connections(world)[first]
    second = connect(world, "export")
    try:
        before = [row for row in world.oracle.stores["cap"].rows("connection") if row["id"] == first]
        for _ in range(2):
            answer = tell(world, "edp", message(world, old))
            assert (answer.status_code, answer.json()["effect"]) == (200, "nothing")
        assert [row for row in world.oracle.stores["cap"].rows("connection") if row["id"] == first] == before
        assert connections(world)[second]["ended"] is None
        assert connections(world)[first]["ended"] == ended["ended"]
        newest = max(
            (row for row in world.oracle.stores["edp"].rows("permission") if row["sme"] == "export"),
            key=lambda row: row["status_index"],
        )
        assert newest["ended"] is None
    finally:
        withdrawn_by_sme(world, "export")
        until(lambda: connections(world)[second]["ended"], "the connection did not end")


# D15: history


def test_D15_a_withdrawal_wins_over_a_redemption(world: World) -> None:
    """The SME withdraws a renewal while its code is redeemed: whatever the client was given is dead."""
    client = world.client()
    for race in range(4):
        older = world.tokens(sme="several_sites")
        renewal = world.grant(sme="several_sites")
        newest = max(world.oracle.stores["edp"].rows("permission"), key=lambda row: row["status_index"])
        with ThreadPoolExecutor(2) as pool:
            withdrawing = pool.submit(withdrawn_by_sme, world, "several_sites", newest["id"])
            time.sleep(0.02 * race)
            answer = client.redeem(renewal.request, renewal.code)
            withdrawing.result()
        assert answer.status_code in (200, 400)
        rows = sorted(
            (
                row
                for row in world.oracle.stores["edp"].rows("permission")
                if row["sme"] == "several_sites" and row["client_id"] == client.client_id
            ),
            key=lambda row: row["status_index"],
        )[-2:]
        assert rows[1]["ended_as"] == "withdrawn"
        assert rows[0]["ended_as"] == ("superseded" if answer.status_code == 200 else None)
        if answer.status_code == 200:
            given = answer.json()
            assert client.refresh(world.plant("refresh token", given["refresh_token"])).status_code == 400
            assert world.data(client, world.plant("access token", given["access_token"])).status_code == 401
            assert client.refresh(older.refresh).status_code == 400
        else:
            assert client.revoke(older.refresh).status_code == 200


def test_D15_an_older_permission_ends_once_whichever_act_was_first(world: World) -> None:
    """The client revokes the older token while it redeems the renewal's code."""
    client = world.client()
    for _ in range(4):
        older = world.tokens(sme="several_sites")
        renewal = world.grant(sme="several_sites")
        together = threading.Barrier(2)
        other = world.oracle.client("cap")
        other.metadata = client.metadata

        def revoke(older: Tokens = older, other: Client = other, together: threading.Barrier = together) -> Any:
            together.wait()
            return other.revoke(older.refresh)

        with ThreadPoolExecutor(1) as pool:
            revoking = pool.submit(revoke)
            together.wait()
            newer = world.redeemed(renewal)
            assert revoking.result().status_code == 200
        row = permission_of(world, older)
        assert row["ended_as"] in ("withdrawn", "superseded")
        events = [
            event["event"]
            for event in world.oracle.stores["edp"].rows("audit_event")
            if event["event"] in ("permission_withdrawn", "permission_superseded")
            and event["fields"]["permission"] == row["id"]
        ]
        assert len(events) == 1
        assert client.refresh(older.refresh).status_code == 400
        assert client.refresh(newer.refresh).status_code == 200


def test_D15_a_new_grant_overwrites_nothing(world: World) -> None:
    older, newer = world.tokens(sme="several_sites"), world.tokens(sme="several_sites")
    client = newer.granted.client
    records = [client.permission(tokens.refresh).json()["permission"] for tokens in (older, newer)]
    assert "revoked" in records[0]
    assert "revoked" not in records[1]
    assert records[0]["evidence"] != records[1]["evidence"]
    assert records[0]["account"] != records[1]["account"]
    for record in records:
        page = world.public.get(record["evidence"])
        assert page.status_code == 200
        assert page.text.count('class="text"') >= 2, "the evidence of both grants"


# F06: planted canaries, looked for when everything above has run


def everything_in(database: Path) -> Iterator[tuple[str, str]]:
    """(table.column, text) of all that a party's database holds, but for the readings themselves."""
    reader = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    tables = [name for (name,) in reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        cursor = reader.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        for row in cursor:
            for name, value in zip(names, row, strict=True):
                if isinstance(value, bytes):
                    value = value.decode("utf-8", errors="replace")
                if isinstance(value, str) and f"{table}.{name}" != "day_block.body":
                    yield f"{table}.{name}", value
    reader.close()


RUN = re.compile(r"[\w-]{20,}", re.ASCII)
SHORT = re.compile(r"(?<![\w-])(?:\d{6,13}|[A-Z]{1,2}\d{1,2} ?\d[A-Z]{2})(?![\w-])")
#: Where a number or a postcode is needed: the register, which knows its meters by them.
NEEDED = {"meter.number", "meter.postcode"}
#: What the client hands in and gets back unchanged is kept as it came, until the request has been answered.
RETURNED = {"pushed_request.state", "journey.state"}


def test_F06_planted_canaries_are_in_no_log_no_error_and_no_column(world: World) -> None:
    """Every token, code, request_uri, verifier, meter number, postcode and e-mail code of all flows of this folder."""
    tokens = world.tokens("fsp", "normal", "emissions", "cap")
    client = tokens.granted.client
    client.refresh(tokens.access)
    client.permission(tokens.access)
    client.redeem(tokens.granted.request, tokens.granted.code)
    world.client().refresh(tokens.refresh)
    world.data(client, tokens.access, "/emissions?from=nonsense")
    wrong = world.browser()
    page = wrong.open(world.request(world.client()).url)
    digits = world.plant("mpan of nobody", "1012345678908")
    postcode = world.plant("postcode of nobody", "ZE1 0ZZ")
    page = wrong.click(page, "continue", fill={"postcode": postcode, "mpan": digits, "name": "Somebody"})
    assert page.status == 422

    short = spellings(world)
    # A secret is known by its longest run of base64url, which survives quoting, percent-encoding and JSON.
    long = {max(RUN.findall(secret), key=len) for secret in world.planted.values() if len(secret) > 20}
    assert len(long) >= 8

    def held(text: str) -> set[str]:
        runs = set(RUN.findall(text))
        runs |= {run[2:] for run in runs}  # behind a percent-encoded octet
        return {"short" for _ in short.intersection(SHORT.findall(text))} | {"long" for _ in runs & long}

    for log in sorted((world.sandbox.directory / "logs").glob("*.log")):
        assert not held(log.read_text(encoding="utf-8", errors="replace")), log.name
    assert world.bodies
    assert not held("\n".join(world.bodies)), "an error says a secret"
    processes = processes_of(world)
    assert len(processes) > 8
    for process in processes:
        for name in ("cmdline", "environ", "comm"):
            assert not held((process / name).read_bytes().decode("utf-8", errors="replace")), process / name
        if b"gunicorn" in (process / "cmdline").read_bytes():
            assert re.search(r"Max core file size +[01] +[01] ", (process / "limits").read_text())
    columns = {
        (column, kind)
        for party in ("edp", "cap")
        for column, text in everything_in(world.sandbox.directory / party / "database.sqlite")
        for kind in held(text)
    }
    # Nowhere else; and there, so that it is known to have been looked for well.
    assert columns == {(column, "short") for column in NEEDED} | {(column, "long") for column in RETURNED}


def processes_of(world: World) -> list[Path]:
    """The sandbox's process and all below it, as folders of /proc."""
    found = [world.sandbox.process.pid]
    for number in found:  # grows while it is read
        for task in Path(f"/proc/{number}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return [Path(f"/proc/{number}") for number in found]


def spellings(world: World) -> set[str]:
    """The short secrets in each way that they may be written: postcodes with and without their space."""
    short = {secret for secret in world.planted.values() if len(secret) <= 20}
    return short | {secret.replace(" ", "") for secret in short}
