"""At an EDP: an SME identifies itself by a bill, sees what it has permitted, and withdraws."""

import secrets
from typing import Any

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.journey.evidence import grants_of, own
from consent_server.journey.step import FieldError, Page
from consent_server.journey.steps import bill
from consent_server.web import csrf, device_cookie, pages, parameters, sessions
from consent_server.web.refusals import NotFound
from consent_server.withdrawal.withdraw import Withdrawal, withdraw

KIND = "manage"

routes = Blueprint("manage", __name__, url_prefix="/manage")


@routes.get("")
def start() -> Response:
    return _sign_in_page(Page({"typed": {}}))


@routes.post("")
def identify() -> AnyResponse:
    sent = csrf.form(_sessions().form_secret(request), *bill.FIELDS)
    typed = bill.read(sent)
    if isinstance(typed, Page):
        return _sign_in_page(typed)
    identified = bill.match(typed, request.remote_addr or "", device_cookie.sent(request))
    if identified is None:
        error = FieldError("postcode", bill.NO_MATCH)
        return _sign_in_page(bill.again(sent, error, checked=sent.get("checked", "")))
    response = redirect("/manage/permissions", 303)
    _sessions().end(request, response)
    _sessions().begin(response, {"sme": identified.sme, "business": identified.business})
    device_cookie.remember(response, device_cookie.sent(request), typed.subjects())
    return response


@routes.get("/permissions")
def permissions() -> AnyResponse:
    session = _sessions().current(request)
    if session is None:
        return redirect("/manage", 303)
    grants = grants_of(session.data["sme"], clock.now())
    return pages.render(
        "manage/permissions.html",
        live=[grant for grant in grants if grant.live],
        unfinished=[grant for grant in grants if grant.open and not grant.live],
        past=[grant for grant in grants if not grant.open],
        business=session.data["business"],
        csrf=csrf.token(session.secret),
    )


@routes.get("/receipt")
def receipt() -> AnyResponse:
    return _own_page("manage/receipt.html")


@routes.get("/withdraw")
def ask() -> AnyResponse:
    return _own_page("manage/withdraw.html")


@routes.get("/withdrawn")
def withdrawn() -> AnyResponse:
    return _own_page("manage/withdrawn.html")


@routes.post("/withdraw")
def confirm() -> AnyResponse:
    session = _sessions().current(request)
    if session is None:
        return redirect("/manage", 303)
    sent = csrf.form(session.secret, "permission")
    grant = own(session.data["sme"], sent.get("permission", ""), clock.now())
    if grant is None:
        raise NotFound("permission")
    # A second click changes nothing: the permission has ended, as was asked.
    withdraw(grant.permission.id, Withdrawal(by="sme", where="manage", why="the SME withdrew"))
    return redirect(f"/manage/withdrawn?permission={grant.permission.id}", 303)


@routes.post("/leave")
def leave() -> AnyResponse:
    session = _sessions().current(request)
    response = redirect("/manage", 303)
    if session is not None:
        csrf.form(session.secret)
        _sessions().end(request, response)
    return response


def _sessions() -> sessions.Sessions:
    return sessions.of_kind(KIND)


def _sign_in_page(page: Page) -> Response:
    """Return the page with the form, tied by a cookie to this browser, although nobody has signed in yet."""
    secret = _sessions().form_secret(request) or secrets.token_urlsafe(32)
    values: dict[str, Any] = {"errors": page.errors, "csrf": csrf.token(secret), **page.values}
    response = pages.render("manage/identify.html", page.status, **values)
    _sessions().keep_form_secret(response, secret)
    return response


def _own_page(template: str) -> AnyResponse:
    """Return a page about one of the SME's own permissions. Raise NotFound for any other."""
    session = _sessions().current(request)
    if session is None:
        return redirect("/manage", 303)
    wanted = parameters.query(request, required=("permission",))["permission"]
    grant = own(session.data["sme"], wanted, clock.now())
    if grant is None:
        raise NotFound("permission")
    return pages.render(template, grant=grant, csrf=csrf.token(session.secret))
