"""The page on which the bank verifies a report that a business has sent it as a PDF. Nothing of the file is kept."""

import secrets
import threading
from typing import Any, Final, cast

from flask import Blueprint, Response, request

from consent_server import clock
from consent_server.deployment import current
from consent_server.documents.bounded import verify_apart
from consent_server.documents.verify import LARGEST, NotGenuine, ReportFault, Trusted
from consent_server.refusal import Unavailable
from consent_server.sandbox.bank.bank import BankProcess
from consent_server.sandbox.bank.views import COOKIE, COOKIE_MAX_AGE
from consent_server.scheme import instant
from consent_server.web import cookies, csrf, pages
from consent_server.web.csrf import CsrfRefused

#: Bytes of a form beside its file.
_REST: Final = 16 * 1024
#: Files that are verified at once, and seconds that another waits for its turn.
MOST: Final = 2
LONGEST_S: Final = 5
_places: Final = threading.BoundedSemaphore(MOST)

routes = Blueprint("bank_report", __name__)


@routes.get("/report")
def choose() -> Response:
    return _page()


@routes.post("/report")
def judge() -> Response:
    """Verify the file of the form: in a process that is bounded, a few at once, and then 503."""
    if (request.content_length or 0) > LARGEST + _REST:
        return _page(413, faults=[ReportFault("size", f"more than {LARGEST} bytes")])
    file = _sent_file()
    if not file:
        return _page(422, errors=[{"field": "file", "text": "Choose the PDF that you were given."}])
    here = cast(BankProcess, current())
    trusted = Trusted(here.signing_root, here.settings.scheme.trust_framework, recipient=here.settings.member.url)
    if not _places.acquire(timeout=LONGEST_S):
        raise Unavailable("too many reports are being verified")
    try:
        found = verify_apart(file, trusted, clock.now())
    except NotGenuine as refused:
        return _page(faults=refused.faults)
    finally:
        _places.release()
    start, last = instant.parse(found.data.start), instant.parse(found.data.end) - 1
    return _page(found=found, signer=here.name_of(found.member, found.member), start=start, last=last)


def _sent_file() -> bytes:
    """Return the file in our own form, empty where none was chosen. Raise CsrfRefused for any other form."""
    request.max_content_length, request.max_form_parts = LARGEST + _REST, 2
    secret = request.cookies.get(COOKIE, "")
    if not secret:
        raise CsrfRefused("no cookie")
    csrf.check(request, request.form.get(csrf.FIELD), secret, current().settings.public.origin)
    sent = request.files.get("file")
    return b"" if sent is None else sent.read()


def _page(status: int = 200, **values: Any) -> Response:
    secret = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
    response = pages.render("sandbox/bank_report.html", status, csrf=csrf.token(secret), **{"errors": (), **values})
    cookies.set_cookie(response, COOKIE, secret, COOKIE_MAX_AGE)
    return response
