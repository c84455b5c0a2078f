"""The report to a bank, as a page and as the files that the SME downloads: a PDF, and its data."""

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlencode

from flask import Blueprint, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server.collect.report import NothingYet
from consent_server.documents import data
from consent_server.outbound.errors import Unreachable
from consent_server.portal import bank_report, making
from consent_server.portal.bank_report import BankReport
from consent_server.portal.views.visits import account, beside_account, page, see_other, signed_in_account, to_sign_in
from consent_server.refusal import Unavailable
from consent_server.scheme import instant
from consent_server.web import pages, parameters
from consent_server.web.refusals import NotFound

Made = TypeVar("Made")

routes = Blueprint("portal_download", __name__)


@routes.get("/report")
def as_page() -> AnyResponse:
    asked = urlencode(_query())
    return _with_report(lambda found: page("report", document=_in_place(making.words, found), asked=asked))


@routes.get("/report.pdf")
def as_pdf() -> AnyResponse:
    return _file("pdf", "application/pdf", lambda found: _in_place(making.signed_pdf, found))


@routes.get("/report.csv")
def as_csv() -> AnyResponse:
    return _file("csv", "text/csv; charset=utf-8; header=present", lambda found: data.as_csv(found.data))


@routes.get("/report.json")
def as_json() -> AnyResponse:
    return _file("json", "application/json", lambda found: data.as_json(found.data))


def _with_report(respond: Callable[[BankReport], AnyResponse]) -> AnyResponse:
    """Return what `respond` makes of the report to the bank of the permission that is asked for."""
    try:
        read = beside_account(lambda c, known: bank_report.read(c, known.id, *_asked()))
    except NothingYet:
        return see_other("/connected")
    if account() is None:
        return to_sign_in()
    try:
        found = bank_report.made(read) if read is not None else None
    except Unreachable as error:  # the bank's name is the Directory's, or the report is not made
        raise Unavailable(str(error)) from None
    if found is None:
        raise NotFound("report")
    return respond(found)


def _in_place(make: Callable[[BankReport], Made], found: BankReport) -> Made:
    """Make something of a report that may be made, in one of the places for that."""
    with making.place(signed_in_account().id):
        return make(found)


def _query() -> dict[str, str]:
    return parameters.query(request, optional=("permission", "from", "to"))


def _asked() -> tuple[str, tuple[int, int] | None]:
    """Return the permission, and the window where months are named: `from` is the first and `to` the last, such as 2026-03."""
    query = _query()
    permission, months = query.get("permission", ""), (query.get("from"), query.get("to"))
    if months == (None, None):
        return permission, None
    try:
        first, last = (instant.parse(f"{month}-01T00:00:00Z") for month in months)
        return permission, (first, instant.next_month(last))
    except ValueError:
        raise NotFound("report") from None


def _file(ending: str, kind: str, make: Callable[[BankReport], bytes]) -> AnyResponse:
    """Return the report as a file, whose name has nothing in it that others wrote."""

    def as_file(found: BankReport) -> AnyResponse:
        name = f"emissions-report-{found.data.start[:7]}-to-{_last_month(found)}.{ending}"
        return pages.file(make(found), name, kind)

    return _with_report(as_file)


def _last_month(found: BankReport) -> str:
    return instant.month(instant.parse(found.data.end) - 1)
