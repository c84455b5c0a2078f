"""Budgets of failures: who waits when one is used up, for how long, and who does not."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import deployment, store
from consent_server.store.rows import table_of
from consent_server.store.tables.limits import FailureCount
from consent_server.tokens.sealing import Sealer
from consent_server.web.limits import Counted, Guess, Limit, Period, TooMany, network_of, place_of
from tests.database import new_database

NOON = 1_790_000_040 // 86400 * 86400 + 43200


@pytest.fixture
def stored(database_url: str) -> Iterator[Flask]:
    with new_database(database_url) as app:
        sealed_with(app, b"k")
        yield app


def sealed_with(app: Flask, octet: bytes) -> None:
    process: Any = SimpleNamespace(sealer=Sealer(32 * octet))
    deployment.install(app, process)


def take(limit: Limit, subject: str = "x", **how: Any) -> bool:
    with store.writing() as c:
        return limit.take(c, subject, **how)


def wait_of(limit: Limit, subject: str = "x") -> int:
    """Seconds for which an attempt must wait; 0 when it is accepted."""
    try:
        take(limit, subject)
    except TooMany as refused:
        return int(refused.answer_headers["Retry-After"])
    return 0


def test_beyond_a_budget_one_try_is_accepted_in_each_pause(stored: Any, held_at: Any) -> None:
    limit = Limit("meter", Counted.METERS, (Period(2, 86400),), 60)
    held_at(NOON)
    assert [wait_of(limit) for _ in range(5)] == [0, 0, 0, 60, 60]
    assert wait_of(limit, "another") == 0
    held_at(NOON + 45)
    assert wait_of(limit) == 15
    held_at(NOON + 60)
    assert [wait_of(limit) for _ in range(2)] == [0, 60]
    held_at(NOON + 86400)
    assert [wait_of(limit) for _ in range(2)] == [0, 0]


def test_what_is_counted_cannot_be_guessed_from_the_store_alone(stored: Flask, held_at: Any) -> None:
    """There are some millions of postcodes, and not many more numbers of meters in a district: each would be tried."""
    limit = Limit("postcode", Counted.METERS, (Period(2, 86400),))
    held_at(NOON)
    take(limit, "SW8 3ZQ")
    sealed_with(stored, b"l")
    take(limit, "SW8 3ZQ")
    with store.reading() as c:
        kept = c.execute(sa.select(table_of(FailureCount).c.key)).scalars().all()
    assert len(kept) == 2, "without the key nothing says that they are of one postcode"


def test_without_a_pause_the_window_has_to_end(stored: Any, held_at: Any) -> None:
    limit = Limit("evidence", Counted.EVIDENCE, (Period(1, 600),))
    held_at(NOON + 100)
    assert [wait_of(limit) for _ in range(3)] == [0, 500, 500]


def test_each_of_several_windows_must_hold(stored: Any, held_at: Any) -> None:
    """Two in a window and three in a day: who waits for the next window is slowed by the day."""
    limit = Limit("network", Counted.METERS, (Period(2, 600), Period(3, 86400)), 60)
    held_at(NOON)
    assert [wait_of(limit) for _ in range(4)] == [0, 0, 0, 60]
    held_at(NOON + 600)
    assert [wait_of(limit) for _ in range(2)] == [0, 60]


def test_what_had_to_wait_counts_nowhere(stored: Any, held_at: Any) -> None:
    limit = Limit("meter", Counted.METERS, (Period(1, 600), Period(5, 86400)), 60)
    held_at(NOON)
    assert [wait_of(limit) for _ in range(9)] == [0, 0, *[60] * 7]
    held_at(NOON + 600)
    assert wait_of(limit) == 0, "two of five are used up in this day"
    assert take(limit) is True


def test_successes_are_uncounted_and_an_owner_clears(stored: Any, held_at: Any) -> None:
    limit = Limit("meter", Counted.METERS, (Period(1, 86400),), 60)
    held_at(NOON)
    with store.writing() as c:
        limit.give_back(c, "x")  # nothing was taken in this window, and nothing is owed for it
    assert [wait_of(limit) for _ in range(3)] == [0, 0, 60]
    with store.writing() as c:
        limit.give_back(c, "x", pause=True)
    assert [wait_of(limit) for _ in range(2)] == [0, 60]
    with store.writing() as c:
        limit.clear(c, "x")
    assert [wait_of(limit) for _ in range(3)] == [0, 0, 60]


def test_a_budget_that_is_used_up_is_one_audit_event(stored: Any, held_at: Any, lines: Any) -> None:
    limit = Limit("meters-all", Counted.METERS, (Period(1, 600),), 1)
    for second in range(4):
        held_at(NOON + second)
        take(limit)
    told = [{key: line[key] for key in ("event", "budget", "most", "seconds")} for line in lines()]
    assert told == [{"event": "budget_used_up", "budget": "meters-all", "most": 1, "seconds": 600}]


def guess(address: str, subject: str = "meter") -> Guess:
    day = (Period(2, 86400),)
    return Guess(
        own=(Limit("own", Counted.METERS, day), place_of(address)),
        limits=(
            (Limit("network", Counted.METERS, (Period(4, 600),), 60), network_of(address)),
            (Limit("meter", Counted.METERS, day, 60), subject),
        ),
    )


def accepted(address: str, subject: str = "meter") -> bool:
    try:
        guess(address, subject).take()
    except TooMany:
        return False
    return True


def test_H06_who_has_not_failed_does_not_wait_for_those_who_have(stored: Any, held_at: Any) -> None:
    held_at(NOON)
    assert [accepted("192.0.2.1") for _ in range(5)] == [True, True, True, False, False]
    assert accepted("192.0.2.2"), "the meter's budget is used up, and its pause begun; this network has not failed"
    guess("192.0.2.2").succeeded()
    assert [accepted("192.0.2.2") for _ in range(3)] == [True, True, False]
    others = [accepted("192.0.2.1", f"meter {number}") for number in range(3)]
    assert others == [True, True, False], "the network's own budget of four, and its pause"


def test_a_success_uncounts_itself_and_clears_what_it_is_told_to(stored: Any, held_at: Any) -> None:
    held_at(NOON)
    for _ in range(3):
        accepted("192.0.2.1")
    good = guess("192.0.2.1")
    held_at(NOON + 60)
    good.take()
    good.succeeded(good.limits[1])
    assert accepted("192.0.2.1"), "the meter's failures are forgotten"
    others = [accepted("192.0.2.1", f"meter {number}") for number in range(2)]
    assert others == [True, False], "those of the network are not: four, and its pause"


@pytest.mark.parametrize(
    ("address", "network", "place"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("", "", ""),
    ],
)
def test_a_network_is_what_one_customer_has(address: str, network: str, place: str) -> None:
    assert (network_of(address), place_of(address)) == (network, place)
