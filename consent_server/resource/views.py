"""The routes of the data door: for an EDP `energy`, for a CAP `emissions`."""

from functools import lru_cache

import orjson
from flask import Blueprint, Response, request

from consent_server import clock
from consent_server.deployment import Deployment, current
from consent_server.issuer import introspection, metadata
from consent_server.resource import emissions as emissions_data
from consent_server.resource import energy as energy_data
from consent_server.resource import window
from consent_server.resource.answer import Answer
from consent_server.resource.encoding import encode
from consent_server.resource.guard import AcceptedLicense, Guard, Policy, Release
from consent_server.scheme import instant
from consent_server.status import state
from consent_server.store import permissions
from consent_server.web import parameters

energy = Blueprint("energy", __name__)
emissions = Blueprint("emissions", __name__)


@energy.get("/datasources")
@energy.get("/datasources/")  # the scheme's own CAP sends this one
def datasources() -> Response:
    return _response(energy_data.datasources(_release(clock.now())))


@energy.get("/datasources/<path:datasource>/<measure>")
def readings(datasource: str, measure: str) -> Response:
    """Return half-hours of one meter; the id may hold encoded slashes."""
    at = clock.now()
    release = _release(at)
    source = energy_data.source_for(release, datasource, measure)
    asked = window.half_hours(_query(), at)
    return _response(energy_data.readings(release, source, measure, asked, at))


@energy.post("/meters")
def meters() -> Response:
    """Return the meters behind a token's data sources, to this member's own applications alone."""
    here = current()
    caller = here.callers.member(request.environ, clock.now())
    introspection.require_introspector(caller)
    form = parameters.form(request, required=("token",))
    return _response(energy_data.meters_behind(form["token"], clock.now()))


@emissions.get("/emissions")
def months() -> Response:
    at = clock.now()
    release = _release(at)
    return _response(emissions_data.emissions(release, window.months(_query(), at), at))


@energy.get("/heartbeat")
@emissions.get("/heartbeat")
def heartbeat() -> Response:
    """Return to any member in good standing that this data service answers (Registry, heartbeat 2026-03-12).

    It says no while its operator says that the data service is down, as the status page does.
    """
    at = clock.now()
    current().callers.member(request.environ, at)
    state.require_serving("data", at)
    return _response(Answer([orjson.dumps({"status": "ok", "timestamp": instant.text(at)})]))


@lru_cache(maxsize=8)
def guard_of(here: Deployment) -> Guard:
    """Return the guard of the resource server beside our issuer: it asks the store which permissions have ended."""
    settings = here.settings
    policy = Policy(
        issuer=settings.issuer,
        audience=settings.mutual_tls.origin,
        status_uri=metadata.status_list_uri(settings),
        licenses={url: AcceptedLicense(each.text_sha256, each.fuels) for url, each in here.released_licenses.items()},
        bind_to_certificate=settings.tokens.bind_to_certificate,
    )
    return Guard(policy, here.signing_keys, lambda index, _iat: permissions.is_ended(index))


def _release(at: int) -> Release:
    here = current()
    caller = here.callers.identify(request.environ, here.asking_roles, at)
    return guard_of(here).release(caller, request.headers.get("Authorization"), request.args.keys(), at)


def _query() -> window.Query:
    return list(request.args.items(multi=True))


def _response(answer: Answer) -> Response:
    body, coding = encode(answer.body, request.accept_encodings)
    response = Response(body, answer.status, answer.headers, mimetype="application/json")
    if coding is not None:
        response.content_encoding = coding
    response.vary.add("Accept-Encoding")
    # RFC 9111 5.2.2.5: no cache between us may keep for another member what one may read.
    response.headers["Cache-Control"] = "no-store"
    return response
