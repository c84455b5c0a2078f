"""SMEs' accounts at a CAP's portal, and the sign-in codes sent to them."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import locks, rows
from consent_server.store.rows import table_of
from consent_server.store.tables.accounts import SignInCode, SmeAccount

_account = table_of(SmeAccount)
_code = table_of(SignInCode)

#: The domain of addresses that nobody has (RFC 2606).
NOBODYS: Final = "@erased.invalid"
#: An erasure has not emptied it. One that it has emptied stays for the connections that refer to it, and is nobody's.
IS_SOMEBODYS: Final = ~_account.c.email.like(f"%{NOBODYS}")


def add(c: Connection, account: SmeAccount) -> None:
    rows.add(c, account)


def find(c: Connection, account: str) -> SmeAccount | None:
    """Return an account; None also for one that an erasure has emptied."""
    return rows.one(c, SmeAccount, sa.select(_account).where(_account.c.id == account, IS_SOMEBODYS))


def hold(c: Connection, account: str) -> SmeAccount | None:
    """Return the account as `find` does, with its business locked: an erasure is over, or waits until the transaction ends."""
    locks.lock_business(c, account)
    return find(c, account)


def by_email(c: Connection, email: str) -> SmeAccount | None:
    return rows.one(c, SmeAccount, sa.select(_account).where(_account.c.email == email))


def name(c: Connection, account: str, business: str) -> None:
    """Name the business of an account that has no name yet; a name stays."""
    unnamed = sa.and_(_account.c.id == account, _account.c.business == "", IS_SOMEBODYS)
    c.execute(sa.update(_account).where(unnamed).values(business=business))


def put_code(c: Connection, code: SignInCode) -> None:
    """Keep the code that works for an address, in place of the one before."""
    rows.put(c, code)


def keep_open(c: Connection, email: str, until: int, at: int) -> SignInCode | None:
    """Return the code of an address that can still be used, and let it work until an instant at least."""
    is_open = sa.and_(_code.c.expires > at, _code.c.used.is_(None), _code.c.seed != "")
    later = sa.case((_code.c.expires > until, _code.c.expires), else_=until)
    query = sa.update(_code).where(_code.c.email == email, is_open).values(expires=later)
    return rows.one(c, SignInCode, query.returning(*_code.c))


def take_code(c: Connection, email: str, digest: str, browser: str, at: int) -> bool:
    """Use a code, for the browser with this handle's digest. Return True once, for the right code in its time."""
    taken = c.execute(
        sa.update(_code)
        .where(_code.c.email == email, _code.c.digest == digest, _code.c.expires > at, _code.c.used.is_(None))
        .values(used=at, used_by=browser)
    )
    return taken.rowcount == 1


def code_was_taken(c: Connection, email: str, digest: str, browser: str, since: int) -> bool:
    """Return whether this very browser has used this code, at an instant or later."""
    used = sa.and_(_code.c.digest == digest, _code.c.used >= since, _code.c.used_by == browser)
    return c.execute(sa.select(_code.c.email).where(_code.c.email == email, used)).one_or_none() is not None
