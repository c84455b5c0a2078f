"""SMEs' accounts at a CAP's portal, and the sign-in codes sent to them."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Row

from consent_server.store.models import Account, SignInCode, table

_account = table(Account)
_code: Any = table(SignInCode)


def add(c: Connection, *, id: str, email: str, business: str, created: int) -> None:
    c.execute(sa.insert(_account), {"id": id, "email": email, "business": business, "created": created})


def find(c: Connection, account: str) -> Row[Any] | None:
    return c.execute(sa.select(_account).where(_account.c.id == account)).one_or_none()


def by_email(c: Connection, email: str) -> Row[Any] | None:
    return c.execute(sa.select(_account).where(_account.c.email == email)).one_or_none()


def name(c: Connection, account: str, business: str) -> None:
    """Name the business of an account that has no name yet; a name stays."""
    c.execute(sa.update(_account).where(_account.c.id == account, _account.c.business == "").values(business=business))


def put_code(c: Connection, email: str, digest: str, expires: int) -> None:
    """Keep the code sent last; the one before is dead."""
    make = postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert
    values = {"email": email, "digest": digest, "expires": expires, "used": None}
    statement: Any = make(_code).values(values)
    c.execute(statement.on_conflict_do_update(index_elements=["email"], set_=values))


def take_code(c: Connection, email: str, digest: str, at: int) -> bool:
    """Use a code. True once, for the right code in its time."""
    taken = c.execute(
        sa.update(_code)
        .where(_code.c.email == email, _code.c.digest == digest, _code.c.expires > at, _code.c.used.is_(None))
        .values(used=at)
    )
    return taken.rowcount == 1
