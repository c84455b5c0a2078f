"""An SME signs in to its account at a CAP with a code sent to its e-mail address. There is no password to lose."""

import json
import re
import secrets
from typing import Final

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.outbound.errors import Unreachable
from consent_server.refusal import Unavailable
from consent_server.scheme.email import email_address
from consent_server.store import accounts
from consent_server.store.digests import new_id
from consent_server.store.tables import SignInCode, SmeAccount
from consent_server.web import budgets
from consent_server.web.language import N_, gettext

NOT_AN_ADDRESS: Final = N_("Type your e-mail address, such as name@example.com.")
WRONG_CODE: Final = N_(
    "This code is not right, or it is too old. Check the newest e-mail from us, or have a new code sent."
)
#: How the evidence describes an SME that signed in.
METHOD: Final = N_("Signed in to its account with a code sent by e-mail")
STRENGTH: Final = N_("Controls the e-mail address of the account")

_CODE: Final = re.compile(r"[0-9]{6}")


def send_code(typed: str, sender: str, *, opens_account: bool) -> str | None:
    """Send a code to the e-mail address that was typed; return it; None for what is no address.

    `sender` is the network address that asks. Without `opens_account` an address without an account gets a mail that says
    so; the page does not show it: it is the same, takes as long, and fails at the same times. Raise TooMany, and
    Unavailable when mail is down.
    """
    email = email_address(typed)
    if email is None:
        return None
    # Every mail counts, until a code is used.
    budgets.sign_in().take(f"mail {sender}")
    budgets.mails().take(email)
    if opens_account or _has_account(email):
        _send_code(email)
    else:
        _send_no_account(email)
    return email


def check_code(email: str, typed: str, sender: str) -> SmeAccount | None:
    """Return the account of an address whose newest code was typed, once for each code; None for a wrong code.

    An account is made for an address that had none. Raise TooMany.
    """
    # Counted before it is checked, so that guesses sent at the same instant cannot pass together.
    budgets.sign_in().take(f"code {sender}")
    budgets.codes().take(email)
    code = re.sub(r"[\s-]+", "", typed)
    account = _take_code(email, code) if _CODE.fullmatch(code) else None
    if account is not None:
        budgets.codes().clear(email)
        budgets.mails().clear(email)
        # Only what this sign-in took: the owner of one account must not get further guesses at others.
        budgets.sign_in().give_back(f"code {sender}")
        budgets.sign_in().give_back(f"mail {sender}")
    return account


def _has_account(email: str) -> bool:
    with store.reading() as c:
        return accounts.by_email(c, email) is not None


def _take_code(email: str, code: str) -> SmeAccount | None:
    at = clock.now()
    with store.writing() as c:
        if not accounts.take_code(c, email, _digest(email, code), at):
            return None
        account = accounts.by_email(c, email)
        if account is None:
            account = SmeAccount(id=new_id(), email=email, business="", created=at)
            accounts.add(c, account)
        return account


def _send_code(email: str) -> None:
    code = _fixed_codes().get(email) or f"{secrets.randbelow(1_000_000):06d}"
    life_s = current().settings.lifetimes.sign_in_code
    with store.writing() as c:
        accounts.put_code(c, SignInCode(email, _digest(email, code), clock.now() + life_s))
    values = {"brand": current().settings.brand, "code": code, "minutes": life_s // 60}
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
    # Keyed: a stolen table of plain digests of six digits would be a table of codes.
    return current().sealer.mac(f"sign-in {email} {code}")


def _fixed_codes() -> dict[str, str]:
    """Return the fixed codes of the sandbox's SMEs by their addresses; none elsewhere."""
    path = current().settings.sandbox.fixed_codes
    codes: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path else {}
    return codes
