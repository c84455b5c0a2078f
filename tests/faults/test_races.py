"""Acts of several callers at once, on two nodes: each ends as if one had come after the other.

Each race is run against the product, and against a product in which the statement that decides it is weakened: then it
must fail, which shows that the race does happen.
"""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import jwt
import pytest
import sqlalchemy as sa

from consent_server import clock, store
from consent_server.issuer import code, issue, presented, refresh
from consent_server.scheme.permission import State
from consent_server.store import codes, ending, journeys, locks, outbox, permissions, requests
from consent_server.store.digests import new_id
from consent_server.store.rows import every, table_of
from consent_server.store.statement import Statement
from consent_server.store.tables.journeys import PushedRequest
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.permissions import AuthorizationCode, Permission
from consent_server.withdrawal import outbox as dispatching
from tests.faults import edp
from tests.faults.racing import at_once, loses
from tests.faults.seeds import many, seeded
from tests.issuer.conftest import BOTH, ELECTRICITY, START, Issuer, answer_in

MOST_CALLERS = 16


def race_C02_code_redemption(nodes: list[Issuer], rng: random.Random) -> None:
    sme = edp.new_sme()
    granted = edp.granted(nodes[0], sme)
    callers = rng.randint(2, MOST_CALLERS)
    answers = at_once([lambda node=nodes[number % 2]: node.redeem(granted) for number in range(callers)])
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: callers - 1}
    assert {answer.get_json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    (kept,) = edp.consistent(nodes[0], sme)
    # RFC 6749 section 4.1.2: used twice, so what the first was given has ended.
    assert kept.permission.ended_as == "withdrawn"


def race_C10_refreshes(nodes: list[Issuer], rng: random.Random) -> None:
    sme = edp.new_sme()
    token = edp.tokens(nodes[0], sme)["refresh_token"]
    before = edp.kept(nodes[0], sme)
    callers = rng.randint(2, MOST_CALLERS)
    answers = at_once([lambda node=nodes[number % 2]: node.refresh(token) for number in range(callers)])
    assert {answer.status_code for answer in answers} == {200}
    assert edp.kept(nodes[0], sme) == before


def race_C14_refresh_and_withdrawal(nodes: list[Issuer], rng: random.Random) -> None:
    """Each reading of the clock is a later instant, so that `iat` can be compared with the moment after the commit."""
    sme = edp.new_sme()
    token = edp.tokens(nodes[0], sme)["refresh_token"]
    (kept,) = edp.kept(nodes[0], sme)
    ticks = itertools.count(START + 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: next(ticks))

        def withdraw() -> int:
            edp.withdrawn(nodes[0], kept.permission.id)
            return clock.now()

        callers = rng.randint(2, MOST_CALLERS - 1)
        acts: list[Callable[[], Any]] = [
            withdraw,
            *(lambda node=nodes[number % 2]: node.refresh(token) for number in range(callers)),
        ]
        rng.shuffle(acts)
        answers = at_once(acts)
    committed = answers.pop(acts.index(withdraw))
    assert {answer.status_code for answer in answers} <= {200, 400}
    issued = [answer.get_json()["access_token"] for answer in answers if answer.status_code == 200]
    assert all(jwt.decode(each, options={"verify_signature": False})["iat"] < committed for each in issued)
    for node in nodes:
        with node.mutual_tls.app_context():
            assert permissions.is_ended(kept.permission.status_index)
    assert edp.consistent(nodes[0], sme)[0].permission.ended_as == "withdrawn"


def race_D15_renewal_and_withdrawal(nodes: list[Issuer], rng: random.Random) -> None:
    sme = edp.new_sme()
    edp.tokens(nodes[0], sme, rng.choice([BOTH, ELECTRICITY]))
    granted = edp.granted(nodes[0], sme)
    old, new = (each.permission for each in edp.kept(nodes[0], sme))

    def redeem() -> Any:
        return nodes[1].redeem(granted)

    withdrawn = rng.choice([[old], [new], [old, new], [old, old]])
    acts = [redeem, *(lambda row=row: edp.withdrawn(nodes[0], row.id) for row in withdrawn)]
    rng.shuffle(acts)
    answers = at_once(acts)
    answer = answers.pop(acts.index(redeem))
    assert answer.status_code in {200, 400}
    older, newer = edp.consistent(nodes[0], sme)
    unchanged = {"redeemed", "ended", "ended_as", "ended_by", "ended_where", "ended_why"}
    for was, now in ((old, older.permission), (new, newer.permission)):
        assert {**was._asdict(), **dict.fromkeys(unchanged)} == {**now._asdict(), **dict.fromkeys(unchanged)}
    assert (newer.permission.redeemed is not None) == (answer.status_code == 200)
    if old in withdrawn or answer.status_code == 200:
        assert older.permission.ended is not None
    if new in withdrawn:
        assert newer.permission.ended_as == "withdrawn"


def race_D15_redemption_and_withdrawal(nodes: list[Issuer], rng: random.Random) -> None:
    """A first permission, which one statement of PostgreSQL redeems."""
    sme = edp.new_sme()
    granted = edp.granted(nodes[0], sme)
    (old,) = edp.kept(nodes[0], sme)

    def redeem() -> Any:
        return nodes[1].redeem(granted)

    acts = [redeem, lambda: edp.withdrawn(nodes[0], old.permission.id)]
    rng.shuffle(acts)
    answers = at_once(acts)
    is_redeemed = answers[acts.index(redeem)].status_code == 200
    (kept,) = edp.consistent(nodes[0], sme)
    assert kept.permission.ended_as == "withdrawn"
    assert (kept.permission.redeemed is not None) == is_redeemed
    assert bool(kept.owed) == is_redeemed, "the client that has tokens, and no other, has a message"


def race_E05_decisions(nodes: list[Issuer], rng: random.Random) -> None:
    sme = edp.new_sme()
    ask = edp.asked(nodes[0], count=rng.randint(1, 3))
    clicked = [rng.choice(ask.journeys) for _ in range(rng.randint(2, MOST_CALLERS))]

    def click(number: int) -> str | None:
        journey, node = clicked[number], nodes[number % 2]
        return node.decide(journey, ask.decided(journey, sme))

    answers = at_once([lambda number=number: click(number) for number in range(len(clicked))])
    assert len(edp.consistent(nodes[0], sme)) == 1
    (first,) = {journey.id for journey, answer in zip(clicked, answers, strict=True) if answer is not None}
    expected = ask.decided(next(journey for journey in ask.journeys if journey.id == first), sme).code
    for journey, answer in zip(clicked, answers, strict=True):
        assert (answer is not None) == (journey.id == first)
        assert answer is None or answer_in(answer)["code"] == expected


def race_G11_dispatchers(nodes: list[Issuer], rng: random.Random) -> None:
    smes = [edp.new_sme() for _ in range(rng.randint(1, 4))]
    for sme in smes:
        edp.tokens(nodes[0], sme)
        edp.withdrawn(nodes[0], edp.kept(nodes[0], sme)[0].permission.id)
    sent: list[str] = []

    def dispatch(node: Issuer) -> int:
        with node.mutual_tls.app_context():
            return dispatching.dispatch().done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatching, "address_of", lambda *_: "")
        patch.setattr(dispatching, "deliver", lambda _s, _to, message: sent.append(message["body"]["token"]))
        answers = at_once([lambda node=nodes[number % 2]: dispatch(node) for number in range(rng.randint(2, 4))])
    assert sum(answers) == len(sent) == len(set(sent)) == len(smes)
    assert all(call.delivered is not None for sme in smes for call in edp.kept(nodes[0], sme)[0].owed)


RACES = [
    race_C02_code_redemption,
    race_C10_refreshes,
    race_C14_refresh_and_withdrawal,
    race_D15_renewal_and_withdrawal,
    race_D15_redemption_and_withdrawal,
    race_E05_decisions,
    race_G11_dispatchers,
]


@pytest.mark.parametrize("count", [13, many(1_700)])
@pytest.mark.parametrize("race", RACES)
def test_C02_C10_C14_D15_E05_G11_races(nodes: list[Issuer], race: Callable[..., None], count: int) -> None:
    for number in range(count):
        race(nodes, seeded(number))


# The same races, when the statement that decides them is weakened


def _unconditional(kind: type, **values: Any) -> Any:
    """The UPDATE of one row, whatever it holds."""
    kept = table_of(kind)
    return sa.update(kept).where(next(iter(kept.primary_key)) == sa.bindparam("digest_")).values(**values)


def code_redeemed_whatever_it_was(patch: pytest.MonkeyPatch) -> None:
    answered = _unconditional(AuthorizationCode, unanswered=None).returning(sa.literal(1))
    patch.setattr(codes, "_ANSWER", Statement(answered))
    patch.setattr(code, "CHECKS", tuple(check for check in code.CHECKS if check is not code.code_is_unused))


def refresh_token_rotated(patch: pytest.MonkeyPatch) -> None:
    found = presented.of_refresh_token

    def rotating(token: str) -> Permission | None:
        row = found(token)
        if row is not None:
            with store.writing() as c:
                kept = table_of(Permission)
                c.execute(sa.update(kept).where(kept.c.id == row.id).values(refresh_id=new_id().ljust(32, "-")))
        return row

    patch.setattr(refresh, "of_refresh_token", rotating)


def clock_read_after_the_row(patch: pytest.MonkeyPatch) -> None:
    mint = issue.token_response

    def late(permission: Permission, caller: Any, at: int) -> Any:
        time.sleep(0.005)
        return mint(permission, caller, clock.now())

    patch.setattr(issue, "token_response", late)


def ended_whatever_it_was(patch: pytest.MonkeyPatch) -> None:
    kept = table_of(Permission)
    update = sa.update(kept).where(kept.c.id == sa.bindparam("id_"))
    patch.setattr(ending, "_NOT_ENDED", {Permission: update})
    patch.setattr(ending, "state_at", lambda *_: State.GRANTED)


def no_locks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(locks, "lock_business_of", lambda c, found, values: None)


def concluded_whatever_it_was(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(requests, "_CONCLUDE", _unconditional(PushedRequest, concluded=sa.bindparam("at")))
    patch.setattr(journeys, "conclude", lambda c, journey, at: True)


def leased_to_all(patch: pytest.MonkeyPatch) -> None:
    def lease(c: store.Connection, at: int, lease_s: int, limit: int) -> list[OwedCall]:
        kept = table_of(OwedCall)
        return every(c, OwedCall, sa.select(kept).where(kept.c.delivered.is_(None), kept.c.due <= at))

    patch.setattr(outbox, "lease", lease)


WEAKENED = [
    (race_C02_code_redemption, code_redeemed_whatever_it_was),
    (race_C10_refreshes, refresh_token_rotated),
    (race_C14_refresh_and_withdrawal, clock_read_after_the_row),
    (race_D15_renewal_and_withdrawal, ended_whatever_it_was),
    (race_E05_decisions, concluded_whatever_it_was),
    (race_G11_dispatchers, leased_to_all),
]


@pytest.mark.parametrize(("race", "weaken"), WEAKENED)
def test_a_weakened_statement_loses_the_race(
    nodes: list[Issuer], monkeypatch: pytest.MonkeyPatch, race: Callable[..., None], weaken: Callable[..., None]
) -> None:
    weaken(monkeypatch)
    assert loses(race, nodes, within=100)


def redeemed_out_of_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(codes, "_LOCKED", sa.select(sa.literal(1).label("no_lock")))
    patch.setattr(codes, "_redeem_at_once", cache(codes._redeem_at_once.__wrapped__))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("race", "weaken"),
    [(race_D15_renewal_and_withdrawal, no_locks), (race_D15_redemption_and_withdrawal, redeemed_out_of_turn)],
)
def test_without_turns_a_client_is_not_told_of_a_withdrawal(
    nodes: list[Issuer], monkeypatch: pytest.MonkeyPatch, race: Callable[..., None], weaken: Callable[..., None]
) -> None:
    """Redemption and withdrawal each decide by what the other is about to change. SQLite has a single writer."""
    weaken(monkeypatch)
    assert loses(race, nodes, within=300)
