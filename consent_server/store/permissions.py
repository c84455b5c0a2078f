"""Permissions that SMEs granted at our issuer. One row per grant; a row ends once and is never overwritten."""

import sqlite3
import threading
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from consent_server.store.database import StoreUnavailable, db, reading
from consent_server.store.models import Permission, table

MOST_REMEMBERED = 10_000

_permission = table(Permission)
_BY_ID = sa.select(_permission).where(_permission.c.id == sa.bindparam("id_"))
_BY_REFRESH_ID = sa.select(_permission).where(_permission.c.refresh_id == sa.bindparam("refresh_id_"))
_BY_INDEX = sa.select(_permission).where(_permission.c.status_index == sa.bindparam("index_"))
_NEXT_INDEX = sa.select(sa.func.coalesce(sa.func.max(_permission.c.status_index), -1) + 1).scalar_subquery()
_ADD = sa.insert(_permission).values(status_index=_NEXT_INDEX).returning(_permission.c.status_index)
_REDEEM = sa.update(_permission).where(_permission.c.id == sa.bindparam("id_")).values(redeemed=sa.bindparam("at"))
_END = (
    sa.update(_permission)
    .where(_permission.c.id == sa.bindparam("id_"), _permission.c.ended.is_(None))
    .values(
        ended=sa.bindparam("at"),
        ended_as=sa.bindparam("as_"),
        ended_by=sa.bindparam("by_"),
        ended_where=sa.bindparam("where_"),
        ended_why=sa.bindparam("why_"),
    )
)
_COUNT = sa.select(sa.func.coalesce(sa.func.max(_permission.c.status_index), -1) + 1)
_ENDED = sa.select(_permission.c.status_index).where(_permission.c.ended.is_not(None))


def add(c: Connection, **values: Any) -> int:
    """Keep a new grant; answers its status index (one per permission, from 0)."""
    if c.dialect.name == "postgresql":
        # Two grants must not read the same maximum: SQLite's single writer sees to that, here a lock does.
        c.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('permission.status_index'))"))
    return int(c.execute(_ADD, values).scalar_one())


def find(c: Connection, permission: str) -> Row[Any] | None:
    return c.execute(_BY_ID, {"id_": permission}).one_or_none()


def by_refresh_id(c: Connection, refresh_id: str) -> Row[Any] | None:
    return c.execute(_BY_REFRESH_ID, {"refresh_id_": refresh_id}).one_or_none()


def by_status_index(c: Connection, index: int) -> Row[Any] | None:
    return c.execute(_BY_INDEX, {"index_": index}).one_or_none()


def live(c: Connection, *, at: int, client_id: str | None = None, sme: str | None = None) -> list[Row[Any]]:
    """Permissions that hold at an instant, newest first."""
    query = sa.select(_permission).where(_permission.c.ended.is_(None), _permission.c.expires > at)
    if client_id is not None:
        query = query.where(_permission.c.client_id == client_id)
    if sme is not None:
        query = query.where(_permission.c.sme == sme)
    return list(c.execute(query.order_by(_permission.c.status_index.desc())))


def of_sme(c: Connection, sme: str) -> list[Row[Any]]:
    """Every grant that an SME ever made here, newest first."""
    return list(
        c.execute(sa.select(_permission).where(_permission.c.sme == sme).order_by(_permission.c.status_index.desc()))
    )


def redeem(c: Connection, permission: str, at: int) -> None:
    """Note when the permission's code was redeemed, which is when its refresh token was issued."""
    c.execute(_REDEEM, {"id_": permission, "at": at})


def end(c: Connection, permission: str, *, at: int, ended_as: str, by: str, where: str, why: str) -> bool:
    """End a permission. True for the one call that ended it."""
    values = {"id_": permission, "at": at, "as_": ended_as, "by_": by, "where_": where, "why_": why}
    return c.execute(_END, values).rowcount == 1


def ended_indices(c: Connection) -> list[int]:
    """The status indices of all permissions that ended before their time."""
    return [int(index) for index in c.execute(_ENDED).scalars()]


def count(c: Connection) -> int:
    """How many status indices are given out: the length of the status list."""
    return int(c.execute(_COUNT).scalar_one())


class _EndedHere:
    """Which permissions have ended, remembered until another connection changes this process's SQLite file.

    `PRAGMA data_version` tells of a change in microseconds, provided that one connection keeps asking. An index that no
    permission has, as after a restored backup, counts as ended.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.file = ""
        self.raw: sqlite3.Connection | None = None
        self.version = -1
        self.known: dict[int, bool] = {}

    def __call__(self, index: int) -> bool:
        with self.lock:
            file = str(db.engine.url.database)
            if self.raw is None or file != self.file:
                # A connection of its own: data_version tells of others' writes only, and one from the pool also writes.
                self.raw = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=5)
                self.file, self.version = file, -1
            version = self.raw.execute("PRAGMA data_version").fetchone()[0]
            if version != self.version or len(self.known) > MOST_REMEMBERED:
                self.version, self.known = version, {}
            if index not in self.known:
                row = self.raw.execute("SELECT ended FROM permission WHERE status_index = ?", (index,)).fetchone()
                self.known[index] = row is None or row[0] is not None
            return self.known[index]


_ended_here = _EndedHere()


def is_ended(index: int) -> bool:
    """Whether the permission with this status index has ended before its time, as of now."""
    if db.engine.dialect.name == "sqlite":
        try:
            return _ended_here(index)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"sqlite3.{type(error).__name__}") from error
    with reading() as c:
        row = by_status_index(c, index)
        return row is None or row.ended is not None
