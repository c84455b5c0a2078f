"""Permissions that SMEs granted at our issuer. There is one row per grant; it ends once and is never overwritten."""

import sqlite3
import threading
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.scheme.permission import Act
from consent_server.store import ending, locks, rows
from consent_server.store.database import ask, db, is_sqlite
from consent_server.store.faults import StoreUnavailable
from consent_server.store.rows import table_of
from consent_server.store.statement import Statement
from consent_server.store.tables.permissions import Permission

MOST_REMEMBERED = 10_000

_permission = table_of(Permission)
_BY_ID = Statement(sa.select(_permission).where(_permission.c.id == sa.bindparam("id_")))
_LOCK = Statement(locks.of_business(_permission.c.sme).where(_permission.c.id == sa.bindparam("id_")))
_BY_REFRESH_ID = Statement(sa.select(_permission).where(_permission.c.refresh_id == sa.bindparam("refresh_id_")))
_BY_INDEX = Statement(sa.select(_permission).where(_permission.c.status_index == sa.bindparam("index_")))
_ENDED_AT_INDEX = Statement(
    sa.select(_permission.c.status_index, _permission.c.ended).where(
        _permission.c.status_index == sa.bindparam("index_")
    )
)
_OF_SME = (
    sa.select(_permission)
    .where(_permission.c.sme == sa.bindparam("sme_"))
    .order_by(_permission.c.granted.desc(), _permission.c.status_index.desc())
)
_AFTER_THE_LAST = sa.select(sa.func.coalesce(sa.func.max(_permission.c.status_index), -1) + 1)
#: On PostgreSQL alone.
_SEQUENCE = sa.Sequence("permission_status_index", start=0, minvalue=0, metadata=db.metadata)
_SKIP = sa.text("SELECT count(nextval('permission_status_index')) FROM generate_series(1, :count)")
_LIVE = Statement(
    sa.select(_permission)
    .where(
        _permission.c.client_id == sa.bindparam("client_id_"),
        _permission.c.sme == sa.bindparam("sme_"),
        _permission.c.ended.is_(None),
        _permission.c.expires > sa.bindparam("at"),
    )
    .order_by(_permission.c.status_index.desc())
)
_ANY_REDEEMED = sa.select(_permission.c.id).where(_permission.c.redeemed.is_not(None)).limit(1)
_REDEEM = Statement(
    sa.update(_permission).where(_permission.c.id == sa.bindparam("id_")).values(redeemed=sa.bindparam("at"))
)


def add(c: Connection, permission: Permission) -> Permission:
    """Keep a new grant; return it with its status index (one per permission, from 0; a failed grant may leave a gap)."""
    numbered = permission._replace(status_index=_next_index(c))
    rows.add(c, numbered)
    return numbered


def _next_index(c: Connection) -> int:
    """Return an index that no other grant has or gets, without waiting for other grants."""
    if c.dialect.name == "sqlite":  # it has one writer
        return int(c.execute(_AFTER_THE_LAST).scalar_one())
    # A node of the version before, while nodes are replaced, takes this lock alone and the index after the last.
    locks.lock_name_beside_others(c, "permission.status_index")
    while True:
        index = int(c.execute(sa.select(_SEQUENCE.next_value())).scalar_one())
        if _ENDED_AT_INDEX.row(c, {"index_": index}) is None:
            return index
        # Data may have been restored without the sequence. A later grant has a higher index, so gaps are not filled.
        c.execute(_SKIP, {"count": c.execute(_AFTER_THE_LAST).scalar_one() - 1 - index})


def find(c: Connection, permission: str) -> Permission | None:
    return rows.one(c, Permission, _BY_ID, {"id_": permission})


def refresh_ids(c: Connection, permissions: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return permission -> the version of the key and the id of its refresh token, for those that are kept."""
    found: dict[str, tuple[int, str]] = {}
    for batch in rows.batches(permissions):
        query = sa.select(_permission.c.id, _permission.c.refresh_version, _permission.c.refresh_id)
        found |= {id_: (version, of) for id_, version, of in c.execute(query.where(_permission.c.id.in_(batch)))}
    return found


def hold(c: Connection, permission: str) -> Permission | None:
    """Return the permission as `find` does, with its business locked."""
    locks.lock_business_of(c, _LOCK, {"id_": permission})
    return find(c, permission)


def by_refresh_id(refresh_id: str) -> Permission | None:
    """Return the permission, without a transaction."""
    return rows.ask(Permission, _BY_REFRESH_ID, {"refresh_id_": refresh_id})


def by_status_index(index: int) -> Permission | None:
    """Return the permission, without a transaction."""
    return rows.ask(Permission, _BY_INDEX, {"index_": index})


def live(c: Connection, *, at: int, client_id: str, sme: str) -> list[Permission]:
    """Return the permissions of a client and an SME that hold at an instant, newest first."""
    return rows.every(c, Permission, _LIVE, {"at": at, "client_id_": client_id, "sme_": sme})


def living(c: Connection, at: int) -> list[str]:
    """Return the id of every permission that holds at an instant, oldest first."""
    holds = sa.and_(_permission.c.ended.is_(None), _permission.c.expires > at)
    return list(c.execute(sa.select(_permission.c.id).where(holds).order_by(_permission.c.status_index)).scalars())


def of_sme(c: Connection, sme: str) -> list[Permission]:
    """Return every grant that an SME ever made here, newest first."""
    return rows.every(c, Permission, _OF_SME, {"sme_": sme})


def any_redeemed(c: Connection) -> bool:
    """Return whether a client was ever given tokens."""
    return c.execute(_ANY_REDEEMED).first() is not None


def redeem(c: Connection, permission: str, at: int) -> None:
    """Record when the permission's code was redeemed, which is when its refresh token was issued."""
    _REDEEM.run(c, {"id_": permission, "at": at})


def end(c: Connection, permission: Permission, act: Act, *, at: int, by: str, where: str, why: str) -> bool:
    """Return True for the one call that ended this permission."""
    return ending.end(c, permission, act, at, ended_by=by, ended_where=where, ended_why=why)


def ending_within(c: Connection, after: int, until: int) -> int:
    """Return how many live permissions that are in use end by themselves after an instant and by another."""
    time = sa.and_(_permission.c.expires > after, _permission.c.expires <= until)
    live = sa.and_(_permission.c.ended.is_(None), _permission.c.redeemed.is_not(None))
    return c.execute(sa.select(sa.func.count()).where(live, time)).scalar_one()


class _EndedHere:
    """Which permissions have ended, remembered until another connection changes this process's SQLite file.

    `PRAGMA data_version` shows a change within microseconds, if the same connection always reads it. An index that no
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
                # A connection of its own: data_version shows others' writes only, and one from the pool also writes.
                self.raw = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=0.1)
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
    """Return whether the permission with this status index has ended before its time."""
    if is_sqlite():
        try:
            return _ended_here(index)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"sqlite3.{type(error).__name__}") from error
    row = ask(_ENDED_AT_INDEX, {"index_": index})  # not the row: that of a business with many meters is long
    return row is None or row[1] is not None
