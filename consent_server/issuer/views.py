"""The issuer's routes: two blueprints, for the public door and for the mutual-TLS door.

The authorization endpoint is where a browser begins its journey: its route is in `journey.views`.
"""

from collections.abc import Mapping
from typing import Final

import orjson
from flask import Blueprint, Flask, Response
from flask.blueprints import BlueprintSetupState

from consent_server import clock
from consent_server.deployment import current
from consent_server.issuer import (
    client_authentication,
    code,
    introspection,
    metadata,
    par,
    permission_record,
    refresh,
    revocation,
    status_list,
)
from consent_server.issuer.client_authentication import Claimed
from consent_server.issuer.issue import TokenResponse
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal
from consent_server.tokens import status
from consent_server.tokens.keys import JWKS_MAX_AGE
from consent_server.web import parameters
from consent_server.web.answer import Answer
from consent_server.web.application import in_hand
from consent_server.web.documents import cacheable, made_once
from consent_server.web.parameters import MissingParameter

#: Seconds for which others may keep our metadata.
METADATA_MAX_AGE: Final = 300

public = Blueprint("issuer_public", __name__)
mutual_tls = Blueprint("issuer_mutual_tls", __name__)

_TOKEN_PARAMETERS: Final = tuple({*code.PARAMETERS, *refresh.PARAMETERS, *client_authentication.PARAMETERS})
#: RFC 6749 section 5.1; RFC 9126 section 2.2
_NOT_KEPT: Final = (("Cache-Control", "no-cache, no-store"), ("Pragma", "no-cache"))
_GRANTS: Final = {"authorization_code": code.redeem, "refresh_token": refresh.refresh}


class GrantTypeUnsupported(Refusal):
    code = "grant_type_unsupported"
    error = "unsupported_grant_type"
    public = "grant_type must be authorization_code or refresh_token."
    help = "Send grant_type=authorization_code or grant_type=refresh_token; there are no other grants."
    clause = "FAPI 2.0 5.3.2.1; RFC 6749 5.2"


# the public door: for browsers and resource servers, without certificates


def _at_the_issuers_path(setup: BlueprintSetupState) -> None:
    """Serve the metadata at the one path that our issuer's URL gives (RFC 8414 section 3.1): others name no issuer of ours."""
    assert isinstance(setup.app, Flask)
    with setup.app.app_context():
        setup.add_url_rule(metadata.path(current().settings), view_func=issuer_metadata)


public.record(_at_the_issuers_path)


def issuer_metadata() -> Response:
    here = current()
    body = made_once("metadata", lambda: orjson.dumps(metadata.document(here.settings, list(here.licenses))))
    return cacheable(body, "application/json", METADATA_MAX_AGE)


@public.get(metadata.JWKS)
def jwks() -> Response:
    return cacheable(current().signing_keys.jwks_document(), "application/jwk-set+json", JWKS_MAX_AGE)


@public.get(metadata.STATUS_LIST)
def signed_status_list() -> Response:
    signed = status_list.text().encode()
    return cacheable(signed, "application/statuslist+jwt", status.TTL, gzipped=status_list.gzipped)


# the mutual-TLS door: for clients that have shown their certificate


@mutual_tls.post(metadata.PAR)
def pushed_authorization_request() -> Response:
    asked = _asked(_client(), par.PARAMETERS)
    return _json(201, par.push(asked.caller, asked.form))


@mutual_tls.post(metadata.TOKEN)
def token() -> Response:
    asked = _asked(_client(), _TOKEN_PARAMETERS, required=("grant_type",))
    grant = _GRANTS.get(asked.form["grant_type"])
    if grant is None:
        raise GrantTypeUnsupported()
    return _json(200, grant(asked.caller, asked.form))


@mutual_tls.post(metadata.REVOKE)
def revoke() -> Response:
    asked = _asked(_client(), required=("token",), client_id_needed=False)
    revocation.revoke(asked.caller, asked.form["token"])
    return _json(200, {})


@mutual_tls.post(metadata.PERMISSION)
def permission() -> Response:
    asked = _asked(_client(), required=("token",), client_id_needed=False)
    return _json(200, permission_record.record(asked.caller, asked.form))


@mutual_tls.post(metadata.INTROSPECT)
def introspect() -> Response:
    caller = current().callers.member(in_hand().environ, clock.now())
    introspection.require_introspector(caller)
    asked = _asked(caller, required=("token",), client_id_needed=False)
    return _json(200, introspection.introspect(asked.form["token"]))


def _client() -> MemberCertificate:
    """Return the caller, if it holds a role that may ask here. Judged before any parameter is read."""
    here = current()
    return here.callers.identify(in_hand().environ, here.asking_roles, clock.now())


def _asked(
    caller: MemberCertificate,
    optional: tuple[str, ...] = (),
    *,
    required: tuple[str, ...] = (),
    client_id_needed: bool = True,
) -> Claimed:
    """Return the request of an authenticated client, with these parameters alone."""
    request = in_hand()
    if request.query_string:
        client_authentication.no_other_in_query(caller, request.args.getlist("client_id"))
    form = parameters.form(request, required=required, optional=(*optional, *client_authentication.PARAMETERS))
    if not form:
        raise MissingParameter("all of them", public="The form is empty.")
    asked = Claimed(caller, form, "HTTP_AUTHORIZATION" in request.environ, client_id_needed)
    client_authentication.authenticate(asked)
    return asked


def _json(status_code: int, body: Mapping[str, object] | TokenResponse) -> Response:
    return Answer(orjson.dumps(body), status_code, *_NOT_KEPT)
