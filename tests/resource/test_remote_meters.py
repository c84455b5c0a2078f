"""The meters of a token at a guard that does not share the issuer's store: asked once, checked whole, failing closed."""

import time
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import orjson
import pytest

from consent_server import clock
from consent_server.outbound.status_list import StatusListPoller
from consent_server.resource import remote
from consent_server.resource.gate import Gate, facts
from consent_server.resource.guard import (
    GrantedMeter,
    MetersUnknown,
    NoSuchDataSource,
    PermissionEnded,
)
from consent_server.resource.remote import MetersQuestion
from consent_server.resource.routes import GuardedRoute
from consent_server.sandbox.authority import Authority
from tests.resource.guarded import DIRECTORY, Issuer, Running, callers, remote_guard, served

ONE: dict[str, Any] = {
    "datasource": "meter.1",
    "meter": "Zähler 17",
    "fuel": "electricity",
    "measures": ["import"],
    "since": "2026-01-01T00:00:00Z",
    "until": None,
    "added later": True,
}
GAS = {**ONE, "datasource": "meter.2", "meter": "oven", "fuel": "gas", "since": None, "until": "2026-03-01T00:00:00Z"}
GOOD: dict[str, Any] = {"active": True, "account": "account-1", "meters": [ONE, GAS]}


class Door:
    """The issuer's POST /meters, which wants a client certificate; `said` is what it answers, `asked` the tokens."""

    def __init__(self, authority: Authority) -> None:
        self.said: Any = GOOD
        self.status = 200
        self.asked: list[str] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                assert self.connection.getpeercert()  # type: ignore[attr-defined]
                owner.asked += form["token"]
                body = orjson.dumps(owner.said)
                self.send_response(owner.status if self.path == "/meters" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None: ...

        self.server = served(Handler, authority, clients=True)
        self.url = f"https://localhost:{self.server.server_address[1]}/meters"


class Elsewhere:
    """A guard, and its callers' requests."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder / "ca").create()
        self.issuer, self.door = Issuer(folder, authority), Door(authority)
        certificates = callers(authority, folder)
        own = authority.client("own", f"{DIRECTORY}/a/own", f"{DIRECTORY}/m/edp", [])
        self.token = Running(self.issuer, "", folder, {}, authority.server_root, folder).token
        pem = certificates["cap"].chain.read_text().partition("-----END CERTIFICATE-----")
        self.certificate = quote(pem[0] + pem[1] + "\n", safe="")
        meters = MetersQuestion(self.door.url, own.chain, own.key)
        self.guard = remote_guard(authority, folder, self.issuer, meters)

    def environ(self, token: str) -> dict[str, str]:
        return {
            "REQUEST_METHOD": "GET",
            "REMOTE_ADDR": "127.0.0.1",
            "QUERY_STRING": "",
            "HTTP_X_SSL_CLIENT_CERT": self.certificate,
            "HTTP_AUTHORIZATION": f"Bearer {token}",
        }

    def admit(self, token: str | None = None, **asked: str) -> Any:
        return self.guard.admit(self.environ(token or self.token()), **asked)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    pollers: list[StatusListPoller] = []

    def noted(*args: Any, **options: Any) -> StatusListPoller:
        pollers.append(StatusListPoller(*args, **options))
        return pollers[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "StatusListPoller", noted)  # so that none outlives its test
        found = Elsewhere(tmp_path_factory.mktemp("meters"))
    yield found
    for poller in pollers:
        poller.stop()
    found.issuer.server.shutdown()
    found.door.server.shutdown()


@pytest.fixture
def elsewhere(guarded: Elsewhere) -> Elsewhere:
    guarded.door.said, guarded.door.status = GOOD, 200
    guarded.door.asked.clear()
    return guarded


def test_the_meters_are_handed_over_and_asked_for_once(elsewhere: Elsewhere) -> None:
    token = elsewhere.token(jti="once")
    release = elsewhere.admit(token, datasource="meter.1", fuel="electricity")
    assert release.meters == {
        "meter.1": GrantedMeter("meter.1", "Zähler 17", "electricity", ("import",), 1767225600, None),
        "meter.2": GrantedMeter("meter.2", "oven", "gas", ("import",), None, 1772323200),
    }
    assert release.meters["meter.1"].clamp(0, 1 << 40) == (1767225600, 1 << 40)
    assert release.meters["meter.2"].clamp(5, 1 << 40) == (5, 1772323200)
    elsewhere.door.status = 503
    assert elsewhere.admit(token).meters == release.meters
    assert elsewhere.door.asked == [token]
    said = facts(release, "meter.1")
    assert {name: said[f"X-Consent-{name}"] for name in ("Meter", "Meter-Since", "Meter-Until")} == {
        "Meter": "Z%C3%A4hler%2017",
        "Meter-Since": "2026-01-01T00:00:00Z",
        "Meter-Until": "",
    }
    assert facts(release, None)["X-Consent-Meter"] == ""


def test_a_withdrawal_is_not_remembered_away(elsewhere: Elsewhere) -> None:
    token = elsewhere.token(jti="withdrawn", status_idx=7)
    assert elsewhere.admit(token).meters
    elsewhere.issuer.withdrawn.add(7)

    def call_for_a_while() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            elsewhere.admit(token)

    with pytest.raises(PermissionEnded):
        call_for_a_while()


def test_what_is_known_ends_with_its_token(elsewhere: Elsewhere) -> None:
    known, short = elsewhere.guard._meters, elsewhere.token(jti="short", exp=clock.now() + 60)
    assert known is not None
    release = elsewhere.admit(short)
    before = len(known._known)
    known.of(short, release, release.token.exp)
    assert elsewhere.door.asked == [short, short]
    known.of("another", elsewhere.admit(), release.token.exp)
    assert len(known._known) == before + 1  # two more, and the short one is gone


def test_what_is_remembered_is_bounded(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    known = elsewhere.guard._meters
    assert known is not None
    monkeypatch.setattr("consent_server.resource.remote_meters._MOST_METERS", 9)
    for number in range(6):
        elsewhere.admit(elsewhere.token(jti=f"many-{number}"))
    assert len(known._known) == 3  # of two meters each, and one for the token


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, GOOD),
        (403, GOOD),
        (302, GOOD),
        (200, []),
        (200, {}),
        (200, {**GOOD, "active": "yes"}),
        (200, {**GOOD, "account": "account-2"}),
        (200, {**GOOD, "meters": [ONE, ONE]}),
        (200, {**GOOD, "meters": [{**ONE, "datasource": "meter.9"}]}),
        (200, {**GOOD, "meters": [{**ONE, "meter": ""}]}),
        (200, {**GOOD, "meters": [{**ONE, "since": "2026-01-01"}]}),
        (200, {**GOOD, "meters": [{**ONE, "fuel": "water"}]}),
        (200, {**GOOD, "meters": [{name: value for name, value in ONE.items() if name != "until"}]}),
    ],
)
def test_nothing_is_released_while_the_issuer_does_not_say(elsewhere: Elsewhere, status: int, said: Any) -> None:
    elsewhere.door.status, elsewhere.door.said = status, said
    token = elsewhere.token(jti=sha256(orjson.dumps([status, said])).hexdigest())
    with pytest.raises(MetersUnknown) as refused:
        elsewhere.admit(token)
    assert "Zähler" not in refused.value.private
    elsewhere.door.status, elsewhere.door.said = 200, GOOD
    assert elsewhere.admit(token).meters  # a failure is not remembered


def test_fuels_that_were_not_granted_are_no_answer(elsewhere: Elsewhere) -> None:
    with pytest.raises(MetersUnknown):
        elsewhere.admit(elsewhere.token(jti="gas", fuels=("electricity",)))


def test_a_token_that_the_issuer_gave_up_has_ended(elsewhere: Elsewhere) -> None:
    elsewhere.door.said = {"active": False}
    with pytest.raises(PermissionEnded):
        elsewhere.admit(elsewhere.token(jti="inactive"))


@pytest.mark.parametrize(("datasource", "fuel"), [("meter.2", "electricity"), ("meter.1", "gas"), ("meter.3", "gas")])
def test_another_fuels_meter_is_not_given_out(elsewhere: Elsewhere, datasource: str, fuel: str) -> None:
    with pytest.raises(NoSuchDataSource):
        elsewhere.admit(datasource=datasource, fuel=fuel)


def test_a_meter_that_the_register_no_longer_gives_is_404(elsewhere: Elsewhere) -> None:
    elsewhere.door.said = {**GOOD, "meters": [GAS]}
    gate = Gate(elsewhere.guard, (GuardedRoute("/my/data/{datasource}", "electricity"),))
    answered: list[str] = []
    environ = elsewhere.environ(elsewhere.token(jti="gone")) | {"RAW_URI": "/check/my/data/meter.1"}
    body = b"".join(gate(environ, lambda status, headers: answered.append(status)))
    assert (answered, orjson.loads(body)["error"]) == (["404 Not Found"], "not_found")
