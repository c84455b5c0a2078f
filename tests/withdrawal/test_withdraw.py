"""What falls with what, who is told, and that each falls once."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.store import accounts, audit_events, connections, links, outbox, permissions, readings
from consent_server.store.database import db, migrate
from consent_server.store.models import Link, Permission, table
from consent_server.withdrawal.outbox import LONGEST_DELAY_S, OutboxParts, Undeliverable, delay, dispatch
from consent_server.withdrawal.withdraw import Withdrawal, withdraw

CLIENT = "https://directory.example/a/fsp"
ISSUER = "https://edp.example"
ASKED = Withdrawal(by="sme", where="here", why="asked")


@pytest.fixture
def app(database_url: str, held_clock: Any) -> Iterator[Flask]:
    app = Flask("withdrawal-test")
    store.init(app, database_url)
    with app.app_context():
        migrate()
        with store.writing() as c:
            accounts.add(c, id="acme", email="owner@acme.example", business="Acme", created=0)
        yield app
        db.engine.dispose()


def permission_row(name: str, index: int, redeemed: int | None = 100) -> dict[str, Any]:
    return {
        "id": name,
        "account": f"account-{name}",
        "status_index": index,
        "client_id": CLIENT,
        "member": "https://directory.example/m/fsp",
        "license": "https://registry.example/license",
        "fuels": ["electricity"],
        "text_sha256": "0" * 64,
        "sme": "acme",
        "meters": [],
        "datasources": [],
        "granted": 100,
        "expires": 4102444800,
        "refresh_id": f"refresh-{name}",
        "refresh_version": 1,
        "redeemed": redeemed,
    }


def permission(name: str, *, redeemed: int | None = 100) -> str:
    row = permission_row(name, 0, redeemed)
    with store.writing() as c:
        permissions.add(c, **{column: value for column, value in row.items() if column != "status_index"})
    return name


def connection(name: str) -> str:
    with store.writing() as c:
        connections.add(
            c,
            id=name,
            account="acme",
            issuer=ISSUER,
            resource=ISSUER,
            member="https://directory.example/m/edp",
            application="https://directory.example/a/edp",
            license="https://registry.example/license",
            refresh_sealed=b"sealed",
            refresh_mac=f"mac-{name}",
            granted=100,
            expires=4102444800,
        )
        readings.put_days(c, name, "meter", "import", {0: b"{}"})
    return name


def linked(support: str, dependent: str) -> None:
    with store.writing() as c:
        links.add(c, support, dependent)


def owed() -> list[tuple[str, str]]:
    with store.reading() as c:
        return [(row.kind, row.subject) for row in outbox.waiting(c)]


def test_a_permission_falls_once_and_its_client_is_told(app: Flask) -> None:
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
    app: Flask, redeemed: int | None, already_told: str
) -> None:
    permission("p", redeemed=redeemed)
    withdraw("p", Withdrawal(by="client", where="revoke", why="asked", already_told=already_told))
    assert owed() == []


def test_unknown_subjects_change_nothing(app: Flask) -> None:
    assert withdraw("nobody", ASKED) == []
    assert owed() == []


def test_a_connection_falls_with_its_data_and_what_rests_on_it(app: Flask) -> None:
    connection("c")
    permission("p")
    linked("c", "p")
    assert withdraw("c", ASKED) == ["c", "p"]
    assert sorted(owed()) == [("message", "p"), ("revocation", "c")]
    with store.reading() as c:
        assert readings.extent(c, "c", "meter", "import") is None


def test_a_permission_falls_with_the_last_connection_it_rests_on(app: Flask) -> None:
    for name in ("c1", "c2"):
        connection(name)
    permission("p")
    linked("c1", "p")
    linked("c2", "p")
    assert withdraw("c1", ASKED) == ["c1"]
    assert withdraw("c2", ASKED) == ["c2", "p"]


def test_an_issuer_that_told_us_is_not_told_back(app: Flask) -> None:
    connection("c")
    withdraw("c", Withdrawal(by="sme", where=ISSUER, why="told", already_told=ISSUER))
    assert owed() == []


def test_a_dependent_does_not_drag_its_support_along(app: Flask) -> None:
    connection("c")
    permission("p")
    linked("c", "p")
    assert withdraw("p", ASKED) == ["p"]


def test_a_cycle_ends(app: Flask) -> None:
    names = [permission(name) for name in ("p", "q", "r")]
    for support, dependent in zip(names, [*names[1:], names[0]], strict=True):
        linked(support, dependent)
    assert withdraw("p", ASKED) == ["p", "q", "r"]


def test_a_cycle_does_not_hold_itself_up(app: Flask) -> None:
    connection("c")
    permission("p")
    permission("q")
    for support, dependent in (("c", "p"), ("p", "q"), ("q", "p")):
        linked(support, dependent)
    assert withdraw("c", ASKED) == ["c", "p", "q"]


def test_what_rests_on_another_by_a_long_way_stands(app: Flask) -> None:
    for name in ("c1", "c2"):
        connection(name)
    for name in ("p", "q", "r", "alone"):
        permission(name)
    for support, dependent in (("c1", "p"), ("c2", "q"), ("q", "p"), ("p", "r"), ("r", "p"), ("c1", "alone")):
        linked(support, dependent)
    assert withdraw("c1", ASKED) == ["c1", "alone"]
    assert sorted(withdraw("c2", ASKED)) == ["c2", "p", "q", "r"]


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_D13_many_at_once_fall_once_each_in_bounded_time(app: Flask, count: int) -> None:
    """A chain and a crowd, closed to a cycle: the work grows with their number and no faster."""
    connection("c")
    names = [f"p{number}" for number in range(count)]
    with store.writing() as c:
        c.execute(sa.insert(table(Permission)), [permission_row(name, number) for number, name in enumerate(names)])
        supports = ["c", *(name if number % 2 else "c" for number, name in enumerate(names[:-1]))]
        pairs = [*zip(supports, names, strict=True), (names[-1], names[0])]
        c.execute(sa.insert(table(Link)), [{"support": one, "dependent": other} for one, other in pairs])
    began = time.perf_counter()
    fallen = withdraw("c", ASKED)
    took = time.perf_counter() - began
    assert len(fallen) == len(set(fallen)) == count + 1
    assert withdraw("c", ASKED) == []
    assert took < 0.01 * count


def parts(send: Any) -> OutboxParts:
    return OutboxParts(send=send, revoke=lambda row: None, token_of=lambda row: f"token-{row.id}", give_up_after=3)


def test_a_message_is_sent_with_the_token_made_again(app: Flask) -> None:
    permission("p")
    withdraw("p", ASKED)
    sent: list[tuple[str, str]] = []
    assert dispatch(parts(lambda *call: sent.append(call))) == 1
    assert sent == [(CLIENT, "token-p")]
    assert dispatch(parts(lambda *call: sent.append(call))) == 0


def test_a_receiver_that_is_down_is_tried_again_and_then_given_up(app: Flask, held_clock: Any) -> None:
    permission("p")
    withdraw("p", ASKED)

    def down(recipient: str, token: str) -> None:
        raise Undeliverable("connection refused: fsp.example")

    for _ in range(3):
        assert dispatch(parts(down)) == 0
        assert dispatch(parts(down)) == 0, "not before it is due again"
        held_clock.step(LONGEST_DELAY_S)
    with store.writing() as c:
        (row,) = outbox.given_up(c)
        assert (row.attempts, row.last_error) == (3, "connection refused: fsp.example")
        outbox.retry(c, row.id, held_clock.instant)
    assert dispatch(parts(lambda *call: None)) == 1


def test_delays_double_up_to_a_cap_with_jitter() -> None:
    for attempts, longest in [(0, 5), (1, 10), (4, 80), (30, LONGEST_DELAY_S)]:
        seen = {delay(attempts) for _ in range(200)}
        assert longest // 2 <= min(seen) <= max(seen) <= longest
        assert len(seen) > 1
