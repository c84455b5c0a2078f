"""The report as files that the SME downloads: a PDF for a bank, and its data."""

from collections.abc import Callable

from flask import Blueprint, Response, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server.collect.report import NothingYet
from consent_server.documents import data
from consent_server.outbound.errors import Unreachable
from consent_server.portal import making
from consent_server.portal.handover import Handover, handover
from consent_server.portal.views.visit import see_other, signed_in, signed_in_account
from consent_server.refusal import Unavailable
from consent_server.scheme import instant
from consent_server.web import budgets, parameters
from consent_server.web.refusals import NotFound

routes = Blueprint("portal_download", __name__)


@routes.get("/report.pdf")
@signed_in
def as_pdf() -> AnyResponse:
    with making.place(signed_in_account().id):
        return _file("pdf", "application/pdf", making.signed_pdf)


@routes.get("/report.csv")
@signed_in
def as_csv() -> AnyResponse:
    return _file("csv", "text/csv; charset=utf-8; header=present", lambda given: data.as_csv(given.data))


@routes.get("/report.json")
@signed_in
def as_json() -> AnyResponse:
    return _file("json", "application/json", lambda given: data.as_json(given.data))


def _file(ending: str, kind: str, make: Callable[[Handover], bytes]) -> AnyResponse:
    """Return the report to the bank of the permission that is asked for; its name has nothing in it that others wrote."""
    account = signed_in_account().id
    permission = parameters.query(request, optional=("permission",)).get("permission", "")
    budgets.reports().failed(account)
    try:
        found = handover(account, permission)
    except NothingYet:
        return see_other("/connected")
    except Unreachable as error:  # the bank's name is the Directory's, or the report is not made
        raise Unavailable(str(error)) from None
    if found is None:
        raise NotFound("report")
    name = f"emissions-report-{found.data.start[:7]}-to-{_last_month(found)}.{ending}"
    return Response(
        make(found),
        mimetype=None,
        content_type=kind,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _last_month(found: Handover) -> str:
    return instant.text(instant.parse(found.data.end) - 1)[:7]
