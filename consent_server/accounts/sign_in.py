"""An SME signs in to its account at a CAP with a code sent to its e-mail address. There is no password to lose.

A code belongs to the mailbox and not to the browser that asked for it: while it is valid, asking again sends it again, and no
wrong code ends it. Nobody can therefore lock the owner out: the newest code in the mailbox works, however many strangers
asked for.
"""

import json
import re
from dataclasses import dataclass
from typing import Final

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.outbound.errors import Unreachable
from consent_server.refusal import Unavailable
from consent_server.scheme.email import email_address
from consent_server.store import accounts
from consent_server.store.digests import digest, new_id, new_secret
from consent_server.store.tables import SignInCode, SmeAccount
from consent_server.web import budgets, device_cookie
from consent_server.web.language import N_, gettext
from consent_server.web.limits import TooMany

NOT_AN_ADDRESS: Final = N_("Type your e-mail address, such as name@example.com.")
WRONG_CODE: Final = N_(
    "This code is not right, or it is too old. Check the newest e-mail from us, or have a new code sent."
)
#: How the evidence describes an SME that signed in.
METHOD: Final = N_("Signed in to its account with a code sent by e-mail")
STRENGTH: Final = N_("Controls the e-mail address of the account")

#: Digits of a code: nobody's wrong codes end it, so it has more than a code that few tries end.
DIGITS: Final = 8
#: Seconds within which the browser that used a code may send it again: the second half of a double click.
REPEAT_S: Final = 30


@dataclass(frozen=True)
class CodeAsked:
    """The e-mail address for which a code was asked, and whether no mail was sent since the mailbox has had its mails."""

    email: str
    no_mail: bool


def send_code(typed: str, address: str, cookie: str, *, opens_account: bool) -> CodeAsked | None:
    """Send a code to the e-mail address that was typed; return None for what is no address.

    `address` is the network address that asks, `cookie` its browser's device cookie. When the mailbox
    has had its mails, none is sent: the newest code that it has still works. Without `opens_account` an address without an
    account gets a mail that says so; the page does not show it: it is the same, takes as long, and fails at the same times.
    Raise TooMany, and Unavailable when mail is down.
    """
    email = email_address(typed)
    if email is None:
        return None
    attempt = budgets.mail(address, device_cookie.budget_key(cookie, (email,)))
    attempt.take()  # every mail counts, until a code is used
    # Each door has a budget of its own: only the portal mails a code to every address, and what the issuer mails without one
    # must not use up the portal's mails, whose newest code is to work. Neither budget tells whether there is an account.
    mailbox = _mailbox(email, opens_account)
    life_s = _take_mail(mailbox)
    if life_s is None:
        return CodeAsked(email, no_mail=True)
    code, left_s = _open_code(email, life_s)  # for every address, so that the time of the answer tells nothing
    has_account = _has_account(email)
    try:
        if opens_account or has_account:
            _send_code(email, code, left_s)
        else:
            _send_no_account(email)
    except Unavailable:
        _untake_mail(mailbox)
        attempt.succeeded()  # no mail was sent
        raise
    return CodeAsked(email, no_mail=False)


@store.together()
def check_code(email: str, typed: str, address: str, cookie: str, browser: str) -> SmeAccount | None:
    """Return the account of an address whose newest code was typed, once for each code; None for a wrong code.

    `browser` is the handle of its session or journey: for REPEAT_S seconds it gets the same answer again; the rest as in
    `send_code`. An account is made for an address that had none. Raise TooMany when the attempt must wait.
    """
    # Counted before it is checked, so that guesses sent at the same instant cannot pass together.
    device = device_cookie.budget_key(cookie, (email,))
    attempt = budgets.code(address, email, device)
    attempt.take()
    kept, holder, at = _digest(email, re.sub(r"\D", "", typed, flags=re.ASCII)), digest(browser), clock.now()
    with store.writing() as c:
        taken = accounts.take_code(c, email, kept, holder, at)
        if not taken and not accounts.code_was_taken(c, email, kept, holder, at - REPEAT_S):
            return None
        account = _account(c, email, at)
    attempt.succeeded((budgets.codes(), email))
    if taken:
        # Only what this sign-in took: the owner of one account must not get further mails to others.
        mailboxes = (_mailbox(email, opens_account) for opens_account in (True, False))
        budgets.mail(address, device).succeeded(*((budgets.mails(), each) for each in mailboxes))
    return account


def _mailbox(email: str, opens_account: bool) -> str:
    return email if opens_account else f"issuer {email}"


def _take_mail(mailbox: str) -> int | None:
    """Count a mail; return for how many seconds its code works, or None when the mailbox has had its mails.

    A code that is sent beyond the budget works until the next one may be sent, so that one works at every moment.
    """
    limit, life_s = budgets.mails(), current().settings.lifetimes.sign_in_code
    try:
        with store.writing() as c:
            slowed = limit.take(c, mailbox)
    except TooMany:
        return None
    return max(life_s, current().settings.limits.mail_pause_s) if slowed else life_s


def _untake_mail(mailbox: str) -> None:
    with store.writing() as c:
        budgets.mails().give_back(c, mailbox, pause=True)


def _has_account(email: str) -> bool:
    with store.reading() as c:
        return accounts.by_email(c, email) is not None


def _account(c: store.Connection, email: str, at: int) -> SmeAccount:
    account = accounts.by_email(c, email)
    if account is None:
        account = SmeAccount(id=new_id(), email=email, business="", created=at)
        accounts.add(c, account)
    return account


def _open_code(email: str, life_s: int) -> tuple[str, int]:
    """Return the code of an address, the one that is open or a new one, and how many seconds it works from now on."""
    at = clock.now()
    with store.writing() as c:
        kept = accounts.keep_open(c, email, at + life_s, at)
        if kept is None:
            seed = new_secret()
            kept = SignInCode(email, _digest(email, _code(email, seed)), at + life_s, seed=seed)
            accounts.put_code(c, kept)
    return _code(email, kept.seed), kept.expires - at


def _code(email: str, seed: str) -> str:
    number = int(current().sealer.mac(f"sign-in code {email} {seed}"), 16)
    return _fixed_codes().get(email) or f"{number % 10**DIGITS:0{DIGITS}}"


def _send_code(email: str, code: str, left_s: int) -> None:
    values = {"brand": current().settings.brand, "code": code, "minutes": left_s // 60}
    text = gettext(
        "Your code to sign in to %(brand)s is %(code)s.\n\n"
        "It works once, in the next %(minutes)d minutes. Type it only at %(brand)s, and tell it to nobody: we never ask "
        "for it.\n\n"
        "If you did not ask for it, you can ignore this message. Nobody can sign in without it.\n",
        **values,
    )
    _send(email, gettext("%(code)s is your %(brand)s sign-in code", **values), text)


def _send_no_account(email: str) -> None:
    brand = current().settings.brand
    text = gettext(
        "Somebody, probably you, wanted to sign in to %(brand)s with this address. There is no account with it.\n\n"
        "If you have an account, it has another address: sign in with that one. If this was not you, you can ignore this "
        "message.\n",
        brand=brand,
    )
    _send(email, gettext("No %(brand)s account with this address", brand=brand), text)


def _send(email: str, subject: str, text: str) -> None:
    try:
        current().mail.send(email, subject, text)
    except (Unreachable, ValueError) as error:
        raise Unavailable(f"mail: {type(error).__name__}") from None


def _digest(email: str, code: str) -> str:
    # Keyed: a stolen table of plain digests of eight digits would be a table of codes.
    return current().sealer.mac(f"sign-in {email} {code}")


def _fixed_codes() -> dict[str, str]:
    """Return the fixed codes of the sandbox's SMEs by their addresses; none elsewhere."""
    path = current().settings.sandbox.fixed_codes
    codes: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path else {}
    return codes
