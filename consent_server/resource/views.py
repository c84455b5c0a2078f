"""The routes of the data door: blueprints that a party registers on its mutual-TLS application."""

from flask import Blueprint, Response, request

from consent_server import clock
from consent_server.resource import energy as energy_data
from consent_server.resource import window
from consent_server.resource.answer import Answer
from consent_server.resource.emissions import emissions as emissions_answer
from consent_server.resource.guard import Guard, Release
from consent_server.resource.parts import Caller, EmissionsParts, EnergyParts


def energy(parts: EnergyParts) -> Blueprint:
    """GET /datasources and GET /datasources/{id}/{measure}. The id may hold encoded slashes."""
    blueprint = Blueprint("energy", __name__)

    @blueprint.get("/datasources")
    def datasources() -> Response:
        return _response(energy_data.datasources(parts, _release(parts.guard, parts.caller, clock.now())))

    @blueprint.get("/datasources/<path:datasource>/<measure>")
    def readings(datasource: str, measure: str) -> Response:
        at = clock.now()
        release = _release(parts.guard, parts.caller, at)
        source = energy_data.source_for(parts, release, datasource, measure)
        wanted = window.half_hours(_query(), at)
        return _response(energy_data.readings(parts, release, source, measure, wanted, at))

    return blueprint


def emissions(parts: EmissionsParts) -> Blueprint:
    """GET /emissions."""
    blueprint = Blueprint("emissions", __name__)

    @blueprint.get("/emissions")
    def months() -> Response:
        at = clock.now()
        release = _release(parts.guard, parts.caller, at)
        return _response(emissions_answer(parts, release, window.months(_query(), at), at))

    return blueprint


def _release(guard: Guard, caller: Caller, at: int) -> Release:
    return guard.release(caller(request.environ), request.headers.get("Authorization"), request.args.keys(), at)


def _query() -> window.Query:
    return list(request.args.items(multi=True))


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status, answer.headers, mimetype="application/json")
    # RFC 9111 5.2.2.5: what one member may read must not be kept for another by anything on the way.
    response.headers["Cache-Control"] = "no-store"
    return response
