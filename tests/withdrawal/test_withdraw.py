"""What falls with what, who is told, and that each falls once."""

from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import store
from consent_server.deployment import Deployment
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.session import Response
from consent_server.scheme import messages
from consent_server.store import audit_events, collecting, outbox, permissions, rows
from consent_server.store.database import db
from consent_server.store.tables.permissions import Link
from consent_server.tokens import refresh_token
from consent_server.withdrawal.outbox import LONGEST_DELAY_S, delay, dispatch
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.withdrawal.conftest import CLIENT, ISSUER, connection, linked, owed, permission, permission_row, refresh_id

ASKED = Withdrawal(by="sme", where="here", why="asked")


def test_a_permission_falls_once_and_its_client_is_told(deployment: Deployment) -> None:
    permission("p")
    assert withdraw("p", ASKED) == ["p"]
    assert withdraw("p", ASKED) == []
    assert owed() == [("message", "p")]
    with store.reading() as c:
        assert permissions.find(c, "p").ended_as == "withdrawn"
        (event,) = audit_events.newest(c)
    assert (event.event, event.fields["by"]) == ("permission_withdrawn", "sme")


@pytest.mark.parametrize(
    ("redeemed", "already_told"), [(None, ""), (100, CLIENT)], ids=["never-redeemed", "the-client-asked"]
)
def test_nobody_is_told_what_they_cannot_use_or_said_themselves(
    deployment: Deployment, redeemed: int | None, already_told: str
) -> None:
    permission("p", redeemed=redeemed)
    withdraw("p", Withdrawal(by="client", where="revoke", why="asked", already_told=already_told))
    assert owed() == []


def test_unknown_subjects_change_nothing(deployment: Deployment) -> None:
    assert withdraw("nobody", ASKED) == []
    assert owed() == []


def test_a_connection_falls_with_its_data_and_what_rests_on_it(deployment: Deployment) -> None:
    connection(deployment, "c")
    permission("p")
    linked("c", "p")
    assert withdraw("c", ASKED) == ["c", "p"]
    assert sorted(owed()) == [("message", "p"), ("revocation", "c")]
    with store.reading() as c:
        assert collecting.months_of(c, "c", "meter") == {}


def test_a_permission_falls_with_the_last_connection_it_rests_on(deployment: Deployment) -> None:
    for name in ("c1", "c2"):
        connection(deployment, name)
    permission("p")
    linked("c1", "p")
    linked("c2", "p")
    assert withdraw("c1", ASKED) == ["c1"]
    assert withdraw("c2", ASKED) == ["c2", "p"]


def test_an_issuer_that_told_us_is_not_told_back(deployment: Deployment) -> None:
    connection(deployment, "c")
    withdraw("c", Withdrawal(by="sme", where=ISSUER, why="told", already_told=ISSUER))
    assert owed() == []


def test_a_dependent_does_not_drag_its_support_along(deployment: Deployment) -> None:
    connection(deployment, "c")
    permission("p")
    linked("c", "p")
    assert withdraw("p", ASKED) == ["p"]


def test_a_cycle_ends(deployment: Deployment) -> None:
    names = [permission(name) for name in ("p", "q", "r")]
    for support, dependent in zip(names, [*names[1:], names[0]], strict=True):
        linked(support, dependent)
    assert withdraw("p", ASKED) == ["p", "q", "r"]


def test_a_cycle_does_not_hold_itself_up(deployment: Deployment) -> None:
    connection(deployment, "c")
    permission("p")
    permission("q")
    for support, dependent in (("c", "p"), ("p", "q"), ("q", "p")):
        linked(support, dependent)
    assert withdraw("c", ASKED) == ["c", "p", "q"]


def test_what_rests_on_another_by_a_long_way_stands(deployment: Deployment) -> None:
    for name in ("c1", "c2"):
        connection(deployment, name)
    for name in ("p", "q", "r", "alone"):
        permission(name)
    for support, dependent in (("c1", "p"), ("c2", "q"), ("q", "p"), ("p", "r"), ("r", "p"), ("c1", "alone")):
        linked(support, dependent)
    assert withdraw("c1", ASKED) == ["c1", "alone"]
    assert sorted(withdraw("c2", ASKED)) == ["c2", "p", "q", "r"]


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_D13_many_at_once_fall_once_each_in_bounded_work(deployment: Deployment, count: int) -> None:
    """A chain and a crowd, closed to a cycle: the work grows with their number and no faster."""
    connection(deployment, "c")
    names = [f"p{number}" for number in range(count)]
    with store.writing() as c:
        rows.add(c, *(permission_row(name, status_index=number) for number, name in enumerate(names)))
        supports = ["c", *(name if number % 2 else "c" for number, name in enumerate(names[:-1]))]
        pairs = [*zip(supports, names, strict=True), (names[-1], names[0])]
        rows.add(c, *(Link(support, dependent) for support, dependent in pairs))
    statements: list[str] = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    fallen = withdraw("c", ASKED)
    # Three statements find each of them (its row, its dependents, its supports), and five end it (row, end, call, mail, event).
    assert len(statements) <= 8 * (count + 1) + 10
    assert len(fallen) == len(set(fallen)) == count + 1
    assert withdraw("c", ASKED) == []


class PlayedReceiver:
    """The client that messages go to: it takes them, or cannot be reached."""

    def __init__(self, deployment: Any) -> None:
        self.down = False
        self.sent: list[tuple[str, Any]] = []
        deployment.directory = SimpleNamespace(application=self._application)
        deployment.session = SimpleNamespace(post_json=self._post)

    def _application(self, url: str, *, fresh: bool) -> Any:
        assert fresh, "the address that the Directory has now"
        return SimpleNamespace(message_delivery=f"{url}/messages")

    def _post(self, url: str, document: Any) -> Response:
        if self.down:
            raise Unreachable("connection", "fsp.example")
        self.sent.append((url, document))
        return Response(200, {}, "fsp.example", b"")


def test_a_message_is_sent_with_the_token_made_again(deployment: Deployment) -> None:
    receiver = PlayedReceiver(deployment)
    permission("p")
    withdraw("p", ASKED)
    assert dispatch().done == 1
    (address, message), *more = receiver.sent
    assert (address, more) == (f"{CLIENT}/messages", [])
    scheme = deployment.settings.scheme
    token = messages.parse_withdrawal(message, scheme.withdrawal_subjects)
    assert refresh_token.recognise(deployment.refresh_keys, token) == refresh_id("p")
    assert dispatch().done == 0
    assert len(receiver.sent) == 1


def test_a_receiver_that_is_down_is_tried_again_and_then_given_up(deployment: Deployment, held_clock: Any) -> None:
    receiver = PlayedReceiver(deployment)
    permission("p")
    withdraw("p", ASKED)
    receiver.down = True
    for _ in range(4):
        assert dispatch().failed == 1
        assert dispatch().failed == 0, "not before it is due again"
        held_clock.step(LONGEST_DELAY_S)
    with store.writing() as c:
        (row,) = outbox.given_up(c)
        assert (row.attempts, row.last_error) == (4, "fsp.example: connection")
        outbox.retry(c, row.id, held_clock.instant)
    receiver.down = False
    assert dispatch().done == 1


def test_delays_double_up_to_a_cap_with_jitter() -> None:
    for attempts, longest in [(0, 5), (1, 10), (4, 80), (30, LONGEST_DELAY_S)]:
        seen = {delay(attempts) for _ in range(200)}
        assert longest // 2 <= min(seen) <= max(seen) <= longest
        assert len(seen) > 1
