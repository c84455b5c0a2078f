"""An SME signs in to its account at a CAP with a code sent to its e-mail address. There is no password to lose.

A code belongs to the mailbox and not to the browser that asked for it: while it is valid, asking again sends it again, and no
wrong code ends it. Nobody can therefore lock the owner out: the newest code in the mailbox works, however many strangers
asked for.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Final

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.outbound.errors import Unreachable
from consent_server.refusal import Unavailable
from consent_server.scheme.email import email_address
from consent_server.store import accounts, locks
from consent_server.store.digests import digest, new_id, new_secret
from consent_server.store.tables.accounts import SignInCode, SmeAccount
from consent_server.web import budgets, device_cookie
from consent_server.web.language import N_, gettext
from consent_server.web.limits import Guess, TooMany

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
    """The e-mail address for which a code was asked, and what `mail_code` sends there.

    `no_mail`: nothing, since the mailbox has had its mails: the newest code that it has still works. Without `known` the mail
    says that there is no account. `counted` is what the mail counts under.
    """

    email: str
    counted: Guess
    mailbox: str
    no_mail: bool = False
    known: bool = True
    code: str = field(default="", repr=False)
    left_s: int = 0


def ask_code(typed: str, address: str, cookie: str, *, opens_account: bool) -> CodeAsked | None:
    """Open the code of the e-mail address that was typed, or keep the one that is open; return None for what is no address.

    `address` is the network address that asks, `cookie` its browser's device cookie. Without `opens_account` an address without
    an account gets a mail that says so; the page does not show it: it is the same, takes as long, and fails at the same times.
    Raise TooMany when the attempt must wait.
    """
    email = email_address(typed)
    if email is None:
        return None
    attempt = budgets.mail(address, device_cookie.budget_key(cookie, (email,)))
    # Each door has a budget of its own: only the portal mails a code to every address, and what the issuer mails without one
    # must not use up the portal's mails, whose newest code is to work. Neither budget tells whether there is an account.
    mailbox = _mailbox(email, opens_account)
    with store.together(), store.writing() as c:
        _one_at_a_time(c, email)
        attempt.take()  # every mail counts, until a code is used
        life_s = _take_mail(c, mailbox)
        if life_s is None:
            return CodeAsked(email, attempt, mailbox, no_mail=True)
        code, left_s = _open_code(c, email, life_s)  # for every address, so that the time of the answer tells nothing
        known = accounts.by_email(c, email) is not None
    return CodeAsked(email, attempt, mailbox, known=known or opens_account, code=code, left_s=left_s)


def mail_code(asked: CodeAsked) -> None:
    """Send the mail of a code that was asked for. Raise Unavailable when mail is down: it then counts nowhere."""
    if asked.no_mail:
        return
    try:
        if asked.known:
            _send_code(asked)
        else:
            _send_no_account(asked.email)
    except Unavailable:
        with store.together(), store.writing() as c:
            asked.counted.succeeded()
            budgets.mails().give_back(c, asked.mailbox, pause=True)
        raise


@store.together()
def check_code(email: str, typed: str, address: str, cookie: str, browser: str) -> SmeAccount | None:
    """Return the account of an address whose newest code was typed, once for each code; None for a wrong code.

    `browser` is the handle of its session or journey: for REPEAT_S seconds it gets the same answer again; the rest as in
    `ask_code`. An account is made for an address that had none. Raise TooMany when the attempt must wait.
    """
    # Counted before it is checked, so that guesses sent at the same instant cannot pass together.
    device = device_cookie.budget_key(cookie, (email,))
    attempt = budgets.code(address, email, device)
    kept, holder, at = _digest(email, re.sub(r"\D", "", typed, flags=re.ASCII)), digest(browser), clock.now()
    with store.writing() as c:
        _one_at_a_time(c, email)
        attempt.take()
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


def _one_at_a_time(c: store.Connection, email: str) -> None:
    """Let what is asked and what is typed for one address wait for each other: they lock the same rows in another order."""
    locks.lock_name(c, f"sign-in {email}")


def _take_mail(c: store.Connection, mailbox: str) -> int | None:
    """Count a mail; return for how many seconds its code works, or None, and count nothing, when the mailbox has had its mails.

    A code that is sent beyond the budget works until the next one may be sent, so that one works at every moment.
    """
    limit, life_s = budgets.mails(), current().settings.lifetimes.sign_in_code
    try:
        slowed = limit.take(c, mailbox)
    except TooMany:
        limit.give_back(c, mailbox, pause=True)
        return None
    return max(life_s, current().settings.limits.mail_pause_s) if slowed else life_s


def _account(c: store.Connection, email: str, at: int) -> SmeAccount:
    account = accounts.by_email(c, email)
    if account is None:
        account = SmeAccount(id=new_id(), email=email, business="", created=at)
        accounts.add(c, account)
    return account


def _open_code(c: store.Connection, email: str, life_s: int) -> tuple[str, int]:
    """Return the code of an address, the one that is open or a new one, and how many seconds it works from now on."""
    at = clock.now()
    kept = accounts.keep_open(c, email, at + life_s, at)
    if kept is None:
        seed = new_secret()
        kept = SignInCode(email, _digest(email, _code(email, seed)), at + life_s, seed=seed)
        accounts.put_code(c, kept)
    return _code(email, kept.seed), kept.expires - at


def _code(email: str, seed: str) -> str:
    number = int(current().sealer.mac(f"sign-in code {email} {seed}"), 16)
    return _fixed_codes().get(email) or f"{number % 10**DIGITS:0{DIGITS}}"


def _send_code(asked: CodeAsked) -> None:
    values = {"brand": current().settings.brand, "code": asked.code, "minutes": asked.left_s // 60}
    text = gettext(
        "Your code to sign in to %(brand)s is %(code)s.\n\n"
        "It works once, in the next %(minutes)d minutes. Type it only at %(brand)s, and tell it to nobody: we never ask "
        "for it.\n\n"
        "If you did not ask for it, you can ignore this message. Nobody can sign in without it.\n",
        **values,
    )
    _send(asked.email, gettext("%(code)s is your %(brand)s sign-in code", **values), text)


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
