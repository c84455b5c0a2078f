"""SMEs' accounts at a CAP's portal, and the sign-in codes sent to them."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables import SignInCode, SmeAccount

_account = table_of(SmeAccount)
_code = table_of(SignInCode)


def add(c: Connection, account: SmeAccount) -> None:
    rows.add(c, account)


def find(c: Connection, account: str) -> SmeAccount | None:
    return rows.one(c, SmeAccount, sa.select(_account).where(_account.c.id == account))


def by_email(c: Connection, email: str) -> SmeAccount | None:
    return rows.one(c, SmeAccount, sa.select(_account).where(_account.c.email == email))


def name(c: Connection, account: str, business: str) -> None:
    """Name the business of an account that has no name yet; a name stays."""
    c.execute(sa.update(_account).where(_account.c.id == account, _account.c.business == "").values(business=business))


def put_code(c: Connection, code: SignInCode) -> None:
    """Keep the code sent last; the one before no longer works."""
    rows.put(c, code)


def take_code(c: Connection, email: str, digest: str, at: int) -> bool:
    """Use a code. Return True once, for the right code in its time."""
    taken = c.execute(
        sa.update(_code)
        .where(_code.c.email == email, _code.c.digest == digest, _code.c.expires > at, _code.c.used.is_(None))
        .values(used=at)
    )
    return taken.rowcount == 1
