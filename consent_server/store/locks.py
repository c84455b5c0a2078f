"""Locks that a transaction holds until it ends, on PostgreSQL: SQLite has a single writer, and needs none.

Grant, redemption, supersession, withdrawal and collection read rows and then write others because of what they read: whether a
permission has been redeemed, what it rests on, whether its connection is live. Two such transactions of one business would
each act on what the other is about to change, so the second waits for the first.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store.statement import Statement

#: PostgreSQL keeps locks of two keys apart from those of one key.
_OF_BUSINESS = Statement(sa.text("SELECT pg_advisory_xact_lock(1, hashtext(:sme))"))
_OF_NAME = sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))")
_BESIDE_OTHERS = sa.text("SELECT pg_advisory_xact_lock_shared(hashtext(:name))")


def lock_business(c: Connection, sme: str) -> bool:
    """Wait for other transactions that act on this business's permissions, and make later ones wait for this one.

    Return whether what the transaction read before may be out of date.
    """
    if c.dialect.name == "postgresql":
        _OF_BUSINESS.rows(c, {"sme": sme})
        return True
    return False


def lock_name(c: Connection, name: str) -> None:
    """Wait for other transactions that take the lock of this name, and make later ones wait for this one."""
    if c.dialect.name == "postgresql":
        c.execute(_OF_NAME, {"name": name})


def lock_name_beside_others(c: Connection, name: str) -> None:
    """Wait for a transaction that takes the lock of this name by `lock_name`, and for none that takes it by this function."""
    if c.dialect.name == "postgresql":
        c.execute(_BESIDE_OTHERS, {"name": name})
