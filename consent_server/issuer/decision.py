"""What the SME decided, and what follows from it: rows and a redirect, in one transaction.

If several journeys belong to one pushed request, the first to conclude wins. A second click gets the same redirect as the
first, for as long as that is safe.
"""

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.issuer import superseding
from consent_server.receipts import mails
from consent_server.refusal import Refusal, require, with_query
from consent_server.scheme import licenses
from consent_server.scheme.licenses import License
from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import GrantedSource, Who
from consent_server.signing.jws import base64url
from consent_server.store import (
    audit_events,
    codes,
    data_sources,
    evidence,
    journeys,
    links,
    locks,
    permissions,
    receipt_addresses,
    requests,
)
from consent_server.store.digests import digest, new_id, new_secret
from consent_server.store.tables.journeys import Journey
from consent_server.store.tables.permissions import AuthorizationCode, Evidence, Permission
from consent_server.tokens import refresh_token
from consent_server.tokens.data_sources import MOST as MOST_DATA_SOURCES


class NotAgreed(Refusal):
    code = "not_agreed"
    error = "access_denied"
    status = 422
    public = "Permission is given only by agreeing to the text; nothing was granted."
    help = "Go back to the permission text and choose whether to agree to it."
    clause = "IB1 Permission Records; RFC 6749 4.1.1"


class TextIsNotTheLicense(Refusal):
    code = "text_is_not_the_license"
    error = "server_error"
    status = 409
    public = "The permission text has changed since it was shown; please start again to read the present one."
    help = "Start again from the service that sent you: nothing was granted under the text shown before."
    clause = "IB1 Permission Records; Perseus policy data-license"


class FuelNotInLicense(Refusal):
    code = "fuel_not_in_license"
    error = "server_error"
    status = 409
    public = "The permission would cover a fuel that its text does not name; nothing was granted."
    help = "Ask under a license whose text names each fuel that is to be shared."
    clause = "Perseus policy data-license"


class TooManyMeters(Refusal):
    code = "too_many_meters"
    error = "server_error"
    status = 409
    public = "This is more meters than one permission can cover; nothing was granted. Choose fewer sites and try again."
    help = "Start again from the service that sent you, and choose fewer sites."
    clause = "RFC 6749 4.1.2; RFC 9068 2.2"


@dataclass(frozen=True)
class Decision:
    """An SME's decision on one permission text.

    `who` says who decided and how we know: business, name, capacity, method, strength. `meters` are all meters that were
    identified, `fuels` what may be read of them. `names` are the names that the SME read: those in the text, and "client",
    "host" and "license". `code` is the authorization code to issue: see code_for. `email` is where
    receipts go of a business that has no account with us. `until` is when the permission ends at the latest, where it hands on
    what lasts so long. `named_connections` are the ids of the connections whose members the text names: no other supports it.
    """

    agreed: bool
    sme: str
    who: Who
    meters: Sequence[MaskedMeter]
    fuels: tuple[str, ...]
    text_shown: str
    shown_sha256: str
    raw_sha256: str
    names: Mapping[str, str]
    address: str
    user_agent: str
    code: str = field(repr=False)
    email: str = field(default="", repr=False)
    until: int | None = None
    named_connections: Collection[str] = ()


@dataclass(frozen=True)
class Asked:
    """A decision and the license that was asked for."""

    license: License
    decision: Decision


def sme_agreed(asked: Asked) -> Refusal | None:
    # RFC 6749 section 4.1: a code is issued "assuming the resource owner grants access"
    return None if asked.decision.agreed is True else NotAgreed()


def text_is_the_licenses(asked: Asked) -> Refusal | None:
    # Perseus policy data-license: permission "with that wording": the digest in the token is of what was read
    if asked.decision.raw_sha256 != asked.license.text_sha256:
        return TextIsNotTheLicense(f"digest {asked.decision.raw_sha256} was shown")
    return None


def fuels_are_the_licenses(asked: Asked) -> Refusal | None:
    # Perseus policy data-license: a text that names electricity alone never releases gas
    fuels = frozenset(asked.decision.fuels)
    return None if fuels and fuels <= asked.license.fuels else FuelNotInLicense(f"{sorted(fuels)}")


class _ConcludedBefore(Exception):
    """Another click, or another journey on the same request, was first."""


CHECKS: Final = (sme_agreed, text_is_the_licenses, fuels_are_the_licenses)


def code_for(journey_id: str, secret: str) -> str:
    """Return the authorization code of the browser that holds `secret`: 256 bits that cannot be guessed without it.

    It is derived and not random, so that a second click on Allow, when the browser dropped the first response, gets the
    same redirect (one grant, one code) although the store keeps nothing but the code's digest.
    """
    return base64url(hmac.digest(secret.encode(), b"authorization code of " + journey_id.encode(), "sha256"))


def conclude(journey: Journey, decision: Decision) -> str | None:
    """Grant what a journey asked for; return the redirect to the client, with its code.

    A request that was concluded before gets the first redirect again, or None: see `again`. Raise NotAgreed,
    TextIsNotTheLicense and FuelNotInLicense.
    """
    try:
        return _grant(journey, decision)
    except _ConcludedBefore:
        return again(journey, decision.code)


def decline(journey: Journey) -> str | None:
    """End a journey without a grant; return the redirect to the client, or None as `conclude` does."""
    at = clock.now()
    try:
        with store.writing() as c:
            _conclude_once(c, journey, at)
            event = audit.event("permission_declined", client_id=journey.client_id, license=journey.license)
            audit_events.keep(c, event)
    except _ConcludedBefore:
        return _declined_again(journey)
    return _declined(journey)


def again(journey: Journey, code: str) -> str | None:
    """Return the redirect of this journey's own decision once more, for a second click.

    With `code` only while that code is this journey's, unused and alive; access_denied when the journey was declined.
    Otherwise None: the page then says that the decision was made.
    """
    with store.reading() as c:
        row = codes.find(c, code)
    if row is None:
        return _declined_again(journey)
    if row.redeemed is not None or clock.now() >= row.expires or row.client_id != journey.client_id:
        return None
    return _granted(journey, code)


def permission_of(code: str) -> str | None:
    """Return the id of the permission that an authorization code is for; None for an unknown code."""
    with store.reading() as c:
        row = codes.find(c, code)
    return row.permission if row is not None else None


def _grant(journey: Journey, decision: Decision) -> str:
    here = current()
    license_ = here.licenses.get(journey.license)
    if license_ is None:  # it was configured when the request was pushed
        raise TextIsNotTheLicense("the license is not configured any more")
    require(CHECKS, Asked(license_, decision))
    # Read before any row: a token can then never be dated before its permission, nor after what should have stopped it.
    granted = clock.now()
    permission = new_id()
    with store.writing() as c:
        # First, as an erasure does, which then deletes the journey: each would else wait for what the other holds.
        locks.lock_business(c, decision.sme)
        _conclude_once(c, journey, granted)
        new = _add_permission(c, journey, decision, license_, permission, granted)
        _add_evidence(c, journey, decision, permission, granted)
        kind = mails.kind_of_grant(new, superseding.replaced_by(c, new, granted))
        if decision.email and here.settings.mail.source:
            receipt_addresses.add(c, permission, decision.email)
        mails.owe(c, permission, decision.sme, kind, granted)
        for support in here.party.supports(c, decision.sme, decision.named_connections):
            links.add(c, support, permission)
        code = AuthorizationCode(
            digest=digest(decision.code),
            permission=permission,
            client_id=journey.client_id,
            redirect_uri=journey.redirect_uri,
            code_challenge=journey.code_challenge,
            issued=granted,
            expires=granted + here.settings.lifetimes.code,
        )
        codes.add(c, code)
        event = audit.event(
            "permission_granted",
            client_id=journey.client_id,
            journey=journey.id,
            permission=permission,
            license=journey.license,
            text_sha256=license_.text_sha256,
        )
        audit_events.keep(c, event)
    return _granted(journey, decision.code)


def _conclude_once(c: store.Connection, journey: Journey, at: int) -> None:
    """Conclude journey and request, each by one conditional UPDATE: of two at once, one continues. Raise _ConcludedBefore."""
    if not journeys.conclude(c, journey.id, at) or not requests.conclude(c, journey.request, at):
        raise _ConcludedBefore


def _add_permission(
    c: store.Connection, journey: Journey, decision: Decision, license_: License, permission: str, granted: int
) -> Permission:
    refresh_id, refresh_version = refresh_token.make(current().refresh_keys)
    ends = licenses.expiry(license_.duration, granted)
    new = Permission(
        id=permission,
        account=new_id(),
        client_id=journey.client_id,
        member=journey.member,
        license=journey.license,
        fuels=sorted(decision.fuels),
        text_sha256=license_.text_sha256,
        sme=decision.sme,
        meters=decision.meters,
        datasources=_data_sources(c, journey, decision),
        granted=granted,
        expires=ends if decision.until is None else min(ends, decision.until),
        refresh_id=refresh_id,
        refresh_version=refresh_version,
    )
    return permissions.add(c, new)


def _data_sources(c: store.Connection, journey: Journey, decision: Decision) -> list[GrantedSource]:
    ids = data_sources.ids_for(c, journey.client_id, decision.sme, [meter["id"] for meter in decision.meters])
    # Before there is a code: what a token cannot name is refused to the SME, and not to the client after the redemption.
    if any(data_sources.number_of(each) >= MOST_DATA_SOURCES for each in ids.values()):
        raise TooManyMeters(f"{len(ids)} meters")
    return [{"id": each, "meter": meter} for meter, each in ids.items()]


def _add_evidence(c: store.Connection, journey: Journey, decision: Decision, permission: str, granted: int) -> None:
    kept = Evidence(
        id=new_secret(),
        subject=permission,
        at=granted,
        license=journey.license,
        text_shown=decision.text_shown,
        shown_sha256=decision.shown_sha256,
        raw_sha256=decision.raw_sha256,
        client_id=journey.client_id,
        names=decision.names,
        who=decision.who,
        meters=[meter for meter in decision.meters if meter["fuel"] in decision.fuels],
        address=decision.address,
        user_agent=decision.user_agent,
        correlation_id=audit.correlation_id.get(),
    )
    evidence.add(c, kept)


def _granted(journey: Journey, code: str) -> str:
    # RFC 6749 section 4.1.2, RFC 9207 section 2
    return with_query(journey.redirect_uri, {"code": code, "state": journey.state, "iss": current().settings.issuer})


def _declined(journey: Journey) -> str:
    # RFC 6749 section 4.1.2.1; a decision of the SME's, not a refusal of ours
    return with_query(
        journey.redirect_uri,
        {
            "error": "access_denied",
            "error_description": "The user declined, or cancelled the request.",
            "state": journey.state,
            "iss": current().settings.issuer,
        },
    )


def _declined_again(journey: Journey) -> str | None:
    """Return access_denied once more, or None unless this journey was concluded without any code.

    Read again: another journey on the request may have been first, or Allow in another tab of this one.
    """
    with store.reading() as c:
        newest = journeys.find(c, journey.id)
        granted = codes.issued_for(c, journey.client_id, journey.code_challenge)
    if newest is None or newest.concluded is None or granted:
        return None
    return _declined(journey)
