"""The bank's pages, and its door for withdrawal messages."""

import secrets
from typing import Final, cast
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.bank.client import PermissionNotLive, last_months
from consent_server.bank.table import as_csv
from consent_server.bank.verified import EmissionsNotVerified
from consent_server.deployment import current
from consent_server.outbound.errors import NotReady, OAuthRefused, Unreachable
from consent_server.sandbox.bank.bank import BankProcess
from consent_server.sandbox.bank.book import Entry
from consent_server.scheme import instant
from consent_server.store.digests import digest
from consent_server.web import cookies, csrf, pages, parameters

COOKIE: Final = "__Host-fsp-visit"
COOKIE_MAX_AGE: Final = 3600
_REPORT_MONTHS: Final = 12
_LONGEST_NAME: Final = 60
_FOLDER: Final = "permission-"  # before an id, in the addresses of pages

pages_of_the_bank = Blueprint("bank", __name__)
inbox = Blueprint("bank_inbox", __name__)


@pages_of_the_bank.get("/")
def home() -> Response:
    here = _here()
    secret = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
    response = pages.render(
        "sandbox/bank.html",
        form_targets=(here.cap.issuer,),
        start=f"{here.cap.portal}/start?{urlencode({'fsp': here.settings.member.url})}",
        cap=here.cap_name(),
        csrf=csrf.token(secret),
    )
    cookies.set_cookie(response, COOKIE, secret, COOKIE_MAX_AGE)
    return response


@pages_of_the_bank.post("/apply")
def apply() -> AnyResponse:
    """Ask the CAP's issuer for the SME's permission, and send the browser there."""
    secret = request.cookies.get(COOKIE, "")
    form = csrf.form(secret, "business")
    return _ask(secret, _here().cap.license, reference=pages.plain(form.get("business", ""), _LONGEST_NAME))


@pages_of_the_bank.get("/apply")
def apply_from_the_cap() -> AnyResponse:
    """Do the same for a browser that the CAP has led here (OpenID Connect Core 4).

    Issuer and license in the query are compared with what we know, and never followed.
    """
    cap = _here().cap
    query = parameters.query(request, optional=("iss", "scope", "login_hint"))
    if query.get("iss") != cap.issuer or query.get("scope") not in (cap.license, cap.combined):
        return _message("We do not know this provider", "Start again from our first page.", 400)
    secret = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
    response = _ask(secret, query["scope"], login_hint=query.get("login_hint", ""))
    cookies.set_cookie(response, COOKIE, secret, COOKIE_MAX_AGE)
    return response


def _ask(secret: str, license: str, *, reference: str = "", login_hint: str = "") -> AnyResponse:
    here = _here()
    try:
        pushed = here.bank.ask(here.cap.issuer, license=license, login_hint=login_hint)
    except OAuthRefused as refused:
        return _message("We could not ask", f"{here.cap_name()} refused our request: {refused.error}.", 502)
    except Unreachable:
        return _unreachable()
    begun = {
        "at": clock.now(),
        "browser": digest(secret),
        "state": pushed.state,
        "verifier": pushed.code_verifier,
        "reference": reference,
        "license": license,
        "to": None,
    }
    here.book.put(_pending(pushed.state), begun)
    return redirect(pushed.authorization_url, 303)


@pages_of_the_bank.get("/callback")
def callback() -> AnyResponse:
    here = _here()
    state = parameters.query(request, optional=("state",)).get("state", "")
    begun, went_to = _take(state)
    if went_to is not None:
        return redirect(went_to, 303)  # a second click on Allow: the same redirect once more
    if begun is None:
        return _message("No application is under way here", "Start again from our first page, in this browser.", 400)
    query = request.query_string.decode("ascii", "replace")
    try:
        held = here.bank.answered(
            here.cap.issuer, query, begun["state"], begun["verifier"], begun["reference"], license=begun["license"]
        )
    except OAuthRefused as refused:
        if refused.error == "access_denied":
            return _message("You did not give permission", "We get nothing. You can apply again at any time.")
        return _message("It did not work", f"{here.cap_name()} answered: {refused.error}. We got nothing.", 502)
    except Unreachable as fault:
        return _message("It did not work", f"The answer cannot be used ({fault.kind}). We got nothing.", 502)
    page = f"/emissions/{_FOLDER}{held.id}"
    here.book.change(_pending(state), lambda entry: {**entry, "to": page})
    return redirect(page, 303)


@pages_of_the_bank.get("/emissions/<name>")
def emissions(name: str) -> Response:
    """Read the last twelve whole months with the token, and verify their provenance."""
    here = _here()
    cap = here.cap_name()
    try:
        held = here.bank.fetch(name.removeprefix(_FOLDER), *last_months(_REPORT_MONTHS))
    except LookupError:
        return _message("There is no such permission", "Our portfolio has those that we hold.", 404)
    except PermissionNotLive as ended:
        if ended.state == "withdrawn":
            text = f"{cap} told us so. We have deleted the emissions and the token, and keep proof of that."
            return _message("This permission was withdrawn", text)
        return _message("This permission has expired", f"{cap} gives us no emissions with it any more.")
    except NotReady as wait:
        response = _message("The emissions are still being worked out", "This page looks again by itself.")
        response.headers["Refresh"] = str(wait.retry_after)
        return response
    except OAuthRefused:
        return _message("This permission no longer holds", f"{cap} gives us no emissions with it any more.")
    except EmissionsNotVerified as fault:
        return _message("We do not believe these figures", f"They do not hold: {fault}.", 502)
    except Unreachable:
        return _unreachable()
    assert held.emissions is not None  # it was just verified
    there = {(month.fuel, month.start): month.kilograms for month in held.emissions.months}
    starts = instant.months(held.emissions.start, held.emissions.end) if there else ()
    signers = [
        (each, here.name_of(each.member, each.member), map(_words, each.roles)) for each in held.emissions.signers
    ]
    totals = {total.fuel: total.kilograms for total in held.emissions.totals}
    return pages.render(
        "sandbox/bank_emissions.html",
        held=held,
        starts=starts,
        there=there,
        totals=totals,
        signers=signers,
        cap=cap,
    )


@pages_of_the_bank.get("/portfolio")
def portfolio() -> Response:
    """Every business: what its last answer verified as, or why it did not; and proof of what was deleted."""
    here, at = _here(), clock.now()
    every = here.permissions.all()
    return pages.render(
        "sandbox/bank_portfolio.html",
        held=[(each, each.state(at)) for each in every if each.deletion is None],
        deletions=[(each.deletion, each.member) for each in every if each.deletion],
        names={member: here.name_of(member, member) for member in {each.member for each in every}},
    )


@pages_of_the_bank.get("/portfolio.csv")
def portfolio_csv() -> Response:
    return pages.file(
        as_csv(_here().permissions.all(), clock.now()).encode(), "portfolio.csv", "text/csv; charset=utf-8"
    )


@inbox.post("/messages")
def messages() -> Response:
    """Delete what a permission gave, when a message says that it was withdrawn."""
    deletion = _here().bank.receive(request.environ, request.stream.read)
    return jsonify(effect="nothing" if deletion is None else "withdrawn")


def _here() -> BankProcess:
    return cast(BankProcess, current())  # the process that this door was installed with


def _message(title: str, text: str, status: int = 200) -> Response:
    return pages.render("sandbox/bank_message.html", status, title=title, text=text)


def _unreachable() -> Response:
    text = f"{_here().cap_name()} does not answer. Nothing was changed. Try again later."
    return _message("We cannot reach them just now", text, 502)


def _words(role: str) -> str:
    return role.rstrip("/").rsplit("/", 1)[-1].replace("-", " ")


def _take(state: str) -> tuple[Entry | None, str | None]:
    """Return the application with this state, once, in the browser that began it; and where its first return went."""
    book = _here().book
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
