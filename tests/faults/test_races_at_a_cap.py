"""At a CAP a permission rests on connections: whatever meets a withdrawal, nothing stays that should go."""

import itertools
import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from consent_server.store import locks
from consent_server.withdrawal.withdraw import withdraw
from tests.collect.conftest import Cap, cap
from tests.faults.portal import ASKED, Portal
from tests.faults.racing import loses, pauses
from tests.faults.seeds import many, seeded

__all__ = ["cap"]


@pytest.fixture
def portal(cap: Cap) -> Iterator[Portal]:
    with pauses():
        yield Portal(cap)


def race_both_supports_withdrawn(portal: Portal, rng: random.Random) -> None:
    sme = portal.sme()
    supports = [portal.connect(sme) for _ in range(rng.randint(2, 4))]
    portal.grant(sme, portal.asked())
    fallen = portal.at_once(*(lambda each=each: withdraw(each, ASKED) for each in supports))
    (permission,) = portal.permissions(sme)
    assert permission.ended_as == "withdrawn"
    assert sorted(itertools.chain(*fallen)) == sorted([*supports, permission.id])


def race_grant_and_withdrawal_of_its_support(portal: Portal, rng: random.Random) -> None:
    sme = portal.sme()
    support, journey = portal.connect(sme), portal.asked()
    acts = [lambda: portal.grant(sme, journey), lambda: withdraw(support, ASKED)]
    rng.shuffle(acts)
    portal.at_once(*acts)
    assert {permission.ended_as for permission in portal.permissions(sme)} <= {"withdrawn"}


def race_collection_and_withdrawal(portal: Portal, rng: random.Random) -> None:
    name = portal.connect(portal.sme(), due=portal.cap.clock.instant)
    acts = [portal.cap.collect, lambda: withdraw(name, ASKED)]
    rng.shuffle(acts)
    portal.at_once(*acts)
    assert portal.cap.row(name).ended_as == "withdrawn"
    assert portal.cap.kept(name) == SimpleNamespace(windows=[], months=[], meters=[], of={}, troubles=[])


RACES = [race_both_supports_withdrawn, race_grant_and_withdrawal_of_its_support, race_collection_and_withdrawal]


@pytest.mark.parametrize("count", [8, many(500)])
@pytest.mark.parametrize("race", RACES)
def test_D15_races_at_a_cap(portal: Portal, race: Callable[..., None], count: int) -> None:
    for number in range(count):
        race(portal, seeded(number))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("race", RACES)
def test_without_turns_each_race_is_lost(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, race: Callable[..., None]
) -> None:
    """SQLite has a single writer and needs no locks."""
    monkeypatch.setattr(locks, "lock_business_of", lambda c, found, values: None)
    assert loses(race, portal, within=300)
