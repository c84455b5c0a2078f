"""The authorization endpoint: from a pushed request into a journey, and from a decision back to the client.

`enter` opens a journey for a request_uri. `conclude` and `decline` end one: what the SME decided becomes rows and a
redirect in one transaction, and of several journeys on one request the first to conclude wins.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from consent_server import audit, clock, store
from consent_server.issuer import rules
from consent_server.issuer.parts import Connection, IssuerParts, JourneyStart, Row
from consent_server.refusal import RedirectRefusal, Refusal, with_query
from consent_server.scheme import licenses
from consent_server.scheme.licenses import License
from consent_server.store import audit_events, codes, datasources, evidence, journeys, links, permissions, requests
from consent_server.store.digests import new_id, new_secret
from consent_server.tokens import refresh_token


class Decision(Protocol):
    """What an SME decided, as the journey hands it over.

    Each of `meters` has id, fuel, measures, outcode and masked; none has the number. `fuels` is what may be read. `code` is
    the authorization code to issue, of 256 bits that only this browser's journey knows: so a second click on the same
    button can be given the same redirect, though the store keeps a digest alone.
    """

    @property
    def agreed(self) -> bool: ...
    @property
    def sme(self) -> str: ...
    @property
    def who(self) -> Mapping[str, Any]: ...
    @property
    def meters(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def fuels(self) -> Collection[str]: ...
    @property
    def text_shown(self) -> str: ...
    @property
    def shown_sha256(self) -> str: ...
    @property
    def raw_sha256(self) -> str: ...
    @property
    def names(self) -> Mapping[str, Any]: ...
    @property
    def address(self) -> str: ...
    @property
    def user_agent(self) -> str: ...
    @property
    def code(self) -> str: ...


class RequestNotPushed(Refusal):
    """The answer is a page: a redirect_uri in the browser's query is nobody's promise (CVE-2026-41479)."""

    code = "request_not_pushed"
    public = "Authorization requests must be pushed first (PAR): the link needs client_id and request_uri."
    help = "Push the request to the pushed_authorization_request_endpoint, then send the browser with its request_uri."
    clause = "FAPI 2.0 5.3.2.2; RFC 9126 5"


class RequestUnknown(Refusal):
    """The answer is a page: nothing here says where an honest client would want its user sent (RFC 6749 4.1.2.1)."""

    code = "request_unknown"
    error = "invalid_request_uri"
    public = "This link is not one that this client can use here; go back to the service that sent you and start again."
    help = (
        "Push the request first (RFC 9126), then send the browser with client_id and the request_uri of the answer. "
        "A request_uri works for the client that pushed it, and for nobody else."
    )
    clause = "RFC 9126 4; FAPI 2.0 5.3.2.2"


class RequestUsed(RedirectRefusal):
    code = "request_used"
    error = "invalid_request_uri"
    public = "The pushed request has been used: push another."
    help = "Each request_uri leads to one decision. Push another request."
    clause = "RFC 9126 7.3"


class RequestExpired(RedirectRefusal):
    code = "request_expired"
    error = "invalid_request_uri"
    public = "The pushed request has expired: push another."
    help = "Send the browser to the authorization endpoint within expires_in seconds of the pushed request."
    clause = "RFC 9126 4; FAPI 2.0 5.3.2.2"


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


@dataclass(frozen=True)
class Visit:
    """A browser at the authorization endpoint: what it says, what was pushed under it, and when."""

    query: Mapping[str, str]
    request: Row | None
    issuer: str
    at: int


def request_was_pushed(visit: Visit) -> Refusal | None:
    # FAPI 2.0 section 5.3.2.2: shall reject authorization requests sent without PAR
    return None if {"client_id", "request_uri"} <= visit.query.keys() else RequestNotPushed()


def request_is_this_clients(visit: Visit) -> Refusal | None:
    # RFC 9126 section 4: the request_uri is bound to the client that pushed it; unknown and foreign look alike
    if visit.request is None:
        return RequestUnknown("no such request_uri")
    if visit.request.client_id != visit.query["client_id"]:
        return RequestUnknown(f"the request_uri of {visit.request.client_id}")
    return None


def request_is_open(visit: Visit) -> Refusal | None:
    # RFC 9126 section 7.3: single use; FAPI 2.0 section 5.3.2.2 note 3: used is concluded, not merely opened
    if visit.request is not None and visit.request.concluded is not None:
        return _back(RequestUsed, visit.request, visit.issuer)
    return None


def request_is_fresh(visit: Visit) -> Refusal | None:
    # RFC 9126 section 2.2: expires_in is the lifetime, and at its end it is over
    if visit.request is not None and visit.at >= visit.request.expires:
        return _back(RequestExpired, visit.request, visit.issuer)
    return None


CHECKS: Final = (request_was_pushed, request_is_this_clients, request_is_open, request_is_fresh)


@dataclass(frozen=True)
class Grant:
    """A decision, held against the license that was asked for."""

    license: License
    decision: Decision


def sme_agreed(grant: Grant) -> Refusal | None:
    # RFC 6749 section 4.1: a code is issued "assuming the resource owner grants access"
    return None if grant.decision.agreed is True else NotAgreed()


def text_is_the_licenses(grant: Grant) -> Refusal | None:
    # Perseus policy data-license: permission "with that wording": the digest in the token is of what was read
    if grant.decision.raw_sha256 != grant.license.text_sha256:
        return TextIsNotTheLicense(f"digest {grant.decision.raw_sha256} was shown")
    return None


def fuels_are_the_licenses(grant: Grant) -> Refusal | None:
    # Perseus policy data-license: a text that names electricity alone never releases gas
    fuels = frozenset(grant.decision.fuels)
    return None if fuels and fuels <= grant.license.fuels else FuelNotInLicense(f"{sorted(fuels)}")


GRANT_CHECKS: Final = (sme_agreed, text_is_the_licenses, fuels_are_the_licenses)


def enter(parts: IssuerParts, query: Mapping[str, str]) -> JourneyStart:
    """Open a journey on a pushed request; of the query, client_id and request_uri count and nothing else.

    Raises RequestNotPushed and RequestUnknown (pages), RequestUsed and RequestExpired (redirects).
    """
    at = clock.now()
    journey, secret = new_id(), new_secret()
    with store.writing() as c:
        request = requests.find(c, query.get("request_uri", ""))
        rules.require(CHECKS, Visit(query, request, parts.settings.issuer, at))
        assert request is not None  # request_is_this_clients
        journeys.open(c, journey, secret, request, at)
    audit.event("journey_opened", client_id=request.client_id, license=request.license)
    return parts.start_journey(journey, secret)


def conclude(parts: IssuerParts, journey: Row, decision: Decision) -> str:
    """Grant what this journey asked for; answers the redirect to the client, with its code.

    Raises RequestUsed when another journey was first, NotAgreed, TextIsNotTheLicense and FuelNotInLicense.
    """
    license_ = parts.licenses.get(journey.license)
    if license_ is None:  # configured when it was pushed, and no more
        raise TextIsNotTheLicense("the license is not configured any more")
    rules.require(GRANT_CHECKS, Grant(license_, decision))
    settings = parts.settings
    # Read before any row: a token can then never be dated before its permission, nor after what should have stopped it.
    granted = clock.now()
    permission = new_id()
    with store.writing() as c:
        _conclude_once(c, parts, journey, granted)
        _add_permission(c, parts, journey, decision, license_, permission, granted)
        _add_evidence(c, journey, decision, permission, granted)
        for support in parts.rests_on(c, decision.sme):
            links.add(c, support, permission)
        codes.add(
            c,
            decision.code,
            permission=permission,
            client_id=journey.client_id,
            redirect_uri=journey.redirect_uri,
            code_challenge=journey.code_challenge,
            issued=granted,
            expires=granted + settings.lifetimes.code,
        )
        granted_event = audit.event(
            "permission_granted",
            client_id=journey.client_id,
            permission=permission,
            license=journey.license,
            text_sha256=license_.text_sha256,
        )
        audit_events.keep(c, granted_event)
    # RFC 6749 section 4.1.2, RFC 9207 section 2
    return with_query(journey.redirect_uri, {"code": decision.code, "state": journey.state, "iss": settings.issuer})


def decline(parts: IssuerParts, journey: Row) -> str:
    """End this journey without a grant; answers the redirect to the client. Raises RequestUsed."""
    at = clock.now()
    with store.writing() as c:
        _conclude_once(c, parts, journey, at)
        event = audit.event("permission_declined", client_id=journey.client_id, license=journey.license)
        audit_events.keep(c, event)
    return declined_redirect(parts, journey)


def declined_redirect(parts: IssuerParts, journey: Row) -> str:
    """The redirect that tells the client of a declined request."""
    # RFC 6749 section 4.1.2.1; a decision of the SME's, not a refusal of ours
    return with_query(
        journey.redirect_uri,
        {
            "error": "access_denied",
            "error_description": "The user declined, or cancelled the request.",
            "state": journey.state,
            "iss": parts.settings.issuer,
        },
    )


def _conclude_once(c: Connection, parts: IssuerParts, journey: Row, at: int) -> None:
    """Conclude journey and request, each by one conditional UPDATE: of two at once, one goes on."""
    if not journeys.conclude(c, journey.id, at) or not requests.conclude(c, journey.request, at):
        raise _back(RequestUsed, journey, parts.settings.issuer)


def _add_permission(
    c: Connection,
    parts: IssuerParts,
    journey: Row,
    decision: Decision,
    license_: License,
    permission: str,
    granted: int,
) -> None:
    refresh_id, refresh_version = refresh_token.make(parts.refresh_keys)
    permissions.add(
        c,
        id=permission,
        account=new_id(),
        client_id=journey.client_id,
        member=journey.member,
        license=journey.license,
        fuels=sorted(decision.fuels),
        text_sha256=license_.text_sha256,
        sme=decision.sme,
        meters=[dict(meter) for meter in decision.meters],
        datasources=[
            {
                "id": datasources.id_for(c, journey.client_id, decision.sme, meter["id"]),
                "meter": meter["id"],
                "fuel": meter["fuel"],
                "measures": meter["measures"],
                "outcode": meter["outcode"],
            }
            for meter in decision.meters
        ],
        granted=granted,
        expires=licenses.expiry(license_.duration, granted),
        refresh_id=refresh_id,
        refresh_version=refresh_version,
    )


def _add_evidence(c: Connection, journey: Row, decision: Decision, permission: str, granted: int) -> None:
    evidence.add(
        c,
        id=new_secret(),
        subject=permission,
        at=granted,
        license=journey.license,
        text_shown=decision.text_shown,
        shown_sha256=decision.shown_sha256,
        raw_sha256=decision.raw_sha256,
        client_id=journey.client_id,
        names=dict(decision.names),
        who=dict(decision.who),
        meters=[dict(meter) for meter in decision.meters if meter["fuel"] in decision.fuels],
        address=decision.address,
        user_agent=decision.user_agent,
        correlation_id=audit.correlation_id.get(),
    )


def _back(refusal: type[RedirectRefusal], asked: Row, issuer: str) -> RedirectRefusal:
    """The refusal as a redirect to where an authenticated request of this client asked for its answers."""
    return refusal(f"pushed by {asked.client_id}", redirect_uri=asked.redirect_uri, state=asked.state, iss=issuer)
