"""The page on which the bank verifies a report that a business has sent it as a PDF, or as several that are its parts.

Nothing of a file is kept.
"""

import secrets
import threading
from typing import Any, Final, cast

from flask import Blueprint, Response, request

from consent_server import clock
from consent_server.deployment import current
from consent_server.documents import parts
from consent_server.documents.data import ReportData, WholePeriod, count_months
from consent_server.documents.parts import verify_together
from consent_server.documents.verify import LARGEST, NotGenuine, ReportFault, Trusted
from consent_server.refusal import Unavailable
from consent_server.sandbox.bank.bank import BankProcess
from consent_server.sandbox.bank.views import COOKIE, COOKIE_MAX_AGE
from consent_server.scheme import instant
from consent_server.web import cookies, csrf, pages
from consent_server.web.csrf import CsrfRefused

#: Bytes of a form beside its file.
_REST: Final = 16 * 1024
#: Bytes of all files of a form.
LARGEST_TOGETHER: Final = 3 * LARGEST
#: Forms whose files are verified at once, and seconds that another waits for its turn.
MOST: Final = 2
LONGEST_S: Final = 5
_places: Final = threading.BoundedSemaphore(MOST)

routes = Blueprint("bank_report", __name__)


@routes.get("/report")
def choose() -> Response:
    return _page()


@routes.post("/report")
def judge() -> Response:
    """Verify the files of the form: in a process that is bounded, a few at once, and then 503."""
    if (request.content_length or 0) > LARGEST_TOGETHER + _REST:
        return _page(413, faults=[ReportFault("size", f"more than {LARGEST_TOGETHER} bytes")])
    files = _sent_files()
    if not files:
        return _page(422, errors=[{"field": "file", "text": "Choose the PDF that you were given."}])
    here = cast(BankProcess, current())
    trusted = Trusted(here.signing_root, here.settings.scheme.trust_framework, recipient=here.settings.member.url)
    if not _places.acquire(timeout=LONGEST_S):
        raise Unavailable("too many reports are being verified")
    try:
        found = verify_together(files, trusted, clock.now())
    except NotGenuine as refused:
        return _page(faults=refused.faults)
    finally:
        _places.release()
    first = found[0].data
    whole, account = first.part_of, first.permission.account
    ours = [each for each in here.permissions.all() if each.account == account]
    return _page(
        found=[(each, _months(each.data)) for each in found],
        whole=(whole, _months(whole), count_months(whole)) if whole is not None else None,
        signer=here.name_of(found[0].member, found[0].member),
        ours=ours[0] if ours else None,
    )


def _months(period: ReportData | WholePeriod) -> tuple[int, int]:
    """Return the first instant of the first month and the last of the last."""
    return instant.parse(period.start), instant.parse(period.end) - 1


def _sent_files() -> list[bytes]:
    """Return the files in our own form, none where none was chosen. Raise CsrfRefused for any other form."""
    request.max_content_length, request.max_form_parts = LARGEST_TOGETHER + _REST, parts.MOST + 2
    secret = request.cookies.get(COOKIE, "")
    if not secret:
        raise CsrfRefused("no cookie")
    csrf.check(request, request.form.get(csrf.FIELD), secret, current().settings.public.origin)
    return [content for each in request.files.getlist("file") if (content := each.read())]


def _page(status: int = 200, **values: Any) -> Response:
    secret = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
    response = pages.render("sandbox/bank_report.html", status, csrf=csrf.token(secret), **{"errors": (), **values})
    cookies.set_cookie(response, COOKIE, secret, COOKIE_MAX_AGE)
    return response
