"""What one does slowly or wrongly, no other waits for, and nothing is lost on the way."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest

from consent_server import store
from consent_server.deployment import Deployment
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.outbound.fair_pool import FairPool
from consent_server.outbound.session import Response, Session
from consent_server.store import outbox, permissions
from consent_server.withdrawal.outbox import BATCH, LEASE_S, LONGEST_DELAY_S, SLOW_S, TURN_S, dispatch, pool
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.deployments import layout
from tests.outbound.conftest import Answer, Asked, WireServer, server_context
from tests.waiting import until
from tests.withdrawal.conftest import owed, permission

ASKED = Withdrawal(by="sme", where="here", why="asked")
DAY = 86400


@pytest.fixture
def receive(deployment: Deployment, database_url: str) -> Iterator[Callable[..., WireServer]]:
    """receive(route, names…): a server for messages to these recipients, each at its own path."""
    running: list[WireServer] = []
    addresses: dict[str, str] = {}
    played: Any = deployment
    played.directory = SimpleNamespace(
        application=lambda url, *, fresh: SimpleNamespace(message_delivery=addresses[url]),
    )
    played.session = Session(deployment.settings)
    played.session.allow_hosts(lambda: {"localhost"})

    def start(route: Callable[[Asked], Answer] | Answer, *names: str) -> WireServer:
        files = layout()
        server = WireServer(server_context(files.server_certificate("chain"), files.server_certificate("key")))
        server.routes["*"] = route
        addresses.update({client(name): server.url(f"/{name}", "localhost") for name in names})
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()
    played.session.close()


def client(name: str) -> str:
    return f"https://directory.example/a/{name}"


def owe(*names: str, to: str | None = None) -> None:
    """Withdraw a permission of each of these clients; all of one client with `to`."""
    for number, name in enumerate(names):
        permission(f"p-{name}", client_id=client(to or name), status_index=number)
        withdraw(f"p-{name}", ASKED)


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=copy_context().run, args=(work,), daemon=True)
    thread.start()
    return thread


class Drip:
    """A response that arrives byte by byte, until the test ends it."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.calls = 0

    def __call__(self, _asked: Asked) -> Answer:
        self.calls += 1
        return Answer(raw=self._send)

    def _send(self, wire: Any) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not self.over.wait(0.1):
            wire.write(b"x")


def test_H07_S6_a_hundred_have_their_messages_while_one_drips_and_one_fails(
    deployment: Deployment, receive: Callable[..., WireServer], held_clock: Any
) -> None:
    drip, well = Drip(), [f"well{number}" for number in range(100)]
    received, all_there = Counter[str](), threading.Event()

    def take(asked: Asked) -> Answer:
        received[asked.path[1:]] += 1
        if len(received) == len(well):
            all_there.set()
        return Answer(202)

    receive(take, *well)
    receive(drip, "dripping")
    failing = receive(Answer(500), "failing")
    # The bad ones are first in the queue, with several messages each.
    for name in ("dripping", "failing"):
        owe(*(f"{name}-{number}" for number in range(5)), to=name)
    owe(*well)
    working = in_background(dispatch)
    assert all_there.wait(60)
    assert not drip.over.is_set()
    until(lambda: drip.calls and failing.asked, "one of the bad ones was not called")
    assert (drip.calls, len(failing.asked)) == (1, 1), "one call each, and then both are left alone"
    drip.over.set()
    working.join(60)
    assert sorted(received.values()) == [1] * len(well)
    assert Counter(kind for kind, _ in owed()) == {"message": 10}


class PlayedReceiver:
    """A client that takes messages, by the subject of what it is told; `fault` is raised instead."""

    def __init__(self, deployment: Any) -> None:
        self.sent: list[str] = []
        self.fault: Callable[[str], Exception | None] = lambda subject: None
        self.before: Callable[[], Any] = lambda: None
        self.looked_up = 0
        self._lock = threading.Lock()
        deployment.directory = SimpleNamespace(application=self._application)
        deployment.session = SimpleNamespace(post_json=self._post)

    def _application(self, _url: str, *, fresh: bool) -> Any:
        assert fresh
        self.looked_up += 1
        return SimpleNamespace(message_delivery="https://fsp.example/messages")

    def _post(self, url: str, document: Any) -> Response:
        self.before()
        token = str(document)
        if fault := self.fault(token):
            raise fault
        with self._lock:
            self.sent.append(token)
        return Response(200, {}, "fsp.example", b"")


def names(count: int) -> list[str]:
    return [f"n{number}" for number in range(count)]


def test_a_turn_ends_before_many_calls_that_take_a_moment_make_a_recipient_slow(
    deployment: Any, held_clock: Any
) -> None:
    receiver = PlayedReceiver(deployment)
    receiver.before = lambda: held_clock.step(1)
    owe(*names(3 * TURN_S), to="one")
    assert dispatch().done == 3 * TURN_S
    assert receiver.looked_up == 3, "once a turn"
    assert TURN_S < SLOW_S


def test_the_directory_is_asked_for_an_address_once_a_turn_and_again_after_a_fault(deployment: Any) -> None:
    receiver = PlayedReceiver(deployment)
    owe(*names(5), to="one")
    faults = iter([None, None, BadAnswer("status 404", "fsp.example", 404)])
    receiver.fault = lambda _: next(faults, None)
    tally = dispatch()
    assert (tally.done, tally.failed, receiver.looked_up) == (4, 1, 2)


def test_G09_after_a_day_away_all_is_delivered_within_ten_minutes(deployment: Any, held_clock: Any) -> None:
    jobs = deployment.settings.jobs.model_copy(update={"give_up_after_s": 7 * DAY})
    deployment.settings = deployment.settings.model_copy(update={"jobs": jobs})
    receiver, through, asked = PlayedReceiver(deployment), pool(), Counter[int]()
    owe(*names(50), to="fsp")

    def away(_subject: str) -> Exception:
        asked[held_clock.instant] += 1
        return Unreachable("connect", "fsp.example")

    receiver.fault = away
    for _ in range(DAY // 480):
        dispatch(through)
        held_clock.step(480)
    assert set(asked.values()) == {1}, "one question at a time, and not one for each message"
    receiver.fault = lambda subject: None
    for _ in range(20):
        held_clock.step(30)
        dispatch(through)
    assert owed() == []
    assert len(receiver.sent) == len(set(receiver.sent)) == 50


def lost(_asked: Asked) -> Answer:
    return Answer(raw=lambda wire: None)


@pytest.mark.parametrize(
    ("answer", "within_s"),
    [
        pytest.param(lost, 5, id="answer lost"),
        pytest.param(Answer(410), 5, id="410"),
        pytest.param(Answer(400), 5, id="400"),
        pytest.param(Answer(429), 5, id="429"),
        pytest.param(Answer(429, headers={"Retry-After": "200"}), 200, id="429 Retry-After"),
        pytest.param(Answer(503, headers={"Retry-After": "Thu, 12 Mar 2026 09:33:20 GMT"}), 200, id="503 Retry-After"),
        pytest.param(Answer(500), 5, id="500"),
        pytest.param(Answer(302, headers={"Location": "https://localhost/elsewhere"}), 5, id="302"),
    ],
)
def test_G10_what_was_not_confirmed_is_repeated_when_it_is_time(
    deployment: Deployment,
    held_clock: Any,
    receive: Callable[..., WireServer],
    answer: Any,
    within_s: int,
) -> None:
    server, through = receive(answer, "fsp"), pool()
    owe("fsp")
    assert dispatch(through).failed == 1
    server.routes["*"] = Answer(204)
    held_clock.step(within_s // 2 - 1)
    assert dispatch(through).done == 0, "not yet"
    held_clock.step(within_s - within_s // 2 + 1)
    assert dispatch(through).done == 1
    first, second = (asked.body for asked in server.asked)
    assert first == second, "the repeat says the same, so it does no harm"
    assert owed() == []


def test_G10_what_cannot_be_delivered_is_given_up_with_an_alarm_and_may_be_tried_again(
    deployment: Deployment, held_clock: Any, receive: Callable[..., WireServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "consent_server.audit")
    server, through = receive(Answer(500), "fsp", "well"), pool()
    owe(*names(3), to="fsp")
    for _ in range(3 * LONGEST_DELAY_S // 60 + 1):
        dispatch(through)
        held_clock.step(60)
    owe("well")
    for _ in range(5):
        dispatch(through)
        held_clock.step(60)
    with store.reading() as c:
        given_up = outbox.given_up(c)
    assert [row.last_error for row in given_up] == ["localhost: status 500"] * 3
    assert caplog.text.count("message_given_up") == 3, "those that wait behind it are as old, and are given up with it"
    assert owed() == [("message", "p-well")]
    server.routes["*"] = Answer(200)
    with store.writing() as c:
        assert all(outbox.retry(c, row.id, held_clock.instant) for row in given_up)
    held_clock.step(LONGEST_DELAY_S)
    assert dispatch(through).done == 4


def test_one_message_that_a_receiver_cannot_take_holds_up_no_other_to_it(deployment: Any, held_clock: Any) -> None:
    receiver, through, first = PlayedReceiver(deployment), pool(), set[str]()

    def fault(token: str) -> Exception | None:
        first.add(token) if not first else None
        return BadAnswer("status 500", "fsp.example", 500) if token in first else None

    receiver.fault = fault
    owe(*names(60), to="fsp")
    for _ in range(20):
        dispatch(through)
        held_clock.step(10)
    assert len(receiver.sent) == 59


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
def test_a_refusal_of_one_message_does_not_slow_the_next(deployment: Any, held_clock: Any, status: int) -> None:
    receiver = PlayedReceiver(deployment)
    receiver.fault = lambda token: BadAnswer(f"status {status}", "fsp.example", status)
    owe(*names(30), to="fsp")
    assert dispatch().failed == 30


class Died(BaseException):
    """The process of a dispatcher is gone: nothing after this runs."""


def test_G11_of_two_dispatchers_one_dies_with_what_it_has_leased(
    deployment: Any, held_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    receiver = PlayedReceiver(deployment)
    owe(*names(BATCH + 30), to="fsp")

    def dies_at_its_third(_token: str) -> Exception | None:
        if len(receiver.sent) == 3:
            raise Died
        return None

    receiver.fault = dies_at_its_third
    dying = FairPool(most=1, most_unreliable=1, slow_s=60)
    dispatch(dying)
    receiver.fault = lambda token: None
    assert dispatch().done == 30, "what it had leased is left to it"
    held_clock.step(LEASE_S)
    assert dispatch().done == BATCH
    assert Counter(Counter(receiver.sent).values()) == {1: BATCH + 27, 2: 3}, (
        "what had not been settled is sent once more"
    )
    assert owed() == []


@pytest.mark.parametrize("dispatchers", [4])
def test_G11_dispatchers_beside_each_other_send_each_message_once(
    deployment: Any, held_clock: Any, dispatchers: int
) -> None:
    receiver = PlayedReceiver(deployment)
    together = threading.Barrier(dispatchers)
    owe(*names(120), to="fsp")

    def work() -> None:
        together.wait(60)
        dispatch()

    threads = [in_background(work) for _ in range(dispatchers)]
    for thread in threads:
        thread.join(60)
    assert owed() == []
    assert len(receiver.sent) == len(set(receiver.sent)) == 120


def test_a_message_is_seen_before_its_token_is_invalid(deployment: Any, held_clock: Any) -> None:
    """The end of the permission is committed before the first call is made, whoever dispatches."""
    receiver = PlayedReceiver(deployment)
    ended: list[bool] = []

    def look() -> None:
        with store.reading() as c:
            row = permissions.find(c, "p-fsp")
        ended.append(row is not None and row.ended is not None)

    receiver.before = look
    owe("fsp")
    assert dispatch().done == 1
    assert ended == [True]
