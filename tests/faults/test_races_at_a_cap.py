"""At a CAP a permission rests on connections: whatever meets a withdrawal, nothing stays that should go."""

import itertools
import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import current_app

from consent_server import store
from consent_server.issuer import decision
from consent_server.issuer.decision import Decision, TextIsNotTheLicense
from consent_server.store import accounts, journeys, outbox, permissions, requests, turns
from consent_server.store.digests import digest, new_id
from consent_server.store.tables import Journey, Permission, PushedRequest, SmeAccount
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.collect.conftest import Cap, cap
from tests.faults.racing import at_once, loses, pauses
from tests.faults.seeds import seeded

__all__ = ["cap"]

ASKED = Withdrawal("sme", "portal", "the SME withdrew")
_numbers = itertools.count()


class Portal:
    """A CAP whose SMEs each have connections, and banks that ask for their emissions."""

    def __init__(self, cap: Cap) -> None:
        self.cap, self.provider = cap, cap.provider()
        app: Any = current_app
        self._app = app._get_current_object()

    def sme(self) -> str:
        name = f"sme-{next(_numbers)}"
        with store.writing() as c:
            accounts.add(c, SmeAccount(name, f"{name}@example.org", name, created=0))
        return name

    def connect(self, sme: str, due: int | None = None) -> str:
        return self.cap.connect(self.provider, new_id(), account=sme, collect_due=due)

    def asked(self) -> Journey:
        """A bank's request, opened by the SME."""
        license_, at, bank = next(iter(self.cap.deployment.licenses)), self.cap.clock.instant, "https://bank.example"
        values = {"client_id": bank, "member": bank, "redirect_uri": bank, "state": None, "license": license_}
        pushed = PushedRequest(
            digest=digest(new_id()), certificate="", code_challenge="", created=at, expires=at, **values
        )
        journey = new_id()
        with store.writing() as c:
            requests.push(c, pushed)
            journeys.open(c, journey, "secret", pushed, at)
            found = journeys.find(c, journey)
        assert found is not None
        return found

    def grant(self, sme: str, journey: Journey) -> str | None:
        """The SME's agreement; None when it is refused, because no connection is left."""
        decided = Decision(
            agreed=True,
            sme=sme,
            who={"business": sme, "method": "e-mail", "strength": "low"},
            meters=[],
            fuels=("electricity", "gas"),
            text_shown="",
            shown_sha256="0" * 64,
            raw_sha256="0" * 64,
            names={},
            address="",
            user_agent="",
            code=new_id(),
        )
        try:
            return decision.conclude(journey, decided)
        except TextIsNotTheLicense:
            return None

    def permissions(self, sme: str) -> list[Permission]:
        with store.reading() as c:
            return permissions.of_sme(c, sme)

    def owed(self, subject: str) -> list[str]:
        with store.reading() as c:
            return [call.kind for call in outbox.of_subject(c, subject)]

    def at_once(self, *acts: Callable[[], Any]) -> list[Any]:
        def inside(act: Callable[[], Any]) -> Any:
            with self._app.app_context():
                return act()

        return at_once([lambda act=act: inside(act) for act in acts])


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
    assert portal.cap.kept(name) == SimpleNamespace(windows=[], months=[], days={})


RACES = [
    (race_both_supports_withdrawn, 16, 1_700),
    (race_grant_and_withdrawal_of_its_support, 16, 1_700),
    (race_collection_and_withdrawal, 6, 300),
]
LONG = [pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    ("race", "count"),
    [
        *((race, few) for race, few, _ in RACES),
        *(pytest.param(race, many, marks=LONG) for race, _, many in RACES),
    ],
)
def test_D15_races_at_a_cap(portal: Portal, race: Callable[..., None], count: int) -> None:
    for number in range(count):
        race(portal, seeded(number))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("race", [race for race, _, _ in RACES])
def test_without_turns_each_race_is_lost(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, race: Callable[..., None]
) -> None:
    """SQLite has a single writer and needs no turns."""
    monkeypatch.setattr(turns, "take", lambda c, sme: None)
    assert loses(race, portal, within=300)
