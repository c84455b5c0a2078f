"""Before an SME has signed in: the landing page, a bank's invitation, and signing in."""

import re
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from flask import Blueprint, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import audit, clock, store
from consent_server.accounts import passkeys
from consent_server.accounts import sign_in as codes
from consent_server.portal import invitation
from consent_server.portal.views.visits import (
    account,
    bank,
    change,
    data,
    form_secret,
    keep,
    mended,
    of_portal,
    page,
    see_other,
    sent,
    session,
    signed_in,
    signed_in_account,
    to_mend,
    typed_before,
)
from consent_server.store import connections
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.sessions import SessionData
from consent_server.web import csrf, device_cookie, parameters, typed
from consent_server.web.sessions import FORM_LIFE_S
from consent_server.web.typed import FieldError, KeptForm

#: One slash and no second one behind it, which would begin the name of a host.
_OUR_PATH: Final = re.compile(r"/[a-z][a-z/-]{0,60}")

SIGN_IN: Final = "/sign-in"
CODE: Final = "/sign-in/code"
#: What a browser keeps of having asked for a code.
ASKED: Final = "asked"

routes = Blueprint("portal_sign_in", __name__)


@routes.get("/")
def landing() -> AnyResponse:
    """Return the first page, on which an SME types its address; its form needs a handle to be ours in."""
    if account() is not None:
        return see_other("/account")
    secret = form_secret() or secrets.token_urlsafe(32)
    sender = bank()
    following = "/begin" if sender is not None else "/account"
    response = page("landing", bank=sender, csrf=csrf.token(secret), typed={}, following=following)
    if session() is None:
        of_portal().keep_form_secret(response, secret)
    return response


@routes.get("/begin")
@signed_in
def begin() -> AnyResponse:
    """Lead an account that a bank has sent to what comes next: an account without a connection has nothing to show yet."""
    with store.reading() as c:
        live = connections.live(c, signed_in_account().id, clock.now())
    return see_other("/account" if live else "/connect")


@routes.get("/start")
def start() -> AnyResponse:
    """Accept a bank's invitation: `fsp` is the bank's Directory URL, and is kept only if it has the role of a bank."""
    response = see_other("/")
    fsp = parameters.query(request, optional=("fsp",)).get("fsp")
    # An image on another site's page is no invitation: it would spend the budget of the visitor's network.
    followed = request.headers.get("Sec-Fetch-Dest", "document") == "document"
    if fsp is not None and followed and invitation.accept(fsp, request.remote_addr or ""):
        invitation.keep(response, fsp)
        keep({"fsp": fsp})
    return response


@routes.get("/sign-in")
def sign_in() -> AnyResponse:
    asked = parameters.query(request, optional=("cookie", "next"))
    kept = _asked()
    following = _following(asked.get("next") or kept.get("next", ""))
    if form_secret():
        before = typed_before(SIGN_IN)
        shown = {"email": before.values.get("email") or kept.get("email", "")}
        options = passkeys.to_sign_in(form_secret())
        return page("sign_in", script=True, before=before, typed=shown, following=following, options=options)
    if "cookie" in asked:
        return page("no_cookies", 400)
    # The form needs a handle to be ours in: come back with one.
    response = see_other(f"/sign-in?cookie=set&next={quote(following)}")
    of_portal().keep_form_secret(response, secrets.token_urlsafe(32))
    return response


@routes.post("/sign-in")
def send_code() -> AnyResponse:
    """Return the same page for every address: only its mailbox shows whether it has an account."""
    form = sent("email", "next")
    typed_email, following = form.get("email", ""), _following(form.get("next", ""))
    asked = codes.ask_code(typed_email, request.remote_addr or "", device_cookie.sent(request), opens_account=True)
    if asked is None:
        return _to_mend(following, FieldError("email", codes.NOT_AN_ADDRESS), email=typed_email)
    codes.mail_code(asked)
    mended(SIGN_IN, CODE)
    # In the browser: a visitor leaves no row before it has signed in.
    values = {"email": asked.email, "no_mail": "yes" if asked.no_mail else "", "next": following}
    typed.keep(ASKED, form_secret(), KeptForm(values), FORM_LIFE_S)
    return see_other(CODE)


@routes.get("/sign-in/code")
def code() -> AnyResponse:
    kept = _asked()
    if "email" not in kept:
        return see_other("/sign-in")
    return page("code", before=typed_before(CODE), email=kept["email"], no_mail=bool(kept.get("no_mail")))


@routes.post("/sign-in/code")
def check_code() -> AnyResponse:
    digits, kept = sent("code").get("code", ""), _asked()
    if "email" not in kept:
        return see_other("/sign-in")
    with store.together():
        found = codes.check_code(
            kept["email"], digits, request.remote_addr or "", device_cookie.sent(request), form_secret()
        )
        if found is None:
            return to_mend(CODE, [FieldError("code", codes.WRONG_CODE)])
        return _signed_in(found, _following(kept.get("next", "")), by_passkey=False)


def _asked() -> Mapping[str, str]:
    """Return what this browser keeps from asking for a code until it has signed in: the address, and the page that follows."""
    return typed.held(ASKED, form_secret()).values


@routes.post("/sign-in/passkey")
def use_passkey() -> AnyResponse:
    form = sent("passkey", "next")
    following = _following(form.get("next", ""))
    found = passkeys.sign_in(
        form.get("passkey", ""), request.remote_addr or "", device_cookie.sent(request), form_secret()
    )
    if found is None:
        return _to_mend(following, FieldError("use-passkey", passkeys.NOT_ACCEPTED))
    return _signed_in(found, following, by_passkey=True)


def _to_mend(following: str, error: FieldError, email: str = "") -> AnyResponse:
    return to_mend(f"{SIGN_IN}?next={quote(following)}", [error], email=email)


def _signed_in(found: SmeAccount, following: str, *, by_passkey: bool) -> AnyResponse:
    kept: SessionData = {"account": found.id, "signed_in": clock.now(), "by_passkey": by_passkey}
    sender = data().get("fsp") or invitation.held(request)
    if sender is not None:
        kept["fsp"] = sender
    mended(SIGN_IN, CODE)
    typed.forget(ASKED)
    response = see_other(following)
    # A new handle: one known before sign-in gives no access. An old session stays without account until it is idle, for the
    # second half of a double click.
    with store.together():
        change(_leave_what_signs_in)
        of_portal().begin(response, kept)
    device_cookie.remember(response, device_cookie.sent(request), (found.email,))
    audit.event("signed_in", account=found.id, method="passkey" if by_passkey else "code")
    return response


@routes.post("/sign-out")
def sign_out() -> AnyResponse:
    response = see_other("/")
    if session() is not None:
        sent()
        of_portal().end(request, response)
    return response


def _leave_what_signs_in(held: SessionData) -> None:
    for name in held.keys() - {"fsp"}:
        held.pop(name, None)  # type: ignore[misc]  # every key of SessionData may be absent


def _following(path: str) -> str:
    """Return the page of ours to show after sign-in: a path and nothing else, so that no link leads to another site."""
    return path if _OUR_PATH.fullmatch(path) else "/account"
