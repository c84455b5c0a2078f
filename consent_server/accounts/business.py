"""The business that an account is for, and what evidence says of whoever acts for it."""

from typing import Final

from consent_server import store
from consent_server.accounts import passkeys, sign_in
from consent_server.scheme.permission import Who
from consent_server.store import accounts
from consent_server.store.tables.accounts import SmeAccount
from consent_server.web.language import N_

LONGEST_BUSINESS: Final = 120


def name_business(account: str, typed: str) -> str | None:
    """Keep the name of the business that an account is for; return what is wrong with it, or None.

    The first name stays: evidence shows it, and a permission given under one name must not come to show another.
    """
    name = " ".join(typed.split())
    if not 1 < len(name) <= LONGEST_BUSINESS or not name.isprintable():
        return N_("Type the name of your business, as its suppliers know it.")
    with store.writing() as c:
        accounts.name(c, account, name)
    return None


def who(account: SmeAccount, *, by_passkey: bool) -> Who:
    """Return what evidence says of whoever has signed in to an account: by a code, or by a passkey."""
    if by_passkey:
        return {"business": account.business, "method": passkeys.METHOD, "strength": passkeys.STRENGTH}
    return {"business": account.business, "method": sign_in.METHOD, "strength": sign_in.STRENGTH}
