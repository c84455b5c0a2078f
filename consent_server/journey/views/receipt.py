"""The receipt of one permission, for whoever has its link: what was permitted, and a button that withdraws it.

Nothing changes when the link is opened, as mail scanners do: only the form on the page withdraws. It changes nothing
but that, and the page shows no more than the mail that the link came in. A link that is right is never counted or slowed.
"""

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.receipts import consent, links, receipt
from consent_server.receipts.receipt import Receipt
from consent_server.web import budgets, csrf, headers, pages
from consent_server.web.limits import network_of
from consent_server.web.refusals import NotFound
from consent_server.withdrawal.withdraw import Withdrawal, withdraw

routes = Blueprint("receipt", __name__, url_prefix="/receipt")


@routes.get("/<handle>")
def show(handle: str) -> Response:
    found = _receipt(handle)
    # As it was opened: nothing is written for a link.
    address = f"{current().settings.public.origin}{links.PATH}{handle}"
    return headers.not_indexed(
        pages.render("receipt/receipt.html", receipt=found, address=address, csrf=csrf.token(handle))
    )


@routes.post("/<handle>")
def confirm(handle: str) -> AnyResponse:
    """Withdraw. A second click changes nothing: the permission has ended, as was asked."""
    found = _receipt(handle)
    csrf.form(handle)  # the link is the secret: there is no cookie that another site could use
    if found.open:
        why = "the SME withdrew by the link in its receipt"
        withdraw(found.subject, Withdrawal(by="sme", where="receipt", why=why))
    return redirect(f"{links.PATH}{handle}", 303)


@routes.get("/<handle>/consent.json")
def consent_receipt(handle: str) -> Response:
    return consent_file(_receipt(handle).subject)


def consent_file(subject: str) -> Response:
    """Return the signed consent receipt of a permission, as a file. One signature costs less than the page beside it."""
    body = consent.signed(subject)
    if body is None:
        raise NotFound("consent receipt")
    return headers.not_indexed(pages.file(body, consent.FILE_NAME))


def _receipt(handle: str) -> Receipt:
    subject = links.subject_of(handle)
    if subject is not None:
        with store.reading() as c:
            found = receipt.find(c, subject, clock.now())
        if found is not None:
            return found
    # Only now is anything counted: who has the link of a receipt gets it.
    budgets.receipts().failed(network_of(request.remote_addr or ""))
    raise NotFound("receipt")
