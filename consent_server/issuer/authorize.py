"""The authorization endpoint: from a pushed request into a journey (RFC 9126 section 4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.refusal import RedirectRefusal, Refusal, require
from consent_server.store import journeys, requests
from consent_server.store.digests import new_id, new_secret
from consent_server.store.tables.journeys import PushedRequest

PARAMETERS: Final = ("client_id", "request_uri")


class RequestNotPushed(Refusal):
    """Shown as a page: a redirect_uri in the browser's query was authenticated by nobody (CVE-2026-41479)."""

    code = "request_not_pushed"
    public = "Authorization requests must be pushed first (PAR): the link needs client_id and request_uri."
    help = "Push the request to the pushed_authorization_request_endpoint, then send the browser with its request_uri."
    clause = "FAPI 2.0 5.3.2.2; RFC 9126 5"


class RequestUnknown(Refusal):
    """Shown as a page: there is no redirect_uri that may be trusted (RFC 6749 4.1.2.1)."""

    code = "request_unknown"
    error = "invalid_request_uri"
    public = "This link is not one that this client can use here; go back to the service that sent you and start again."
    help = (
        "Push the request first (RFC 9126), then send the browser with client_id and the request_uri from the "
        "response. A request_uri works only for the client that pushed it."
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


@dataclass(frozen=True)
class Arriving:
    """A visit to the authorization endpoint: client and pushed request, as its query names them, our issuer, and when."""

    client_id: str
    request: PushedRequest
    issuer: str
    at: int


def request_is_this_clients(arriving: Arriving) -> Refusal | None:
    # RFC 9126 section 4: the request_uri is bound to the client that pushed it; unknown and foreign look alike
    pushed_by = arriving.request.client_id
    return None if pushed_by == arriving.client_id else RequestUnknown(f"the request_uri of {pushed_by}")


def request_is_open(arriving: Arriving) -> Refusal | None:
    # RFC 9126 section 7.3: single use; FAPI 2.0 section 5.3.2.2 note 3: used is concluded, not merely opened
    return None if arriving.request.concluded is None else _back(RequestUsed, arriving.request, arriving.issuer)


def request_is_fresh(arriving: Arriving) -> Refusal | None:
    # RFC 9126 section 2.2: expires_in is the lifetime in seconds, so the request has expired at its end
    return None if arriving.at < arriving.request.expires else _back(RequestExpired, arriving.request, arriving.issuer)


CHECKS: Final = (request_is_this_clients, request_is_open, request_is_fresh)


def enter(query: Mapping[str, str]) -> tuple[str, str]:
    """Open a journey on a pushed request; return its id and the secret that ties it to this browser.

    Nothing of the query but client_id and request_uri is read. Raise as `pushed_request`.
    """
    at = clock.now()
    journey, secret = new_id(), new_secret()
    with store.writing() as c:
        pushed = pushed_request(c, query, at)
        journeys.open(c, journey, secret, pushed, at)
    audit.event("journey_opened", client_id=pushed.client_id, license=pushed.license)
    return journey, secret


def pushed_request(c: store.Connection, query: Mapping[str, str], at: int) -> PushedRequest:
    """Return the request that a query names, if its client may open a journey on it.

    Raise RequestNotPushed and RequestUnknown (pages), RequestUsed and RequestExpired (redirects).
    """
    # FAPI 2.0 section 5.3.2.2: shall reject authorization requests sent without PAR
    if not set(PARAMETERS) <= query.keys():
        raise RequestNotPushed()
    pushed = requests.find(c, query["request_uri"])
    if pushed is None:
        raise RequestUnknown("no such request_uri")
    require(CHECKS, Arriving(query["client_id"], pushed, current().settings.issuer, at))
    return pushed


def _back(refusal: type[RedirectRefusal], asked: PushedRequest, issuer: str) -> RedirectRefusal:
    """Return the refusal as a redirect to the redirect_uri that this client's authenticated request named."""
    return refusal(f"pushed by {asked.client_id}", redirect_uri=asked.redirect_uri, state=asked.state, iss=issuer)
