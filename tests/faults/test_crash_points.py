"""Grant, redemption, withdrawal, collection and delivery in a process that is killed before each statement and commit.

Afterwards nothing is half done, what was acknowledged is there, what is owed is kept, and whoever tries again ends well.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consent_server import clock
from consent_server.collect import weigh
from consent_server.journey.evidence import own
from consent_server.store import Connection, permissions
from consent_server.store.database import db
from consent_server.withdrawal import outbox as dispatching
from consent_server.withdrawal.withdraw import withdraw
from tests.collect.conftest import Cap, cap
from tests.faults import edp
from tests.faults.crashing import Scene, killed_at_each_point
from tests.faults.portal import ASKED, Portal
from tests.issuer.conftest import ELECTRICITY, Issuer

__all__ = ["cap"]


def grant(issuer: Issuer, clock_: Any, folder: Path) -> Scene:
    sme = edp.new_sme()
    ask = edp.asked(issuer)
    (journey,) = ask.journeys
    acknowledged = yield lambda: issuer.decide(journey, ask.decided(journey, sme))
    done = edp.consistent(issuer, sme)
    assert done or not acknowledged
    # The SME clicks again: one grant, one code, whatever was kept of the first click.
    location = issuer.decide(journey, ask.decided(journey, sme))
    assert location is not None
    assert acknowledged in {None, (location,)}
    (kept,) = edp.consistent(issuer, sme)
    assert [each.permission.id for each in done] in ([], [kept.permission.id])
    assert issuer.redeem(edp.granted_by(location, ask.verifier)).status_code == 200


def redemption(issuer: Issuer, clock_: Any, folder: Path) -> Scene:
    """The client tries again."""
    sme = edp.new_sme()
    old = edp.tokens(issuer, sme, ELECTRICITY)["refresh_token"]
    granted = edp.granted(issuer, sme)
    acknowledged = yield lambda: issuer.redeem(granted).get_json()
    older, newer = edp.consistent(issuer, sme)
    done = newer.permission.redeemed is not None
    assert done or not acknowledged
    assert older.permission.ended_as == ("superseded" if done else None)
    assert issuer.refresh(old).status_code == (400 if done else 200)
    if acknowledged:
        assert issuer.refresh(acknowledged[0]["refresh_token"]).status_code == 200
    answered = done and not newer.code.unanswered  # until then the client cannot have its tokens, and may try again
    assert answered or not acknowledged
    again = issuer.redeem(granted)
    assert again.status_code == (400 if answered else 200)
    assert again.get_json().get("error") == ("invalid_grant" if answered else None)
    edp.consistent(issuer, sme)
    # Asking the SME again always ends well.
    assert issuer.refresh(edp.tokens(issuer, sme)["refresh_token"]).status_code == 200


def redemption_then_withdrawal(issuer: Issuer, clock_: Any, folder: Path) -> Scene:
    """The client says nothing more; the SME sees the permission and withdraws it."""
    sme = edp.new_sme()
    granted = edp.granted(issuer, sme)
    yield lambda: issuer.redeem(granted).get_json()
    (kept,) = edp.consistent(issuer, sme)
    with issuer.public.app_context():
        seen = own(sme, kept.permission.id, clock.now())
    assert seen is not None
    assert edp.withdrawn(issuer, kept.permission.id) == [kept.permission.id]
    edp.consistent(issuer, sme)
    assert issuer.redeem(granted).get_json()["error"] == "invalid_grant"


def withdrawal(issuer: Issuer, clock_: Any, folder: Path) -> Scene:
    sme = edp.new_sme()
    token = edp.tokens(issuer, sme)["refresh_token"]
    (before,) = edp.kept(issuer, sme)
    acknowledged = yield lambda: edp.withdrawn(issuer, before.permission.id)
    (kept,) = edp.consistent(issuer, sme)
    done = kept.permission.ended is not None
    assert done or not acknowledged
    assert issuer.refresh(token).status_code == (400 if done else 200)
    assert edp.withdrawn(issuer, before.permission.id) == ([] if done else [before.permission.id])
    (kept,) = edp.consistent(issuer, sme)
    assert kept.permission.ended_as == "withdrawn"
    assert issuer.refresh(token).status_code == 400


def revocation(issuer: Issuer, clock_: Any, folder: Path) -> Scene:
    sme = edp.new_sme()
    token = edp.tokens(issuer, sme)["refresh_token"]
    acknowledged = yield lambda: issuer.post("/revoke", {"token": token}).status_code
    (kept,) = edp.consistent(issuer, sme)
    assert acknowledged is None or kept.permission.ended is not None
    assert issuer.post("/revoke", {"token": token}).status_code == 200
    (kept,) = edp.consistent(issuer, sme)
    assert (kept.permission.ended_by, kept.owed) == ("client", [])


def delivery(issuer: Issuer, clock_: Any, folder: Path) -> Scene:
    sme = edp.new_sme()
    edp.tokens(issuer, sme)
    (kept,) = edp.kept(issuer, sme)
    edp.withdrawn(issuer, kept.permission.id)
    received = folder / sme
    received.touch()

    def deliver(_session: Any, _to: str, message: Any) -> None:
        with received.open("a") as file:  # outlives the process
            file.write(message["body"]["token"] + "\n")

    def dispatch() -> int:
        with issuer.mutual_tls.app_context(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(dispatching, "deliver", deliver)
            patch.setattr(dispatching, "address_of", lambda *_: "")
            return dispatching.dispatch().done

    acknowledged = yield dispatch
    (call,) = edp.consistent(issuer, sme)[0].owed
    assert call.delivered is not None or not acknowledged
    clock_.step(dispatching.LEASE_S + 1)
    dispatch()
    (call,) = edp.consistent(issuer, sme)[0].owed
    assert call.delivered is not None
    sent = received.read_text().splitlines()
    assert len(sent) in {1, 2}
    assert len(set(sent)) == 1


AT_AN_EDP = [grant, redemption, redemption_then_withdrawal, withdrawal, revocation, delivery]


def steps(url: str, whole: bool, act: Callable[..., Scene]) -> int:
    """On PostgreSQL the fast set takes every fifth point, but of a redemption that is three statements."""
    return 1 if whole or url.startswith("sqlite") or act is redemption_then_withdrawal else 5


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)], ids=["some", "all"])
@pytest.mark.parametrize("act", AT_AN_EDP)
def test_G01_G02_killed_at_each_statement(
    issuer: Issuer, held_clock: Any, database_url: str, tmp_path: Path, act: Callable[..., Scene], whole: bool
) -> None:
    last = killed_at_each_point(
        lambda: act(issuer, held_clock, tmp_path), issuer.close, steps(database_url, whole, act)
    )
    assert last > 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_act_in_two_transactions_is_found_half_done(
    issuer: Issuer, held_clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = permissions.end

    def ended_and_committed(c: Connection, *facts: Any, **more: Any) -> bool:
        ended = end(c, *facts, **more)
        c.exec_driver_sql("COMMIT")
        c.exec_driver_sql("BEGIN IMMEDIATE")
        return ended

    monkeypatch.setattr(permissions, "end", ended_and_committed)
    with pytest.raises(AssertionError, match="killed at point"):
        killed_at_each_point(lambda: withdrawal(issuer, held_clock, tmp_path), issuer.close)


# At a CAP


def withdrawal_of_a_connection(portal: Portal) -> Scene:
    sme = portal.sme()
    support = portal.connect(sme)
    portal.grant(sme, portal.asked())
    acknowledged = yield lambda: withdraw(support, ASKED)
    (permission,) = portal.permissions(sme)
    done = portal.cap.row(support).ended is not None
    assert done or not acknowledged
    assert permission.ended_as == ("withdrawn" if done else None)
    assert withdraw(support, ASKED) == ([] if done else [support, permission.id])
    assert portal.owed(support) == ["revocation"]


def collection(portal: Portal) -> Scene:
    now = portal.cap.clock.instant
    other = portal.connect(portal.sme(), due=now)
    assert portal.cap.collect() == 1
    name = portal.connect(portal.sme(), due=now)
    acknowledged = yield portal.cap.collect
    kept = portal.cap.kept(name)
    months = [month for of in kept.of.values() for month in of.values()]
    assert (kept.months and kept.months[0].complete) or acknowledged != (1,)
    assert bool(kept.windows) == bool(months) == bool(kept.months), "readings, record and sum, or none of them"
    fetched = len(portal.provider.windows)
    portal.cap.clock.step(weigh.LEASE_S + 1)
    portal.cap.collect()
    assert len(portal.provider.windows) == fetched + (not kept.windows), "what was kept is not fetched again"
    kept, whole = portal.cap.kept(name), portal.cap.kept(other)
    assert portal.cap.row(name).collected is not None
    assert [list(of) for of in kept.of.values()] == [list(of) for of in whole.of.values()]
    assert [month.kilograms for month in kept.months] == [month.kilograms for month in whole.months]
    assert all(month.complete for month in kept.months)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)], ids=["some", "all"])
@pytest.mark.parametrize("act", [withdrawal_of_a_connection, collection])
def test_G01_killed_at_each_statement_at_a_cap(
    cap: Cap, database_url: str, act: Callable[..., Scene], whole: bool
) -> None:
    portal = Portal(cap)
    step = 5 if act is collection and not whole else steps(database_url, whole, act)
    last = killed_at_each_point(lambda: act(portal), lambda: db.engine.dispose(), step)
    assert last > 3
