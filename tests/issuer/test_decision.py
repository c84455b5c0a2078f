"""What becomes of a decision: what is refused, and what a second click is answered."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from consent_server import store
from consent_server.issuer import decision
from consent_server.issuer.decision import Decision, FuelNotInLicense, NotAgreed, TextIsNotTheLicense
from consent_server.refusal import Refusal
from consent_server.store import codes, journeys, locks, subjects
from consent_server.store.tables.audit import KeptEvent
from consent_server.store.tables.journeys import Progress
from consent_server.store.tables.permissions import AuthorizationCode, Evidence, Permission
from tests.issuer.conftest import ELECTRICITY, PUBLIC, Decided, Issuer, answer_in

YEAR = 365 * 86400
DECLINED = {
    "error": "access_denied",
    "error_description": "The user declined, or cancelled the request.",
    "state": "the state",
    "iss": PUBLIC,
}


@pytest.fixture
def app(issuer: Issuer) -> Iterator[Flask]:
    with issuer.public.app_context():
        yield issuer.public


@pytest.fixture
def journey(issuer: Issuer) -> Any:
    return issuer.open(issuer.push())


def reloaded(row: Any) -> Any:
    with store.reading() as c:
        return journeys.find(c, row.id)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        pytest.param({"agreed": False}, NotAgreed, id="not-agreed"),
        pytest.param({"agreed": "yes"}, NotAgreed, id="agreed-is-no-truth"),
        pytest.param({"raw_sha256": ELECTRICITY.text_sha256}, TextIsNotTheLicense, id="another-licenses-text"),
        pytest.param({"fuels": []}, FuelNotInLicense, id="no-fuel"),
        pytest.param({"fuels": ["electricity", "oil"]}, FuelNotInLicense, id="a-fuel-that-the-text-does-not-name"),
    ],
)
def test_a_decision_that_is_refused_grants_nothing_and_leaves_the_request_open(
    issuer: Issuer, app: Flask, journey: Any, changes: dict[str, Any], refusal: type[Refusal]
) -> None:
    before = issuer.everything()
    with pytest.raises(refusal):
        decision.conclude(journey, Decided(**changes))
    assert issuer.everything() == before
    assert decision.conclude(journey, Decided()) is not None


def test_a_license_that_is_not_configured_any_more_grants_nothing(issuer: Issuer, changed: Any, journey: Any) -> None:
    without = changed(scheme__licenses=issuer.deployment.settings.scheme.licenses[:1])
    with pytest.raises(TextIsNotTheLicense):
        without.decide(journey)
    assert not issuer.rows(Permission)


def test_a_decision_that_meets_an_erasure_waits_for_it_and_grants_nothing(
    issuer: Issuer, app: Flask, journey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure has the business and is about to delete its journeys. On PostgreSQL the decision reaches the same rows."""
    who: Any = {"business": "Acme", "method": "bill", "strength": "knowledge"}
    identified: Progress = {"identified": {"sme": "acme", "meters": [], "who": who}}
    with store.writing() as c:
        journeys.touch(c, journey.id, journey.seen, identified)
    waits, lock = threading.Event(), locks.lock_business

    def seen(c: store.Connection, sme: str) -> None:
        waits.set()
        lock(c, sme)

    def decide() -> str | None:
        with issuer.public.app_context():
            return decision.conclude(journey, Decided())

    monkeypatch.setattr(locks, "lock_business", seen)
    with ThreadPoolExecutor(1) as pool:
        with store.writing() as c:
            lock(c, "acme")
            ids = subjects.ids_of(c, "acme")
            deciding = pool.submit(decide)
            if c.dialect.name == "postgresql":  # SQLite lets nobody else write meanwhile
                waits.wait(60)
            for part in subjects.rows_of(ids, "acme"):
                if part.goes:
                    subjects.erase(c, part, "acme", ids)
        assert deciding.result() is None
    assert not issuer.rows(Permission)


def test_a_grant_is_kept_with_its_evidence_its_code_and_its_event(issuer: Issuer, app: Flask, journey: Any) -> None:
    decided = Decided(fuels=("electricity",))
    decision.conclude(journey, decided)
    (permission,), (seen,), (code,) = (issuer.rows(kind) for kind in (Permission, Evidence, AuthorizationCode))
    assert (permission.sme, permission.fuels) == ("acme", ["electricity"])
    assert [meter["id"] for meter in permission.meters] == ["m-1", "m-2"]
    assert (seen.subject, [meter["id"] for meter in seen.meters]) == (permission.id, ["m-1"])
    assert (code.permission, code.client_id) == (permission.id, journey.client_id)
    assert decided.code not in str(issuer.everything())
    event = issuer.row(KeptEvent, event="permission_granted")
    assert event.fields["permission"] == permission.id


@pytest.mark.parametrize(("until_s", "ends_s"), [(86400, 86400), (2 * YEAR, YEAR), (None, YEAR)])
def test_a_permission_ends_with_the_one_that_it_hands_on_and_no_later_than_its_license(
    issuer: Issuer, app: Flask, journey: Any, held_clock: Any, until_s: int | None, ends_s: int
) -> None:
    until = None if until_s is None else held_clock.instant + until_s
    decision.conclude(journey, Decided(until=until))
    assert issuer.row(Permission).expires == held_clock.instant + ends_s


def test_the_code_is_not_in_the_decisions_repr() -> None:
    decided = Decided()
    assert decided.code not in repr(Decision(**vars(decided)))


def test_a_code_is_one_browsers_and_one_journeys() -> None:
    codes_ = {decision.code_for(journey, secret) for journey in ("one", "two") for secret in ("first", "second")}
    assert len(codes_) == 4
    assert decision.code_for("one", "first") in codes_, "the same again"
    assert all(len(code) == 43 for code in codes_), "256 bits"


def test_a_second_click_on_allow_gets_the_same_redirect(issuer: Issuer, app: Flask, journey: Any) -> None:
    decided = Decided()
    first = decision.conclude(journey, decided)
    assert first is not None
    assert answer_in(first) == {"code": decided.code, "state": "the state", "iss": PUBLIC}
    assert decision.conclude(journey, decided) == first
    assert decision.again(reloaded(journey), decided.code) == first
    assert len(issuer.rows(Permission)) == 1


def _redeemed(code: str, clock: Any) -> None:
    with store.writing() as c:
        codes.redeem(c, code, clock.instant)


@pytest.mark.parametrize("spoil", [_redeemed, lambda code, clock: clock.step(60)], ids=["used", "expired"])
def test_a_code_that_is_used_or_too_old_is_not_sent_again(
    issuer: Issuer, app: Flask, journey: Any, held_clock: Any, spoil: Callable[[str, Any], None]
) -> None:
    decided = Decided()
    decision.conclude(journey, decided)
    spoil(decided.code, held_clock)
    assert decision.again(reloaded(journey), decided.code) is None


def test_another_clients_code_is_not_sent(issuer: Issuer, app: Flask, journey: Any) -> None:
    decided = Decided()
    decision.conclude(journey, decided)
    other = issuer.open(issuer.push(issuer.clients["cap2"]), issuer.clients["cap2"])
    assert decision.again(other, decided.code) is None


def test_a_second_click_on_decline_gets_the_same_redirect(issuer: Issuer, app: Flask, journey: Any) -> None:
    first = decision.decline(journey)
    assert first is not None
    assert answer_in(first) == DECLINED
    assert decision.decline(journey) == first
    assert decision.again(reloaded(journey), "the code that this browser would have had") == first
    assert decision.conclude(journey, Decided()) == first, "Allow a moment after Decline changes nothing"
    assert not issuer.rows(Permission)


def test_decline_after_allow_says_neither(issuer: Issuer, app: Flask, journey: Any) -> None:
    """Another tab of the same journey: this browser cannot know the code, and the client must not be told a lie."""
    decision.conclude(journey, Decided())
    assert decision.decline(journey) is None
    assert decision.again(reloaded(journey), "another secret's code") is None


def test_a_journey_that_came_second_on_its_request_says_nothing(issuer: Issuer, app: Flask) -> None:
    request = issuer.push()
    first, second = issuer.open(request), issuer.open(request)
    assert decision.decline(first) is not None
    assert decision.conclude(second, Decided()) is None
    assert decision.decline(second) is None
    assert reloaded(second).concluded is None


def test_an_open_journey_has_no_answer_yet(issuer: Issuer, app: Flask, journey: Any) -> None:
    assert decision.again(journey, "any code") is None
