"""What a second click is answered, and whose permissions an SME may withdraw."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from consent_server import store
from consent_server.parties import grants
from consent_server.store import codes, journeys, permissions
from consent_server.store.models import Permission
from tests.issuer.conftest import (
    PUBLIC,
    Decided,
    Issuer,
    answer_in,
    certificates,
    issuer,
    key_directories,
    parts,
    pkce,
)

__all__ = ["certificates", "issuer", "key_directories", "parts"]  # fixtures

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


def test_a_second_click_on_allow_gets_the_same_redirect(issuer: Issuer, app: Flask, journey: Any) -> None:
    decided = Decided()
    first = grants.conclude(issuer.parts, journey, decided)
    assert first is not None
    assert answer_in(first) == {"code": decided.code, "state": "the state", "iss": PUBLIC}
    assert grants.conclude(issuer.parts, journey, decided) == first
    assert grants.again(issuer.parts, reloaded(journey), decided.code) == first


def _redeemed(code: str, clock: Any) -> None:
    with store.writing() as c:
        codes.redeem(c, code, clock.instant)


@pytest.mark.parametrize(
    "spoil",
    [_redeemed, lambda code, clock: clock.step(60)],
    ids=["used", "expired"],
)
def test_a_code_that_is_used_or_too_old_is_not_sent_again(
    issuer: Issuer, app: Flask, journey: Any, held_clock: Any, spoil: Callable[[str, Any], None]
) -> None:
    decided = Decided()
    grants.conclude(issuer.parts, journey, decided)
    spoil(decided.code, held_clock)
    assert grants.again(issuer.parts, reloaded(journey), decided.code) is None


def test_another_clients_code_is_not_sent(issuer: Issuer, app: Flask, journey: Any) -> None:
    decided = Decided()
    grants.conclude(issuer.parts, journey, decided)
    other = issuer.open(issuer.push(issuer.clients["cap2"]), issuer.clients["cap2"])
    assert grants.again(issuer.parts, other, decided.code) is None


def test_a_second_click_on_decline_gets_the_same_redirect(issuer: Issuer, app: Flask, journey: Any) -> None:
    first = grants.decline(issuer.parts, journey)
    assert first is not None
    assert answer_in(first) == DECLINED
    assert grants.decline(issuer.parts, journey) == first
    assert grants.again(issuer.parts, reloaded(journey), "the code that this browser would have had") == first
    assert grants.conclude(issuer.parts, journey, Decided()) == first, "Allow a moment after Decline changes nothing"
    assert not issuer.rows(Permission)


def test_decline_after_allow_says_neither(issuer: Issuer, app: Flask, journey: Any) -> None:
    """Another tab of the same journey: this browser cannot know the code, and the client must not be told a lie."""
    grants.conclude(issuer.parts, journey, Decided())
    assert grants.decline(issuer.parts, journey) is None
    assert grants.again(issuer.parts, reloaded(journey), "another secret's code") is None


def test_a_journey_that_came_second_on_its_request_says_nothing(issuer: Issuer, app: Flask) -> None:
    request = issuer.push()
    first, second = issuer.open(request), issuer.open(request)
    assert grants.decline(issuer.parts, first) is not None
    assert grants.conclude(issuer.parts, second, Decided()) is None
    assert grants.decline(issuer.parts, second) is None
    assert reloaded(second).concluded is None


def test_an_open_journey_has_no_answer_yet(issuer: Issuer, app: Flask, journey: Any) -> None:
    assert grants.again(issuer.parts, journey, "any code") is None


def test_an_sme_withdraws_its_own_permission_once_and_no_other(issuer: Issuer, app: Flask) -> None:
    proof = pkce()
    decided = Decided(sme="acme")
    grants.conclude(issuer.parts, issuer.open(issuer.push(code_challenge=proof.challenge)), decided)
    with store.reading() as c:
        (permission,) = permissions.of_sme(c, "acme")
    assert not grants.withdraw_own(permission.id, "somebody else")
    assert not grants.withdraw_own("unknown", "acme")
    assert grants.withdraw_own(permission.id, "acme")
    assert not grants.withdraw_own(permission.id, "acme")
    with store.reading() as c:
        ended = permissions.find(c, permission.id)
    assert (ended.ended_as, ended.ended_by, ended.ended_where) == ("withdrawn", "sme", "manage")
