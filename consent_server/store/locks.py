"""Locks that a transaction holds until it ends, on PostgreSQL: SQLite has a single writer, and needs none.

Grant, redemption, supersession, withdrawal and collection read rows and then write others that depend on them: whether a
permission has been redeemed, what it depends on, whether its connection is in force. Two such transactions of one business
would each act on rows that the other is about to change, so the second waits for the first.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store.statement import Statement

#: PostgreSQL keeps locks of two keys apart from those of one key.
_BUSINESSES = 1
_OF_NAME = sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))")
_BESIDE_OTHERS = sa.text("SELECT pg_advisory_xact_lock_shared(hashtext(:name))")


def of_business(sme: sa.ColumnElement[str]) -> sa.Select[Any]:
    """Return a query that takes the lock of the business in a column, or in a parameter; for `lock_business_of`."""
    return sa.select(sa.func.pg_advisory_xact_lock(_BUSINESSES, sa.func.hashtext(sme)))


_OF_BUSINESS = Statement(of_business(sa.bindparam("sme", type_=sa.Text)))


def lock_business(c: Connection, sme: str) -> None:
    """Wait for other transactions that act on this business's permissions, and make later ones wait for this one.

    What the transaction read before may be out of date.
    """
    lock_business_of(c, _OF_BUSINESS, {"sme": sme})


def lock_business_of(c: Connection, found: Statement, values: Mapping[str, object]) -> None:
    """Do the same for the business that a query finds, if it finds one."""
    if c.dialect.name == "postgresql":
        found.rows(c, values)


def lock_name(c: Connection, name: str) -> None:
    """Wait for other transactions that take the lock of this name, and make later ones wait for this one."""
    if c.dialect.name == "postgresql":
        c.execute(_OF_NAME, {"name": name})


def lock_name_beside_others(c: Connection, name: str) -> None:
    """Wait for a transaction that takes the lock of this name by `lock_name`, and for none that takes it by this function."""
    if c.dialect.name == "postgresql":
        c.execute(_BESIDE_OTHERS, {"name": name})
