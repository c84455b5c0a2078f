"""The issuer's routes, one short function each: two blueprints, for the public door and for the mutual-TLS door."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import orjson
from flask import Blueprint, Response, request
from werkzeug.exceptions import MethodNotAllowed

from consent_server import clock, store
from consent_server.caller.trust import require_role
from consent_server.issuer import (
    authorize,
    client_authentication,
    code,
    introspection,
    metadata,
    par,
    permission_record,
    refresh,
)
from consent_server.issuer.authorize import RequestUnknown
from consent_server.issuer.client_authentication import Claimed
from consent_server.issuer.parts import IssuerParts
from consent_server.issuer.server import Asked, Server
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.store import permissions
from consent_server.tokens import status
from consent_server.web import parameters
from consent_server.web.cookies import clear_oldest, set_cookie
from consent_server.web.limits import Limit

#: Seconds after which a resource server looks for a newer status list, and after which it stops believing the old one.
STATUS_LIST_TTL: Final = 2
STATUS_LIST_LIFETIME: Final = 45
#: Seconds that metadata and keys may be kept by whoever fetched them.
METADATA_MAX_AGE: Final = 300
JWKS_MAX_AGE: Final = 60
#: Journeys that one browser can be on at a time; the oldest gives way.
MOST_JOURNEYS: Final = 20

View = TypeVar("View", bound=Callable[..., Any])

_TOKEN_PARAMETERS: Final = tuple({*code.PARAMETERS, *refresh.PARAMETERS, *client_authentication.PARAMETERS})


def public_door(parts: IssuerParts) -> Blueprint:
    """Metadata, authorization endpoint, keys and status list: for browsers and resource servers, without certificates."""
    door = Blueprint("issuer_public", __name__)
    settings = parts.settings
    document = orjson.dumps(metadata.document(settings, list(parts.licenses)))
    unknown = Limit(
        "unknown_request",
        settings.limits.unknown_requests_per_address,
        settings.limits.window_s,
        store.reading,
        store.writing,
    )

    @_route(door, "GET", metadata.path(settings))
    def issuer_metadata() -> Response:
        return _cacheable(document, "application/json", METADATA_MAX_AGE)

    @_route(door, "GET", metadata.AUTHORIZE)
    def authorization_endpoint() -> Response:
        if request.method != "GET":  # Flask answers HEAD with GET's view, and this one opens a journey
            raise MethodNotAllowed(["GET"])
        query = parameters.query(request, optional=("client_id", "request_uri"))
        address = request.remote_addr or ""
        unknown.check(address)
        try:
            start = authorize.enter(parts, query)
        except RequestUnknown:
            unknown.failed(address)
            raise
        response = Response(status=303, headers={"Location": start.location})
        clear_oldest(request, response, start.cookies, MOST_JOURNEYS - 1)
        set_cookie(response, start.cookie, start.value, start.max_age)
        return response

    @_route(door, "GET", metadata.JWKS)
    def jwks() -> Response:
        return _cacheable(orjson.dumps(parts.signing_keys.jwks()), "application/jwk-set+json", JWKS_MAX_AGE)

    @_route(door, "GET", metadata.STATUS_LIST)
    def status_list() -> Response:
        at = clock.now()  # before the rows: the list may know of later withdrawals than it says, never of fewer
        with store.reading() as c:
            ended, size = permissions.ended_indices(c), permissions.count(c)
        text = status.encode(
            parts.signing_keys,
            metadata.status_list_uri(settings),
            ended,
            size,
            at,
            STATUS_LIST_TTL,
            at + STATUS_LIST_LIFETIME,
        )
        return _cacheable(text.encode(), "application/statuslist+jwt", STATUS_LIST_TTL)

    return door


def mutual_tls_door(parts: IssuerParts) -> Blueprint:
    """PAR, token, revocation, permission record, introspection: each for a client that has shown its certificate."""
    door = Blueprint("issuer_mutual_tls", __name__)
    origin = parts.settings.mutual_tls.origin
    server = Server(parts)

    @_route(door, "POST", metadata.PAR)
    def pushed_authorization_request() -> Response:
        asked = _asked(_client(parts), par.PARAMETERS)
        client_authentication.authenticate(asked)
        return _json(201, par.push(parts, asked.caller, asked.form))

    @_route(door, "POST", metadata.TOKEN)
    def token() -> Response:
        asked = _asked(_client(parts), _TOKEN_PARAMETERS, required=("grant_type",))
        return _json(*server.create_token_response(Asked(origin + metadata.TOKEN, asked)))

    @_route(door, "POST", metadata.REVOKE)
    def revoke() -> Response:
        asked = _asked(_client(parts), required=("token",), client_id_needed=False)
        return _json(*server.create_endpoint_response("revocation", Asked(origin + metadata.REVOKE, asked)))

    @_route(door, "POST", metadata.PERMISSION)
    def permission() -> Response:
        asked = _asked(_client(parts), required=("token",), client_id_needed=False)
        client_authentication.authenticate(asked)
        return _json(200, permission_record.record(parts, asked.caller, asked.form))

    @_route(door, "POST", metadata.INTROSPECT)
    def introspect() -> Response:
        caller = parts.caller(request.environ)
        introspection.require_introspector(parts, caller)
        asked = _asked(caller, required=("token",), client_id_needed=False)
        return _json(*server.create_endpoint_response("introspection", Asked(origin + metadata.INTROSPECT, asked)))

    return door


def _client(parts: IssuerParts) -> MemberCertificate:
    """The caller, once it holds a role that may ask here. Judged before anything that it sent is read."""
    caller = parts.caller(request.environ)
    require_role(caller, parts.roles_required)
    return caller


def _asked(
    caller: MemberCertificate,
    optional: tuple[str, ...] = (),
    *,
    required: tuple[str, ...] = (),
    client_id_needed: bool = True,
) -> Claimed:
    client_authentication.no_other_in_query(caller, request.args.getlist("client_id"))
    form = parameters.form(request, required=required, optional=(*optional, *client_authentication.PARAMETERS))
    return Claimed(caller, form, "Authorization" in request.headers, client_id_needed)


def _route(door: Blueprint, method: str, path: str) -> Callable[[View], View]:
    """A route for one method; OPTIONS is refused like the rest, since no browser script has business here."""

    def add(view: View) -> View:
        door.add_url_rule(path, view_func=view, methods=[method], provide_automatic_options=False)
        return view

    return add


def _json(status_code: int, body: dict[str, Any]) -> Response:
    response = Response(orjson.dumps(body), status_code, mimetype="application/json")
    response.headers["Cache-Control"] = "no-cache, no-store"  # RFC 6749 section 5.1; RFC 9126 section 2.2
    response.headers["Pragma"] = "no-cache"
    return response


def _cacheable(body: bytes, media_type: str, max_age: int) -> Response:
    response = Response(body, mimetype=media_type)
    response.headers["Cache-Control"] = f"public, max-age={max_age}"
    return response
