"""The clock is wrong, or at an odd moment: nothing that has ended comes alive, and what is dated ahead is not believed."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from consent_server import clock
from consent_server.scheme import instant
from consent_server.store import permissions
from consent_server.tokens import access_token
from consent_server.tokens.access_token import AccessToken, InvalidToken

HOUR, YEAR = 3600, 365 * 86400

Trial = Callable[[], bool]


def read(issuer: Any, shared: Any, token: str) -> AccessToken:
    return access_token.read(
        token, issuer.deployment.signing_keys, issuer=shared.PUBLIC, audience=shared.MUTUAL_TLS, at=clock.now()
    )


def released(issuer: Any, shared: Any, token: str) -> bool:
    """Whether a resource server beside the issuer would release data."""
    try:
        claims = read(issuer, shared, token)
    except InvalidToken:
        return False
    with issuer.public.app_context():
        return not permissions.is_ended(claims.status_idx)


def refreshed(issuer: Any, shared: Any, token: str) -> bool:
    """Whether a refresh token yields an access token that is good."""
    answer = issuer.refresh(token)
    return answer.status_code == 200 and released(issuer, shared, answer.get_json()["access_token"])


def trials(issuer: Any, shared: Any) -> tuple[Mapping[str, Trial], Mapping[str, Trial]]:
    """What lives now, and what has ended: each with whether it can be used."""
    granted, used = issuer.grant(sme="a"), issuer.grant(sme="b")
    live = issuer.redeem(used).get_json()
    gone = issuer.tokens(sme="c")
    issuer.end(issuer.permission(gone["refresh_token"]).id, clock.now())
    pushed, concluded = issuer.push(), issuer.push()
    journey = issuer.open(concluded)
    issuer.decide(journey)
    living = {
        "request": lambda: issuer.visit(pushed).headers.get("Location", "").startswith("/journey/"),
        "code": lambda: issuer.redeem(granted).status_code == 200,
        "access token": lambda: released(issuer, shared, live["access_token"]),
        "refresh token": lambda: refreshed(issuer, shared, live["refresh_token"]),
    }
    ended = {
        "request": lambda: issuer.visit(concluded).headers.get("Location", "").startswith("/journey/"),
        "access token": lambda: released(issuer, shared, gone["access_token"]),
        "refresh token": lambda: issuer.refresh(gone["refresh_token"]).status_code == 200,
        # last: a code that is used twice ends what it issued
        "code": lambda: issuer.redeem(used).status_code == 200,
    }
    return living, ended


@pytest.mark.parametrize(
    ("steps", "alive"),
    [
        pytest.param([0], {"request", "code", "access token", "refresh token"}, id="none"),
        pytest.param([HOUR], {"refresh token"}, id="an hour ahead"),
        pytest.param([10 * YEAR], set(), id="ten years ahead"),
        pytest.param([-HOUR], {"request", "code"}, id="an hour back"),
        pytest.param([-10 * YEAR], {"request", "code"}, id="ten years back"),
        pytest.param([90], {"access token", "refresh token"}, id="the other node is 90 s ahead"),
        pytest.param([-90], {"request", "code"}, id="the other node is 90 s behind"),
        pytest.param(
            [10 * YEAR, -10 * YEAR], {"request", "code", "access token", "refresh token"}, id="there and back"
        ),
    ],
)
def test_G12_a_clock_that_is_wrong_revives_nothing(
    issuer: Any, shared: Any, held_clock: Any, steps: list[int], alive: set[str]
) -> None:
    living, ended = trials(issuer, shared)
    for step in steps[:-1]:
        held_clock.step(step)
        assert not [name for name, usable in ended.items() if name != "code" and usable()]
    held_clock.step(steps[-1])
    assert {name for name, usable in living.items() if usable()} == alive
    assert not [name for name, usable in ended.items() if usable()]


@pytest.mark.parametrize(
    ("moment", "ends"),
    [
        pytest.param("2026-03-29T00:59:30Z", "2027-03-29T00:59:30Z", id="clocks go forward"),
        pytest.param("2026-10-25T00:59:30Z", "2027-10-25T00:59:30Z", id="clocks go back"),
        pytest.param("2028-02-29T23:59:30Z", "2029-02-28T23:59:30Z", id="29 February"),
        pytest.param("2027-12-31T23:59:30Z", "2028-12-31T23:59:30Z", id="new year"),
        pytest.param("2038-01-19T03:14:00Z", "2039-01-19T03:14:00Z", id="32 bits are used up"),
        pytest.param("2106-02-07T06:28:00Z", "2107-02-07T06:28:00Z", id="32 bits without sign are used up"),
    ],
)
def test_G12_a_permission_lives_for_its_year_from_any_moment(
    issuer: Any, shared: Any, held_clock: Any, moment: str, ends: str
) -> None:
    held_clock.instant = instant.parse(moment)
    tokens = issuer.tokens()
    assert issuer.permission(tokens["refresh_token"]).expires == instant.parse(ends)
    held_clock.step(540)
    assert released(issuer, shared, tokens["access_token"])
    assert refreshed(issuer, shared, tokens["refresh_token"])
    held_clock.step(60)
    assert not released(issuer, shared, tokens["access_token"])
    held_clock.instant = instant.parse(ends) - 1
    assert refreshed(issuer, shared, tokens["refresh_token"])
    held_clock.step(1)
    assert not refreshed(issuer, shared, tokens["refresh_token"])
