"""Before an SME has signed in: the landing page, a bank's invitation, and signing in."""

from flask import Blueprint, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import audit
from consent_server.accounts import sign_in as codes
from consent_server.journey.step import FieldError
from consent_server.portal import providers
from consent_server.portal.views.visit import (
    account,
    bank,
    begin_with,
    data,
    keep,
    of_portal,
    page,
    see_other,
    sent,
    session,
)
from consent_server.store.tables import SessionData
from consent_server.web import parameters

routes = Blueprint("portal_sign_in", __name__)


@routes.get("/")
def landing() -> AnyResponse:
    return page("landing", bank=bank()) if account() is None else see_other("/account")


@routes.get("/start")
def start() -> AnyResponse:
    """Accept a bank's invitation: `fsp` is the bank's Directory URL, and is kept only if it has the role of a bank."""
    response = see_other("/")
    fsp = parameters.query(request, optional=("fsp",)).get("fsp")
    if fsp is not None and providers.bank(fsp) is not None:
        begin_with(response, {"fsp": fsp})
    return response


@routes.get("/sign-in")
def sign_in() -> AnyResponse:
    asked = parameters.query(request, optional=("cookie",))
    if session() is not None:
        return page("sign_in", typed={"email": data().get("email", "")})
    if asked:
        return page("no_cookies", 400)
    # The form needs a session to be ours in: come back with one.
    response = see_other("/sign-in?cookie=set")
    of_portal().begin(response, {})
    return response


@routes.post("/sign-in")
def send_code() -> AnyResponse:
    """Return the same page for every address: only its mailbox shows whether it has an account."""
    typed = sent("email").get("email", "")
    email = codes.send_code(typed, request.remote_addr or "", opens_account=True)
    if email is None:
        return page("sign_in", 422, typed={"email": typed}, errors=(FieldError("email", codes.NOT_AN_ADDRESS),))
    keep({"email": email})
    return see_other("/sign-in/code")


@routes.get("/sign-in/code")
def code() -> AnyResponse:
    email = data().get("email")
    return page("code", email=email) if email is not None else see_other("/sign-in")


@routes.post("/sign-in/code")
def check_code() -> AnyResponse:
    typed = sent("code").get("code", "")
    email = data().get("email")
    if email is None:
        return see_other("/sign-in")
    found = codes.check_code(email, typed, request.remote_addr or "")
    if found is None:
        return page("code", 422, email=email, errors=(FieldError("code", codes.WRONG_CODE),))
    kept: SessionData = {"account": found.id}
    if "fsp" in data():
        kept["fsp"] = data()["fsp"]
    response = see_other(data().get("next", "/account"))
    # A new handle, and nothing else of the old session: a handle known before sign-in gives no access.
    of_portal().end(request, response)
    of_portal().begin(response, kept)
    audit.event("signed_in", account=found.id)
    return response


@routes.post("/sign-out")
def sign_out() -> AnyResponse:
    response = see_other("/")
    if session() is not None:
        sent()
        of_portal().end(request, response)
    return response
