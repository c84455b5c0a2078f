"""The bank's pages, and its door for withdrawal messages."""

import secrets
from typing import Final, cast
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.deployment import current
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.sandbox.bank.bank import Bank
from consent_server.sandbox.bank.book import Entry
from consent_server.scheme.provenance.container import ProvenanceError
from consent_server.store.digests import digest
from consent_server.web import cookies, csrf, pages, parameters
from consent_server.withdrawal.inbox import MessageNotYours, withdrawn_token
from consent_server.withdrawal.views import sent_message

COOKIE: Final = "__Host-fsp-visit"
_COOKIE_MAX_AGE: Final = 3600

pages_of_the_bank = Blueprint("bank", __name__)
inbox = Blueprint("bank_inbox", __name__)


@pages_of_the_bank.get("/")
def home() -> Response:
    bank = _bank()
    secret = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
    response = pages.render(
        "sandbox/bank.html",
        form_targets=(bank.cap.issuer,),
        start=f"{bank.cap.portal}/start?{urlencode({'fsp': bank.settings.member.url})}",
        given=bank.book.all("permission"),
        cap=bank.cap_name(),
        csrf=csrf.token(secret),
    )
    cookies.set_cookie(response, COOKIE, secret, _COOKIE_MAX_AGE)
    return response


@pages_of_the_bank.post("/apply")
def apply() -> AnyResponse:
    """Ask the CAP's issuer for the SME's permission, and send the browser there."""
    bank = _bank()
    secret = request.cookies.get(COOKIE, "")
    csrf.form(secret)
    try:
        metadata = bank.upstream.metadata(bank.cap.issuer)
        pushed = bank.upstream.push(metadata, bank.cap.license, bank.callback_uri)
    except OAuthRefused as refused:
        return _message("We could not ask", f"{bank.cap_name()} refused our request: {refused.error}.", 502)
    except Unreachable:
        return _unreachable()
    begun = {
        "at": clock.now(),
        "browser": digest(secret),
        "state": pushed.state,
        "verifier": pushed.code_verifier,
        "to": None,
    }
    bank.book.put(_pending(pushed.state), begun)
    return redirect(pushed.authorization_url, 303)


@pages_of_the_bank.get("/callback")
def callback() -> AnyResponse:
    bank = _bank()
    state = parameters.query(request, optional=("state",)).get("state", "")
    begun, went_to = _take(state)
    if went_to is not None:
        return redirect(went_to, 303)  # a second click on Allow: the same redirect once more
    if begun is None:
        return _message("No application is under way here", "Start again from our first page, in this browser.", 400)
    try:
        code = bank.upstream.callback(bank.cap.issuer, request.query_string.decode("ascii", "replace"), begun["state"])
        metadata, member = bank.upstream.metadata(bank.cap.issuer), bank.service().member
        tokens = bank.upstream.redeem(metadata, bank.callback_uri, bank.cap.license, code, begun["verifier"])
        if tokens.fault is not None:
            raise tokens.fault
    except OAuthRefused as refused:
        if refused.error == "access_denied":
            return _message("You did not give permission", "We get nothing. You can apply again at any time.")
        return _message("It did not work", f"{bank.cap_name()} answered: {refused.error}. We got nothing.", 502)
    except Unreachable as fault:
        return _message("It did not work", f"The answer cannot be used ({fault.kind}). We got nothing.", 502)
    name = f"permission-{secrets.token_hex(8)}"
    given = {"at": clock.now(), "member": member, "refresh_token": tokens.refresh_token, "withdrawn": None}
    bank.book.put(name, given)
    bank.book.change(_pending(state), lambda held: {**held, "to": f"/emissions/{name}"})
    return redirect(f"/emissions/{name}", 303)


@pages_of_the_bank.get("/emissions/<name>")
def emissions(name: str) -> Response:
    """Read the last twelve whole months with the token, and verify their provenance."""
    bank = _bank()
    held = bank.book.get(name) if name.startswith("permission-") else None
    if held is None:
        return _message("There is no such permission", "Look at our first page for those that we hold.", 404)
    cap = bank.cap_name()
    if held["withdrawn"]:
        day = pages.moment(held["withdrawn"])
        return _message(
            "This permission was withdrawn",
            f"{cap} told us on {day}. We have deleted the emissions and the token that we got with it.",
        )
    try:
        found = bank.emissions(held["refresh_token"])
    except OAuthRefused:
        return _message("This permission no longer holds", f"{cap} gives us no emissions with it any more.")
    except ProvenanceError as error:
        return _message("We do not believe these figures", f"Their provenance does not hold: {error}.", 502)
    except (Unreachable, KeyError, TypeError, ValueError):
        return _unreachable()
    if found is None:
        response = _message("The emissions are still being worked out", "This page looks again in a few seconds.")
        response.headers["Refresh"] = "5"
        return response
    bank.book.change(name, lambda now: now if now["withdrawn"] else {**now, "emissions": found})
    named = [{**signer, "name": bank.name_of(signer["member"], signer["member"])} for signer in found["signers"]]
    return pages.render("sandbox/bank_emissions.html", found=found, signers=named, given=held["at"], cap=cap)


@inbox.post("/messages")
def messages() -> Response:
    """Delete what a permission gave, when a message says that it was withdrawn."""
    bank = _bank()
    scheme = bank.settings.scheme
    sender = bank.callers.identify(request.environ, scheme.cap_roles, clock.now())
    token = withdrawn_token(sent_message(), scheme.withdrawal_subjects)
    held = [(name, each) for name, each in bank.book.all("permission") if not each["withdrawn"]]
    for name, each in held:
        if not secrets.compare_digest(each["refresh_token"], token):
            continue
        if each["member"] != sender.member:
            raise MessageNotYours("a permission of another CAP")
        withdrawn = {"at": each["at"], "member": each["member"], "withdrawn": clock.now()}
        bank.book.put(name, withdrawn)
        return jsonify(effect="withdrawn")
    return jsonify(effect="nothing")  # Message Delivery: an unknown token changes nothing


def _bank() -> Bank:
    return cast(Bank, current())  # the process that this door was installed with


def _message(title: str, text: str, status: int = 200) -> Response:
    return pages.render("sandbox/bank_message.html", status, title=title, text=text)


def _unreachable() -> Response:
    text = f"{_bank().cap_name()} does not answer. Nothing was changed. Try again later."
    return _message("We cannot reach them just now", text, 502)


def _take(state: str) -> tuple[Entry | None, str | None]:
    """Return the application with this state, once, in the browser that began it; and where its first return went."""
    book = _bank().book
    taken: list[Entry] = []
    entry = book.get(_pending(state))
    if entry is None or not secrets.compare_digest(entry["browser"], digest(request.cookies.get(COOKIE, ""))):
        return None, None

    def once(held: Entry) -> Entry:
        if held["to"] is None:
            taken.append(held)
        return {**held, "to": held["to"] or "/", "verifier": ""}

    book.change(_pending(state), once)
    return (taken[0], None) if taken else (None, (book.get(_pending(state)) or {}).get("to"))


def _pending(state: str) -> str:
    return f"pending-{digest(state)}"
