"""Server-side sessions: the browser holds an opaque id, the data stays here."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.digests import digest
from consent_server.store.rows import table_of
from consent_server.store.tables.sessions import SessionData, SessionRow

_session = table_of(SessionRow)
_FIND = sa.select(_session).where(
    _session.c.digest == sa.bindparam("digest_"), _session.c.kind == sa.bindparam("kind_")
)


_IS_IT = _session.c.digest == sa.bindparam("digest_")
_TOUCH = sa.update(_session).where(_IS_IT).values(seen=sa.bindparam("at"))
_KEEP = _TOUCH.values(data=sa.bindparam("data_", type_=sa.JSON))
_END = sa.delete(_session).where(_IS_IT)


def make(c: Connection, secret: str, kind: str, data: SessionData, at: int) -> None:
    rows.add(c, SessionRow(digest(secret), kind, data, created=at, seen=at))


def find(c: Connection, secret: str, kind: str) -> SessionRow | None:
    return rows.one(c, SessionRow, _FIND, {"digest_": digest(secret), "kind_": kind})


def touch(c: Connection, secret: str, at: int, data: SessionData | None = None) -> None:
    values = {"digest_": digest(secret), "at": at}
    c.execute(*((_TOUCH, values) if data is None else (_KEEP, {**values, "data_": data})))


def end(c: Connection, secret: str) -> None:
    c.execute(_END, {"digest_": digest(secret)})
