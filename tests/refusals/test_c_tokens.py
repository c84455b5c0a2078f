"""Section C of the security matrix, from outside: codes, refresh tokens and access tokens.

Each test begins with the id of the matrix's row that it holds. Tokens are forged with the sandbox's own signing key, which
lies in its directory: so each forgery is wrong in the one way that its row names. The long tables of forgeries, down to
every claim and every header, are in tests/tokens and tests/release.
"""

import hmac
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from consent_server import clock
from consent_server.sandbox.client import Client, claims
from consent_server.sandbox.layout import Layout
from consent_server.signing import jws
from consent_server.tokens import keys
from tests.jose import s256, segment
from tests.refusals.flows import CALLBACK, Granted, Tokens, World

pytestmark = pytest.mark.xdist_group("sandbox")


@pytest.fixture(scope="module")
def live(world: World) -> Tokens:
    """A permission that no test of this file ends."""
    return world.tokens(sme="gaps")


def permission_of(world: World, tokens: Tokens, party: str = "edp") -> dict[str, Any]:
    account = claims(tokens.access)["sub"]
    return next(dict(row) for row in world.oracle.stores[party].rows("permission") if row["account"] == account)


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """The answers of `count` calls that begin together."""
    together = threading.Barrier(count)

    def one(number: int) -> Any:
        together.wait()
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def connected(world: World, count: int, name: str = "cap") -> list[Client]:
    """So many clients of one name, each with a connection of its own that is open."""
    clients = []
    for _ in range(count):
        client = world.oracle.client(name)
        client.metadata = world.client(name).metadata
        client.http.get(f"{world.manifest['doors']['edp']}/health").raise_for_status()
        clients.append(client)
    return clients


# C01 - C08: codes


@pytest.mark.parametrize("later", [0, 2, 3600], ids=["at once", "2 s", "an hour"])
def test_C01_a_code_that_is_used_twice_ends_what_it_issued(world: World, later: int) -> None:
    tokens = world.tokens(sme="export")
    client = tokens.granted.client
    with world.clock(later):
        world.oracle.refused(
            lambda: client.redeem(tokens.granted.request, tokens.granted.code),
            "code_replayed",
            400,
            "invalid_grant",
            secrets=[tokens.granted.code],
            may_change=["permission", "audit_event"],
        )
    row = permission_of(world, tokens)
    assert (row["ended_as"], row["ended_by"]) == ("withdrawn", "issuer")
    assert "code_replayed" in {event["event"] for event in world.oracle.stores["edp"].rows("audit_event")}
    world.oracle.refused(lambda: client.refresh(tokens.refresh), "refresh_token_refused", 400, "invalid_grant")
    world.oracle.refused(lambda: world.data(client, tokens.access), "permission_ended", 401, "invalid_token")


@pytest.mark.parametrize("callers", [2, 50])
def test_C02_of_many_redemptions_at_once_one_wins(world: World, callers: int) -> None:
    granted = world.grant(sme="export")
    clients = connected(world, callers)
    answers = at_once(callers, lambda number: clients[number].redeem(granted.request, granted.code))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * (callers - 1)
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    won = next(answer.json() for answer in answers if answer.status_code == 200)
    for kind in ("access_token", "refresh_token"):
        world.plant(kind, won[kind])
    # The losers used a code twice: what the winner was given has ended.
    assert world.client().refresh(won["refresh_token"]).status_code == 400


def test_C03_a_code_whose_time_is_over(world: World) -> None:
    granted = world.grant()
    with world.clock(60):
        world.oracle.refused(
            lambda: granted.client.redeem(granted.request, granted.code),
            "code_refused",
            400,
            "invalid_grant",
            secrets=[granted.code],
        )


Spoil = Callable[[World, Granted], tuple[str, dict[str, str]]]


def form(change: dict[str, str | None], by: str = "cap") -> Spoil:
    def spoil(world: World, granted: Granted) -> tuple[str, dict[str, str]]:
        changed = {**granted.form, "client_id": world.client(by).client_id, **change}
        return by, {name: value for name, value in changed.items() if value is not None}

    return spoil


CODES: dict[str, tuple[Spoil, str, str]] = {
    "C04-another client": (form({}, "cap2"), "code_refused", "invalid_grant"),
    "C04-another client of two roles": (form({}, "cap_fsp"), "code_refused", "invalid_grant"),
    "C04-another redirect_uri": (form({"redirect_uri": CALLBACK + "/"}), "code_refused", "invalid_grant"),
    "C04-redirect_uri in another case": (
        form({"redirect_uri": CALLBACK.replace("client", "CLIENT")}),
        "code_refused",
        "invalid_grant",
    ),
    "C04-redirect_uri with a query": (form({"redirect_uri": CALLBACK + "?"}), "code_refused", "invalid_grant"),
    "C04-no redirect_uri": (form({"redirect_uri": None}), "code_request_incomplete", "invalid_request"),
    "C05-no verifier": (form({"code_verifier": None}), "code_verifier_refused", "invalid_grant"),
    "C05-empty verifier": (form({"code_verifier": ""}), "code_verifier_refused", "invalid_grant"),
    "C05-another verifier": (form({"code_verifier": "x" * 43}), "code_verifier_refused", "invalid_grant"),
    "C05-verifier of 42 characters": (form({"code_verifier": "x" * 42}), "code_verifier_refused", "invalid_grant"),
    "C05-verifier of 129 characters": (form({"code_verifier": "x" * 129}), "code_verifier_refused", "invalid_grant"),
    "C05-the challenge as verifier": (
        lambda world, granted: form({"code_verifier": s256(granted.request.verifier)})(world, granted),
        "code_verifier_refused",
        "invalid_grant",
    ),
    "no code": (form({"code": None}), "code_request_incomplete", "invalid_request"),
    "unknown code": (form({"code": "x" * 43}), "code_refused", "invalid_grant"),
}


@pytest.mark.parametrize("case", CODES.values(), ids=CODES.keys())
def test_C04_C05_a_code_that_is_presented_wrongly_is_not_consumed(world: World, case: Any) -> None:
    spoil, refusal, error = case
    granted = world.grant()
    by, body = spoil(world, granted)
    client = world.client(by)
    world.oracle.refused(
        lambda: client.token(**body),
        refusal,
        400,
        error,
        secrets=[granted.code, granted.request.verifier],
        may_change=["code"] if "code_verifier" in body and refusal == "code_verifier_refused" else [],
        honest=lambda: world.redeemed(granted),
    )


def test_C05_five_wrong_verifiers_end_a_code(world: World) -> None:
    granted = world.grant()
    for _ in range(5):
        assert granted.client.token(**{**granted.form, "code_verifier": "x" * 43}).status_code == 400
    world.oracle.refused(
        lambda: granted.client.redeem(granted.request, granted.code), "code_refused", 400, "invalid_grant"
    )


@pytest.mark.parametrize(
    "grant_type",
    [
        "password",
        "client_credentials",
        "implicit",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "Authorization_Code",
    ],
)
def test_C06_other_grants(world: World, grant_type: str) -> None:
    more = {"username": "a", "password": "b", "assertion": "c", "subject_token": "d", "device_code": "e"}
    world.oracle.refused(
        lambda: world.client().token(grant_type=grant_type, **more),
        "grant_type_unsupported",
        400,
        "unsupported_grant_type",
    )


def test_C07_a_code_injected_into_another_browsers_session(world: World) -> None:
    """The victim's code comes back to the attacker's session at the honest client, which has another verifier."""
    stolen = world.grant()
    attackers = world.request(world.client())
    world.oracle.refused(
        lambda: world.client().redeem(attackers, stolen.code),
        "code_verifier_refused",
        400,
        "invalid_grant",
        may_change=["code"],
        honest=lambda: world.redeemed(stolen),
    )


def test_C08_a_code_is_in_no_referrer_and_no_log_and_useless_without_the_certificate(world: World) -> None:
    logs = [world.oracle.log(door) for door in ("edp_public", "edp_mutual_tls", "edp_work")]
    client, browser = world.client(), world.browser()
    seen: list[httpx.Response] = []
    browser._client.event_hooks["response"].append(seen.append)
    request = world.request(client)
    callback = world.walk(request.url, browser=browser).url
    code = world.plant("code", client.code(request, callback))
    assert {answer.headers["Referrer-Policy"] for answer in seen} == {"no-referrer"}
    assert {answer.headers["Cache-Control"] for answer in seen} == {"no-store"}
    stolen = Granted(client, request, code, callback)
    without = httpx.Client(verify=world.sandbox.server_context(), trust_env=False)
    world.oracle.handshake_refused(lambda: without.post(client.metadata["token_endpoint"], data=stolen.form))
    world.redeemed(stolen)
    for log in logs:
        text = log.text()
        assert code not in text
        assert quote(code, safe="") not in text


# C09 - C14: refresh tokens


def another_application_of_the_same_member(world: World) -> Client:
    """The CAP's portal: the same member as the manifest's `cap`, with a certificate and a client_id of its own."""
    layout = Layout(world.sandbox.directory, world.sandbox.base_port)
    entry = {
        "client_id": layout.application("cap_portal"),
        **{file: str(layout.certificate("cap_portal", file)) for file in ("chain", "key", "certificate")},
    }
    client = Client(entry, world.manifest["trust"]["server_ca"])
    client.metadata = world.client().metadata
    return client


@pytest.mark.parametrize("thief", ["another member", "another application of the same member"])
def test_C09_a_stolen_refresh_token(world: World, live: Tokens, thief: str) -> None:
    client = world.client("cap2") if thief == "another member" else another_application_of_the_same_member(world)
    log = world.oracle.log("edp_mutual_tls")
    answer = world.oracle.refused(
        lambda: client.refresh(live.refresh),
        "refresh_token_refused",
        400,
        "invalid_grant",
        secrets=[live.refresh],
        honest=lambda: live.granted.client.refresh(live.refresh).raise_for_status(),
    )
    # What an alarm can be set on: whose token it was, and that somebody else had it.
    [event] = log.lines(event="refused", correlation_id=answer.headers["X-Request-Id"])
    assert event["private"] == f"the refresh token of {live.granted.client.client_id}"


def test_C10_parallel_refreshes_all_succeed_and_change_nothing(world: World, live: Tokens) -> None:
    clients = connected(world, 20)
    before = world.oracle.stores["edp"].contents()
    answers = at_once(20, lambda number: [clients[number].refresh(live.refresh) for _ in range(5)])
    all_answers = [answer for five in answers for answer in five]
    assert [answer.status_code for answer in all_answers] == [200] * 100
    assert len({answer.json()["access_token"] for answer in all_answers}) == 100
    assert not any("refresh_token" in answer.json() for answer in all_answers)
    assert world.oracle.stores["edp"].contents() == before


def test_C11_a_client_that_lost_the_answer_asks_again(world: World, live: Tokens) -> None:
    client = live.granted.client
    first, second = (client.refresh(live.refresh) for _ in range(2))
    assert first.status_code == second.status_code == 200
    for answer in (first, second):
        assert world.data(client, answer.json()["access_token"]).status_code == 200


SCOPES: dict[str, Callable[[World], str]] = {
    "wider": lambda world: world.license("one_permission"),
    "another": lambda world: world.license("electricity"),
    "two": lambda world: f"{world.license()} {world.license('one_permission')}",
    "the other issuer's": lambda world: world.license("emissions"),
    "openid": lambda world: f"{world.license()} openid",
    "offline_access alone": lambda world: "offline_access",
}


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES.keys())
def test_C12_a_refresh_for_another_scope(world: World, live: Tokens, scope: Callable[[World], str]) -> None:
    world.oracle.refused(
        lambda: live.granted.client.token(grant_type="refresh_token", refresh_token=live.refresh, scope=scope(world)),
        "scope_not_granted",
        400,
        "invalid_scope",
        secrets=[live.refresh],
    )


def test_C13_no_token_outlives_its_permission(world: World) -> None:
    """Granted a year ago but for two minutes: stepping back wakes no job, stepping a year ahead would wake them all."""
    left = 120
    with world.clock(-365 * 86400 + left):
        tokens = world.tokens(sme="export")
    client, expires = tokens.granted.client, permission_of(world, tokens)["expires"]
    assert 0 < expires - clock.now() <= left + 86400, "a leap day would make it one more"
    with world.clock(expires - clock.now() - left):
        refreshed = client.refresh(tokens.refresh)
        assert refreshed.status_code == 200, refreshed.text
        access = refreshed.json()["access_token"]
        assert refreshed.json()["expires_in"] <= left
        assert claims(access)["exp"] == expires
        assert world.data(client, access).status_code == 200
    with world.clock(expires - clock.now()):
        world.oracle.refused(
            lambda: client.refresh(tokens.refresh),
            "refresh_token_refused",
            400,
            "invalid_grant",
            secrets=[tokens.refresh],
        )
        world.oracle.refused(lambda: world.data(client, access), "token_expired", 401, "invalid_token")
    assert permission_of(world, tokens)["ended"] is None, "expiry needs no job"


RACES = 25
REFRESHERS = 3


def test_C14_no_access_token_outruns_a_withdrawal(world: World) -> None:
    """Refreshes race one revocation: whatever they were given is dead once the revocation was answered."""
    clients = connected(world, REFRESHERS + 1)
    statuses = set()
    for race in range(RACES):
        tokens = world.tokens(sme="export")

        def act(number: int, tokens: Tokens = tokens, race: int = race) -> Any:
            if number < REFRESHERS:
                time.sleep((race + number) % 4 * 0.002)
                return clients[number].refresh(tokens.refresh)
            return clients[number].revoke(tokens.refresh), time.time()

        *refreshed, (revoked, answered) = at_once(REFRESHERS + 1, act)
        assert revoked.status_code == 200
        assert permission_of(world, tokens)["ended"]
        for answer in refreshed:
            statuses.add(answer.status_code)
            if answer.status_code == 200:
                token = answer.json()["access_token"]
                assert claims(token)["iat"] <= answered
                assert world.data(clients[0], token).status_code == 401
        assert world.data(clients[0], tokens.access).status_code == 401
        assert clients[0].refresh(tokens.refresh).status_code == 400
    assert statuses <= {200, 400}


# C15 - C18: access tokens that are somebody's, somewhere's or something's else


@pytest.mark.parametrize("name", ["another member", "another application of the same member"])
def test_C15_an_access_token_with_another_applications_certificate(world: World, live: Tokens, name: str) -> None:
    """Under certificate binding another certificate of the same application too: tests/tokens and tests/release."""
    client = world.client("cap2") if name == "another member" else another_application_of_the_same_member(world)
    world.oracle.refused(
        lambda: world.data(client, live.access), "token_not_yours", 401, "invalid_token", secrets=[live.access]
    )


@pytest.mark.parametrize("direction", ["the EDP's at the CAP", "the CAP's at the EDP"])
def test_C16_a_token_at_the_other_resource_server(world: World, direction: str) -> None:
    """The client holds both roles, so that only the token can be what is wrong."""
    if direction == "the EDP's at the CAP":
        tokens = world.tokens("cap_fsp")
        path, door = "/emissions?from=2026-03-01", "cap_mutual_tls"
    else:
        tokens = world.tokens("cap_fsp", "normal", "emissions", "cap")
        path, door = "/datasources", "edp_mutual_tls"
    world.oracle.refused(
        lambda: world.data(tokens.granted.client, tokens.access, path),
        ("invalid_token", "token_for_another_server"),
        401,
        "invalid_token",
        door=door,
        secrets=[tokens.access],
    )


PLACES: dict[str, tuple[Callable[[str], dict[str, Any]], str]] = {
    "query alone": (lambda token: {"headers": {}, "params": {"access_token": token}}, "token_in_query"),
    "query and header": (lambda token: {"params": {"access_token": token}}, "token_in_query"),
    "form": (lambda token: {"headers": {}, "content": f"access_token={token}"}, "token_missing"),
    "two headers": (
        lambda token: {"headers": [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]},
        "token_missing",
    ),
    "two in one header": (lambda token: {"headers": {"Authorization": f"Bearer {token} {token}"}}, "token_missing"),
    "Basic": (lambda token: {"headers": {"Authorization": f"Basic {token}"}}, "token_missing"),
    "DPoP": (lambda token: {"headers": {"Authorization": f"DPoP {token}"}}, "token_missing"),
    "no scheme": (lambda token: {"headers": {"Authorization": token}}, "token_missing"),
    "cookie": (lambda token: {"headers": {"Cookie": f"access_token={token}"}}, "token_missing"),
    "nothing": (lambda token: {"headers": {}}, "token_missing"),
}


@pytest.mark.parametrize("case", PLACES.values(), ids=PLACES.keys())
def test_C17_a_token_in_another_place(world: World, live: Tokens, case: Any) -> None:
    place, refusal = case
    url = f"{world.manifest['resources']['edp']}/datasources"
    more = {"headers": {"Authorization": f"Bearer {live.access}"}, **place(live.access)}
    answer = world.oracle.refused(
        lambda: live.granted.client.http.request("GET", url, **more),
        refusal,
        401,
        "invalid_token",
        secrets=[live.access],
    )
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_C17_the_scheme_may_be_in_any_case(world: World, live: Tokens, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {live.access}"}
    assert world.data(live.granted.client, None, headers=headers).status_code == 200


def provenance(world: World, live: Tokens) -> str:
    """A record that the EDP signed, as it would look in a header."""
    client = live.granted.client
    listed = world.data(client, live.access).json()["data"]
    query = "?from=2026-03-01T00:00:00Z&to=2026-03-01T01:00:00Z"
    path = f"/datasources/{quote(listed[0]['id'], safe='')}/import{query}"
    record = world.data(client, live.access, path).json()["provenance"]
    return segment(record)[:4000]


OTHERS: dict[str, Callable[[World, Tokens], str]] = {
    "refresh token": lambda world, live: live.refresh,
    "code": lambda world, live: live.granted.code,
    "status list": lambda world, live: world.public.get(f"{world.manifest['issuers']['edp']}/status-list").text,
    "provenance": provenance,
    "request_uri": lambda world, live: live.granted.request.url.rpartition("%3A")[2],
    "state": lambda world, live: live.granted.request.state,
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_C18_other_things_are_no_access_tokens(world: World, live: Tokens, other: Any) -> None:
    text = other(world, live)
    world.oracle.refused(
        lambda: world.data(live.granted.client, text), "invalid_token", 401, "invalid_token", secrets=[text]
    )


@pytest.mark.parametrize("kind", ["access", "code"])
def test_C18_no_permission_record_for_anything_but_a_refresh_token(world: World, live: Tokens, kind: str) -> None:
    text = live.access if kind == "access" else live.granted.code
    world.oracle.refused(
        lambda: live.granted.client.permission(text), "no_permission_record", 400, "invalid_grant", secrets=[text]
    )


@pytest.mark.parametrize("kind", ["access", "code"])
def test_C18_no_refresh_with_anything_but_a_refresh_token(world: World, live: Tokens, kind: str) -> None:
    text = live.access if kind == "access" else live.granted.code
    world.oracle.refused(
        lambda: live.granted.client.refresh(text), "refresh_token_refused", 400, "invalid_grant", secrets=[text]
    )


# C19 - C24: forged tokens


class Forge:
    """The EDP's signing key, and a live token's claims to start from."""

    def __init__(self, world: World, live: Tokens) -> None:
        signing = keys.SigningKeys(Path(world.sandbox.directory) / "edp/keys/tokens")
        self.kid, self.private = signing.current()
        self.jwk = signing.jwks()["keys"][0]
        self.claims = claims(live.access)
        self.header = {"alg": "ES256", "typ": "at+jwt", "kid": self.kid}

    def token(self, *, header: dict[str, Any] | None = None, body: bytes | None = None, **changes: Any) -> str:
        """A token that is right but for what is changed; None leaves a claim or a header out."""
        head = {name: value for name, value in {**self.header, **(header or {})}.items() if value is not None}
        found = {name: value for name, value in {**self.claims, **changes}.items() if value is not None}
        signed = f"{segment(head)}.{segment(found if body is None else body)}"
        return f"{signed}.{segment(jws.raw_signature(self.private.sign(signed.encode())))}"

    def by(self, algorithm: str, key: Any, **header: Any) -> str:
        signed = f"{segment({**self.header, 'alg': algorithm, **header})}.{segment(self.claims)}"
        if algorithm.startswith("HS"):
            return f"{signed}.{segment(hmac.digest(key, signed.encode(), 'sha256'))}"
        return f"{signed}.{segment(jwt.get_algorithm_by_name(algorithm).sign(signed.encode(), key))}"

    def public(self, encoding: Encoding) -> bytes:
        return self.private.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)

    def text(self, old: str, new: str) -> str:
        """A token whose payload's text was changed."""
        payload = json.dumps(self.claims)
        assert old in payload
        return self.token(body=payload.replace(old, new).encode())


@pytest.fixture(scope="module")
def forge(world: World, live: Tokens) -> Forge:
    return Forge(world, live)


def stranger() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def jwk_of(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    return {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))}


def with_own_jwk(forge: Forge) -> str:
    key = stranger()
    return forge.by("ES256", key, jwk=jwk_of(key))


FORGED: dict[str, Callable[[Forge], str]] = {
    "C19-alg none": lambda forge: f"{segment({**forge.header, 'alg': 'none'})}.{segment(forge.claims)}.",
    "C19-alg None signed": lambda forge: forge.token(header={"alg": "None"}),
    "C19-HS256 with the public PEM": lambda forge: forge.by("HS256", forge.public(Encoding.PEM)),
    "C19-HS256 with the public DER": lambda forge: forge.by("HS256", forge.public(Encoding.DER)),
    "C19-HS256 with the public JWK": lambda forge: forge.by("HS256", json.dumps(forge.jwk).encode()),
    "C19-HS256 with nothing": lambda forge: forge.by("HS256", b""),
    "C19-RS256": lambda forge: forge.by("RS256", rsa.generate_private_key(65537, 2048)),
    "C19-ES256K": lambda forge: forge.by("ES256K", ec.generate_private_key(ec.SECP256K1())),
    "C19-a stranger's key": lambda forge: forge.by("ES256", stranger()),
    "C19-empty signature": lambda forge: forge.token().rpartition(".")[0] + ".",
    "C19-no signature": lambda forge: forge.token().rpartition(".")[0],
    "C19-signature of zeros": lambda forge: forge.token().rpartition(".")[0] + "." + "A" * 86,
    "C20-kid of a path": lambda forge: forge.token(header={"kid": "../../etc/passwd"}),
    "C20-kid of SQL": lambda forge: forge.token(header={"kid": "' OR 1=1 --"}),
    "C20-no kid": lambda forge: forge.token(header={"kid": None}),
    "C20-kid of a list": lambda forge: forge.token(header={"kid": [forge.kid]}),
    "C20-unknown kid": lambda forge: forge.token(header={"kid": "A" * 43}),
    "C20-kid twice": lambda forge: forge.token().replace(
        segment(forge.header), segment(json.dumps(forge.header).replace('"kid"', '"kid": "x", "kid"').encode())
    ),
    "C21-its own jwk": with_own_jwk,
    "C21-jwk beside": lambda forge: forge.token(header={"jwk": forge.jwk}),
    "C21-jku": lambda forge: forge.token(header={"jku": "https://evil.example/jwks"}),
    "C21-x5u": lambda forge: forge.token(header={"x5u": "https://evil.example/certificate"}),
    "C21-x5c": lambda forge: forge.token(header={"x5c": ["AAAA"]}),
    "C21-crit": lambda forge: forge.token(header={"crit": ["exp"]}),
    "C21-b64 false": lambda forge: forge.token(header={"b64": False, "crit": ["b64"]}),
    "C21-zip": lambda forge: forge.token(header={"zip": "DEF"}),
    "C21-JWE": lambda forge: forge.token() + ".AAAA.AAAA",
    "C22-typ JWT": lambda forge: forge.token(header={"typ": "JWT"}),
    "C22-no typ": lambda forge: forge.token(header={"typ": None}),
    **{f"C22-no {claim}": (lambda forge, claim=claim: forge.token(**{claim: None})) for claim in ("exp", "aud", "jti")},
    **{f"C22-no {claim}": (lambda forge, claim=claim: forge.token(**{claim: None})) for claim in ("iss", "sub", "iat")},
    "C22-no client_id": lambda forge: forge.token(client_id=None),
    "C22-cnf of another form": lambda forge: forge.token(cnf={"jkt": "A" * 43}),
    "C22-another claim": lambda forge: forge.token(admin=True),
    "C22-exp as text": lambda forge: forge.token(exp=str(forge.claims["exp"])),
    "C22-exp NaN": lambda forge: forge.text(f'"exp": {forge.claims["exp"]}', '"exp": NaN'),
    "C22-exp 1e308": lambda forge: forge.text(f'"exp": {forge.claims["exp"]}', '"exp": 1e308'),
    "C22-exp of 4,000 digits": lambda forge: forge.text(f'"exp": {forge.claims["exp"]}', f'"exp": {"9" * 4000}'),
    "C22-aud twice": lambda forge: forge.text('"aud"', '"aud": "https://other.example", "aud"'),
    "C22-aud a list": lambda forge: forge.token(aud=[forge.claims["aud"]]),
    "C22-aud empty": lambda forge: forge.token(aud=""),
    "C22-payload a list": lambda forge: forge.token(body=b"[]"),
    "C22-payload deep": lambda forge: forge.token(body=b"[" * 4000),
    "C22-longer than any": lambda forge: "A" * 7500,
    "C24-issued in 61 s": lambda forge: forge.token(iat=clock.now() + 61, exp=clock.now() + 600),
    "C24-reader 5 min behind": lambda forge: forge.token(iat=clock.now() + 300, exp=clock.now() + 900),
    "another issuer": lambda forge: forge.token(iss="https://localhost:1"),
    "another status list": lambda forge: forge.token(
        status={"status_list": {**forge.claims["status"]["status_list"], "uri": "https://evil.example/status-list"}}
    ),
    "lives for an hour": lambda forge: forge.token(exp=forge.claims["iat"] + 3600),
}


@pytest.mark.parametrize("make", FORGED.values(), ids=FORGED.keys())
def test_C19_C20_C21_C22_C24_a_forged_token(world: World, live: Tokens, forge: Forge, make: Any) -> None:
    token = make(forge)
    answer = world.oracle.refused(
        lambda: world.data(live.granted.client, token), "invalid_token", 401, "invalid_token", secrets=[token]
    )
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_C16_a_token_for_another_audience(world: World, live: Tokens, forge: Forge) -> None:
    token = forge.token(aud="https://data.other.example")
    world.oracle.refused(
        lambda: world.data(live.granted.client, token), "token_for_another_server", 401, "invalid_token"
    )


def test_an_unchanged_token_of_the_forge_is_accepted(world: World, live: Tokens, forge: Forge) -> None:
    """What it makes without a change is believed: each refusal above has the one cause that its row names."""
    assert world.data(live.granted.client, forge.token()).status_code == 200


def test_C22_a_token_of_1_MB(world: World, live: Tokens, forge: Forge) -> None:
    """Too long for any header: the HTTP layer refuses it before a request is there."""
    token = forge.token().replace(".", "." + "A" * 1_000_000, 1)

    def act() -> tuple[int, str]:
        fresh = connected(world, 1)[0]
        answer = world.data(fresh, token)
        return answer.status_code, answer.text

    world.oracle.not_understood(act, (400, 431), secrets=[token[-200:]])


def test_C20_a_storm_of_unknown_kids(world: World, live: Tokens, forge: Forge) -> None:
    """The server beside the issuer looks in memory; that one elsewhere asks once a minute is held in tests/client."""
    answers = [
        world.data(live.granted.client, forge.token(header={"kid": f"{number:043}"})).status_code
        for number in range(50)
    ]
    assert answers == [401] * 50
    assert world.data(live.granted.client, live.access).status_code == 200


@pytest.mark.parametrize("ahead", [5, 9], ids="iat {} s ahead".format)
def test_C24_a_clock_that_is_a_little_behind(world: World, live: Tokens, forge: Forge, ahead: int) -> None:
    token = forge.token(iat=clock.now() + ahead, exp=clock.now() + 300)
    assert world.data(live.granted.client, token).status_code == 200


def test_C23_rotation_makes_no_false_refusal_and_a_removed_key_is_dead(world: World, live: Tokens) -> None:
    directory = Path(world.sandbox.directory) / "edp/keys/tokens"
    client = live.granted.client
    jwks = client.metadata["jwks_uri"]

    def published() -> set[str]:
        return {key["kid"] for key in world.public.get(jwks).json()["keys"]}

    def refreshed() -> str:
        return str(client.refresh(live.refresh).json()["access_token"])

    def kid_of(token: str) -> str:
        return str(jwt.get_unverified_header(token)["kid"])

    [old] = published()
    new = keys.rotate(directory, clock.now())
    try:
        assert published() == {old, new}
        assert kid_of(refreshed()) == old, "published before it is used"
        with world.clock(keys.PUBLISHED_BEFORE_USE - 30):
            before = refreshed()
            assert kid_of(before) == old
        with world.clock(keys.PUBLISHED_BEFORE_USE):
            after = refreshed()
            assert kid_of(after) == new
            for token in (before, after):
                assert world.data(client, token).status_code == 200
    finally:
        keys.retire(directory, new)
    with world.clock(keys.PUBLISHED_BEFORE_USE):
        world.oracle.refused(lambda: world.data(client, after), "invalid_token", 401, "invalid_token")
        assert world.data(client, before).status_code == 200
    assert published() == {old}


def test_C25_unknown_others_and_ended_tokens_are_answered_alike(world: World, live: Tokens) -> None:
    """One body for all. What their time tells is tests/issuer/test_timing.py's matter."""
    ended = world.tokens(sme="export")
    assert ended.granted.client.revoke(ended.refresh).status_code == 200
    version, identifier, mac = live.refresh.split(".")
    others = world.tokens("cap2").refresh
    asked = {
        "unknown": f"{version}.{'A' * len(identifier)}.{mac}",
        "one digit off": f"{version}.{identifier}.{mac[:-2]}{'A' if mac[-2] != 'A' else 'B'}{mac[-1]}",
        "another's": others,
        "ended": ended.refresh,
    }
    client = live.granted.client
    answers = {name: client.refresh(token) for name, token in asked.items()}
    bodies = {name: (each.status_code, {**each.json(), "correlation_id": ""}) for name, each in answers.items()}
    assert len({json.dumps(body) for body in bodies.values()}) == 1, bodies
