"""At an EDP: an SME shows who it is, by a bill or by its log-in, sees what it has permitted, and withdraws."""

import secrets
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import wraps
from typing import Any, Final

import orjson
from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.journey import log_in
from consent_server.journey.evidence import grants_of, own
from consent_server.journey.held import of_business
from consent_server.journey.log_in import KeptLogIn, LogInNotOurs, LogInUnreachable
from consent_server.journey.step import Page
from consent_server.journey.steps import bill
from consent_server.journey.steps import log_in as login_step
from consent_server.journey.steps.bill import Bill
from consent_server.journey.steps.log_in import LogIn
from consent_server.metering import sources
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.log_in import RETURNED
from consent_server.receipts import links
from consent_server.receipts.held import HeldPart, as_json
from consent_server.store.tables.sessions import SessionData
from consent_server.web import csrf, device_cookie, headers, pages, parameters, sessions, typed
from consent_server.web.application import require_get
from consent_server.web.refusals import NotFound
from consent_server.web.sessions import BrowserSession
from consent_server.web.typed import FieldError, KeptForm
from consent_server.withdrawal.withdraw import Withdrawal, withdraw_own

_BILL: Final = "bill"
#: Way to show who one is, as `journey.steps` names it -> the link to its page here.
_WAYS: Final = {
    "bill": {"name": Bill.name, "words": Bill.offer, "path": "/manage/bill"},
    "login": {"name": LogIn.name, "words": LogIn.offer, "path": "/manage/log-in"},
}

routes = Blueprint("manage", __name__, url_prefix="/manage")


def signed_in(view: Callable[[BrowserSession], AnyResponse]) -> Callable[[], AnyResponse]:
    """Return a view for whoever has shown who it is, with its session; others are led to the page for that."""

    @wraps(view)
    def guarded() -> AnyResponse:
        session = _sessions().current(request)
        return redirect("/manage", 303) if session is None else view(session)

    return guarded


@routes.get("")
def start() -> AnyResponse:
    """Return the page of the first way to show who one is. A way of the EDP's own is for journeys alone."""
    return _bill_page() if _ways()[0] == "bill" else _log_in_page(login_step.page())


@routes.get("/bill")
def bill_page() -> AnyResponse:
    return _bill_page()


@routes.post("")
def identify() -> AnyResponse:
    if "bill" not in _ways():
        raise NotFound("bill")
    sent = csrf.form(_sessions().form_secret(request), *bill.FIELDS)
    typed.keep(_BILL, _sessions().form_secret(request), KeptForm(sent))  # whatever follows, a refusal too
    read = bill.read(sent)
    if isinstance(read, Page):
        return _bill_to_mend(read)
    response = redirect("/manage/permissions", 303)
    with sources.act():
        identified = bill.match(read, request.remote_addr or "", device_cookie.sent(request))
        if identified is not None:
            _sessions().end(request, response)
            _sessions().begin(response, {"sme": identified.sme, "business": identified.business})
    if identified is None:
        error = FieldError("postcode", bill.NO_MATCH)
        return _bill_to_mend(bill.again(sent, error, checked=sent.get("checked", "")))
    typed.forget(_BILL)
    device_cookie.remember(response, device_cookie.sent(request), read.subjects())
    return response


@routes.get("/log-in")
def log_in_page() -> AnyResponse:
    """Sign in whoever has logged in; else return the page with the button."""
    if "login" not in _ways():
        raise NotFound("login")
    session = _log_ins().current(request)
    found = login_step.outcome(session.data.get("log_in") if session is not None else None)
    if isinstance(found, Page):
        return _log_in_page(found)
    if not found["sme"]:
        return _log_in_page(login_step.page(unknown=True))
    response = redirect("/manage/permissions", 303)
    _log_ins().end(request, response)
    _sessions().end(request, response)
    _sessions().begin(response, {"sme": found["sme"], "business": found["business"], "log_out": _log_out()})
    return response


@routes.post("/log-in")
def leave_to_log_in() -> AnyResponse:
    if "login" not in _ways():
        raise NotFound("login")
    csrf.form(_sessions().form_secret(request))
    try:
        address, begun = log_in.leave(_return_uri(), secrets.token_urlsafe(32), request.remote_addr or "")
    except LogInUnreachable as refusal:
        return _log_in_page(login_step.page(refusal))
    response = redirect(address, 303)
    _log_ins().end(request, response)
    _log_ins().begin(response, {"log_in": begun})
    return response


@routes.get("/log-in/return")
def come_back() -> AnyResponse:
    """Take back a browser that was sent to log in. No page is shown at this address, whose query may have a code."""
    require_get()
    returned = parameters.query(request, optional=RETURNED)
    session = _log_ins().current(request)
    if session is None or "login" not in _ways():
        raise LogInNotOurs("no cookie")
    log_in.come_back(InSession(session), session.data.get("log_in"), returned, request.remote_addr or "")
    return redirect("/manage/log-in", 303)


@routes.get("/permissions")
@signed_in
def permissions(session: BrowserSession) -> AnyResponse:
    grants = grants_of(session.data["sme"], clock.now())
    return _shown(
        session,
        "manage/permissions.html",
        live=[grant for grant in grants if grant.live],
        unfinished=[grant for grant in grants if grant.open and not grant.live],
        past=[grant for grant in grants if not grant.open],
        business=session.data["business"],
        logos={member: current().logo_of(member) for member in {grant.permission.member for grant in grants}},
    )


@routes.get("/held")
@signed_in
def held(session: BrowserSession) -> AnyResponse:
    """Return everything that we hold about the business."""
    return _shown(session, "manage/held.html", parts=_held(session))


@routes.get("/held.json")
@signed_in
def held_file(session: BrowserSession) -> AnyResponse:
    return pages.file(orjson.dumps(as_json(_held(session))), "what-we-hold.json")


def _held(session: BrowserSession) -> list[HeldPart]:
    return of_business(session.data["sme"], session.data["business"], clock.now())


@routes.get("/receipt")
@signed_in
def receipt(session: BrowserSession) -> AnyResponse:
    return _own_page(session, "manage/receipt.html", with_link=True)


@routes.get("/withdraw")
@signed_in
def ask(session: BrowserSession) -> AnyResponse:
    return _own_page(session, "manage/withdraw.html")


@routes.get("/withdrawn")
@signed_in
def withdrawn(session: BrowserSession) -> AnyResponse:
    return _own_page(session, "manage/withdrawn.html")


@routes.post("/withdraw")
@signed_in
def confirm(session: BrowserSession) -> AnyResponse:
    sent = csrf.form(session.secret, "permission")
    permission = sent.get("permission", "")
    # A second click changes nothing: the permission has ended, as was asked.
    if not withdraw_own(session.data["sme"], permission, Withdrawal("sme", "manage", "the SME withdrew")):
        raise NotFound("permission")
    return redirect(f"/manage/withdrawn?permission={permission}", 303)


@routes.post("/leave")
@signed_in
def leave(session: BrowserSession) -> AnyResponse:
    """End our session, whatever becomes of the provider's, to which the browser goes on after a log-in."""
    csrf.form(session.secret)
    response = redirect(session.data.get("log_out") or "/manage", 303)
    _sessions().end(request, response)
    return response


def _sessions() -> sessions.Sessions:
    return sessions.of_kind("manage")


def _log_ins() -> sessions.Sessions:
    return sessions.of_kind("log-in")


def _ways() -> list[str]:
    """Return the ways to show who one is here, in order: those of `journey.steps` that are ours, else by a bill."""
    return [each for each in current().settings.journey.steps if each in _WAYS] or ["bill"]


def _return_uri() -> str:
    return f"{current().settings.public.origin}/manage/log-in/return"


class InSession(KeptLogIn):
    """A log-in in a session of its own, of a browser that has not signed in yet."""

    def __init__(self, session: BrowserSession) -> None:
        self.redirect_uri = _return_uri()
        self._session = session

    def edit(self, change: Callable[[SessionData], object]) -> None:
        _log_ins().change(self._session, change)


def _log_out() -> str:
    try:
        return log_in.provider().log_out_address(f"{current().settings.public.origin}/manage")
    except Unreachable:
        return ""


def _log_in_page(page: Page) -> Response:
    response = _sign_in_page("manage/log_in.html", "login", page)
    if page.refresh_s:
        response.headers["Refresh"] = f"{page.refresh_s};url=/manage/log-in"
    return response


def _bill_page() -> Response:
    """Return the page with a bill's fields, with what this browser typed before and what is to be mended."""
    if "bill" not in _ways():
        raise NotFound("bill")
    before = typed.held(_BILL, _sessions().form_secret(request))
    page = Page({"typed": before.values}, errors=before.errors, status=before.status)
    return _sign_in_page("manage/identify.html", "bill", page)


def _bill_to_mend(page: Page) -> AnyResponse:
    values: Mapping[str, str] = page.values["typed"]  # type: ignore[assignment]
    typed.keep(_BILL, _sessions().form_secret(request), KeptForm(values, page.errors, page.status))
    return redirect("/manage/bill", 303)


def _sign_in_page(template: str, way: str, page: Page) -> Response:
    """Return a page with a form, tied by a cookie to this browser, although nobody has signed in yet."""
    secret = _sessions().form_secret(request) or secrets.token_urlsafe(32)
    ways = [_WAYS[each] for each in _ways() if each != way]
    values: dict[str, Any] = {"errors": page.errors, "csrf": csrf.token(secret), "ways": ways, **page.values}
    response = pages.render(template, page.status, form_targets=page.form_targets, **values)
    _sessions().keep_form_secret(response, secret)
    return response


def _shown(session: BrowserSession, template: str, **values: Any) -> Response:
    """Return a page of whoever has signed in. Its button to sign out may lead on to the provider."""
    away = session.data.get("log_out")
    targets = (headers.origin_of(away),) if away else ()
    return pages.render(template, form_targets=targets, csrf=csrf.token(session.secret), **values)


def _own_page(session: BrowserSession, template: str, *, with_link: bool = False) -> AnyResponse:
    """Return a page about one of the SME's own permissions, `with_link` to its receipt. Raise NotFound for any other."""
    wanted = parameters.query(request, required=("permission",))["permission"]
    with store.together() if with_link else nullcontext():
        grant = own(session.data["sme"], wanted, clock.now())
        if grant is None:
            raise NotFound("permission")
        link = links.make_path(grant.permission.id) if with_link else ""
    return _shown(session, template, grant=grant, link=link, logo_of_client=current().logo_of(grant.permission.member))
