"""Between the journey and the issuer: where a walk begins, and what becomes of a decision."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from consent_server import clock, store
from consent_server.issuer import authorize
from consent_server.issuer.authorize import RequestUsed
from consent_server.issuer.parts import IssuerParts, JourneyStart
from consent_server.journey.decision import Decision
from consent_server.journey.parts import JourneyParts, ShownText
from consent_server.journey.steps import COOKIE_MAX_AGE_S, path_of
from consent_server.parties.foundation import Foundation
from consent_server.refusal import with_query
from consent_server.store import codes, journeys, permissions
from consent_server.withdrawal.withdraw import Withdrawal, withdraw


def issuer_and_journey(
    base: Foundation,
    *,
    asks: tuple[str, ...],
    steps: tuple[Any, ...],
    text_for: Callable[[str, str, str], ShownText],
    rests_on: Callable[[Any, str], Sequence[str]],
    data_available_from: Callable[[Any], int],
    **own: Any,
) -> tuple[IssuerParts, JourneyParts]:
    """A party's issuer and the journey that its pages are, each knowing the other. `asks` are the roles that may ask here;
    `own` is what only this party's journey has."""
    settings = base.settings
    issuer = IssuerParts(
        settings=settings,
        roles_required=asks,
        licenses=base.licenses,
        resource=settings.mutual_tls.origin,
        signing_keys=base.signing_keys,
        refresh_keys=base.refresh_keys,
        caller=base.caller,
        start_journey=lambda journey_id, secret: start(journey, journey_id, secret),
        rests_on=rests_on,
        data_available_from=data_available_from,
    )
    journey = JourneyParts(
        party=settings.party,
        origin=settings.public.origin,
        idle_s=settings.lifetimes.journey_idle,
        life_s=settings.lifetimes.journey,
        steps=steps,
        storage=base.storage(),
        limits=base.limits(),
        text_for=text_for,
        client=base.asker,
        conclude=partial(conclude, issuer),
        decline=partial(decline, issuer),
        again=partial(again, issuer),
        evidence=base.evidence,
        **own,
    )
    return issuer, journey


def start(parts: JourneyParts, journey_id: str, secret: str) -> JourneyStart:
    """The first page of a new journey, and the cookie that ties it to this browser."""
    first = path_of(parts.steps[0], journey_id)
    return JourneyStart(first, parts.cookie(""), parts.cookie(journey_id), secret, COOKIE_MAX_AGE_S)


def conclude(parts: IssuerParts, journey: Any, decision: Decision) -> str | None:
    """Grant; answers the redirect to the client, or None when the request had been answered before."""
    try:
        return authorize.conclude(parts, journey, decision)
    except RequestUsed:
        return again(parts, journey, decision.code)


def decline(parts: IssuerParts, journey: Any) -> str | None:
    """Refuse; answers the redirect to the client, or None when the request had been answered before."""
    try:
        return authorize.decline(parts, journey)
    except RequestUsed:
        return _declined_again(parts, journey)


def again(parts: IssuerParts, journey: Any, code: str) -> str | None:
    """The redirect of this journey's own decision once more, for a second click whose first answer the browser threw away.

    With `code` only while that code is this journey's, unused and alive; access_denied when the journey was declined.
    Anything else is None, and the page says that it is done.
    """
    with store.reading() as c:
        row = codes.find(c, code)
    if row is None:
        return _declined_again(parts, journey)
    if row.redeemed is not None or clock.now() >= row.expires or row.client_id != journey.client_id:
        return None
    answer = {"code": code, "state": journey.state, "iss": parts.settings.issuer}
    return with_query(journey.redirect_uri, answer)


def _declined_again(parts: IssuerParts, journey: Any) -> str | None:
    """access_denied once more, or None unless this journey was concluded without any code.

    Looked at anew: another journey on the request may have been first, or Allow in another tab of this one.
    """
    with store.reading() as c:
        now_there = journeys.find(c, journey.id)
        granted = codes.issued_for(c, journey.client_id, journey.code_challenge)
    if now_there is None or now_there.concluded is None or granted:
        return None
    return authorize.declined_redirect(parts, journey)


def withdraw_own(permission: str, sme: str) -> bool:
    """Withdraw one of this SME's own permissions; False when it is not its own, or had ended before."""
    with store.reading() as c:
        row = permissions.find(c, permission)
    if row is None or row.sme != sme:
        return False
    return bool(withdraw(permission, Withdrawal(by="sme", where="manage", why="the SME withdrew")))
