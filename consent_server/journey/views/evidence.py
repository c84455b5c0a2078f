"""The evidence page: for anyone who has its address, in a frame as well."""

from flask import Blueprint, Response, request

from consent_server import clock
from consent_server.deployment import current
from consent_server.journey.evidence import GrantView, by_evidence
from consent_server.journey.views.receipt import consent_file
from consent_server.web import budgets, headers, pages
from consent_server.web.limits import network_of
from consent_server.web.refusals import NotFound

routes = Blueprint("evidence", __name__)


@routes.get("/evidence/<evidence_id>")
def evidence_page(evidence_id: str) -> Response:
    grants = _grants(evidence_id)
    response = pages.render(
        "evidence/evidence.html",
        grant=grants[0],
        others=grants[1:],
        party=current().settings.party,
        logo_of_client=current().logo_of(grants[0].permission.member),
    )
    return headers.frame_anywhere(response)


@routes.get("/evidence/<evidence_id>/consent.json")
def consent_receipt(evidence_id: str) -> Response:
    return consent_file(_grants(evidence_id)[0].permission.id)


def _grants(evidence_id: str) -> list[GrantView]:
    grants = by_evidence(evidence_id, clock.now())
    if not grants:  # only then is anything counted: who has the address of a page gets it
        budgets.evidence().failed(network_of(request.remote_addr or ""))
        raise NotFound("evidence")
    return grants
