"""Accounts at a CAP: an SME signs in with a code sent to its e-mail address. There is no password to lose."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consent_server import clock, store
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.mail import Mail
from consent_server.refusal import Unavailable
from consent_server.store import accounts
from consent_server.store.digests import new_id
from consent_server.store.sealing import Sealer

LONGEST_BUSINESS = 120

_EMAIL = re.compile(r"[^\s@<>\"(),:;\\]{1,64}@[^\s@<>\"(),:;\\]{1,189}")
_CODE = re.compile(r"[0-9]{6}")


@dataclass(frozen=True)
class Account:
    """A signed-in SME. `business` is empty until it is known."""

    sme: str
    business: str


def address(typed: str) -> str | None:
    """The e-mail address in what was typed, in the one spelling that we keep; None when there is none."""
    email = typed.strip().lower()
    return email if _EMAIL.fullmatch(email) else None


@dataclass(frozen=True)
class Accounts:
    """`life_s` is how long a code lives; `brand` is our own name; `fixed` gives the sandbox's SMEs their fixed codes and is
    empty elsewhere."""

    sealer: Sealer
    mail: Mail
    life_s: int
    brand: Callable[[], str]
    fixed: Mapping[str, str]

    def send_code(self, email: str) -> None:
        """Send a new code to this address, whether it has an account or not. Raises Unavailable when mail is down."""
        code = self.fixed.get(email) or f"{secrets.randbelow(1_000_000):06d}"
        with store.writing() as c:
            accounts.put_code(c, email, self._digest(email, code), clock.now() + self.life_s)
        brand = self.brand()
        text = (
            f"Your code to sign in to {brand} is {code}.\n\n"
            f"It works once, in the next {self.life_s // 60} minutes. Type it only at {brand}, and tell it to nobody: we "
            "never ask for it.\n\n"
            "If you did not ask for it, you can ignore this message. Nobody can sign in without it.\n"
        )
        self._send(email, f"{code} is your {brand} sign-in code", text)

    def send_code_if_known(self, email: str) -> None:
        """Send a code if this address has an account, and else a message that it has none.

        Who asks learns nothing: the answer is the same, takes as long, and fails with Unavailable at the same times.
        """
        with store.reading() as c:
            known = accounts.by_email(c, email) is not None
        if known:
            self.send_code(email)
            return
        brand = self.brand()
        text = (
            f"Somebody, probably you, wanted to sign in to {brand} with this address. There is no account with it.\n\n"
            "If you have an account, it has another address: sign in with that one. If this was not you, you can ignore "
            "this message.\n"
        )
        self._send(email, f"No {brand} account with this address", text)

    def check_code(self, email: str, code: str) -> Account | None:
        """The account of this address, once for each code; one is made for an address that had none."""
        typed = re.sub(r"[\s-]+", "", code)
        at = clock.now()
        if not _CODE.fullmatch(typed):
            return None
        with store.writing() as c:
            if not accounts.take_code(c, email, self._digest(email, typed), at):
                return None
            row = accounts.by_email(c, email)
            if row is None:
                new = Account(new_id(), "")
                accounts.add(c, id=new.sme, email=email, business="", created=at)
                return new
            return Account(row.id, row.business)

    def _send(self, email: str, subject: str, text: str) -> None:
        try:
            self.mail.send(email, subject, text)
        except (Unreachable, ValueError) as error:
            raise Unavailable(f"mail: {type(error).__name__}") from None

    def _digest(self, email: str, code: str) -> str:
        # Keyed: a stolen table of plain digests of six digits would be a table of codes.
        return self.sealer.mac(f"sign-in {email} {code}")


def name_business(account: str, typed: str) -> str | None:
    """Keep the name of the business that an account is for; what is wrong with it, or None.

    It is asked for once: evidence names it, so a permission given under one name must not come to show another.
    """
    name = " ".join(typed.split())
    if not 1 < len(name) <= LONGEST_BUSINESS or not name.isprintable():
        return "Type the name of your business, as its suppliers know it."
    with store.writing() as c:
        accounts.name(c, account, name)
    return None
