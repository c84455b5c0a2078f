"""Server-side sessions: the browser holds an opaque id, the data stays here."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from consent_server.store.digests import digest
from consent_server.store.models import Session, table

_session = table(Session)


def make(c: Connection, secret: str, kind: str, data: dict[str, Any], at: int) -> None:
    c.execute(sa.insert(_session), {"digest": digest(secret), "kind": kind, "data": data, "created": at, "seen": at})


def find(c: Connection, secret: str, kind: str) -> Row[Any] | None:
    return c.execute(
        sa.select(_session).where(_session.c.digest == digest(secret), _session.c.kind == kind)
    ).one_or_none()


def touch(c: Connection, secret: str, at: int, data: dict[str, Any] | None = None) -> None:
    values: dict[str, Any] = {"seen": at} if data is None else {"seen": at, "data": data}
    c.execute(sa.update(_session).where(_session.c.digest == digest(secret)).values(values))


def end(c: Connection, secret: str) -> None:
    c.execute(sa.delete(_session).where(_session.c.digest == digest(secret)))


def forget(c: Connection, before: int) -> int:
    """Delete sessions not seen since an instant."""
    return c.execute(sa.delete(_session).where(_session.c.seen < before)).rowcount
