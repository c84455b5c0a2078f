"""Pushed authorization requests (RFC 9126)."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.digests import digest
from consent_server.store.rows import table_of
from consent_server.store.tables import PushedRequest

_request = table_of(PushedRequest)
_FIND = sa.select(_request).where(_request.c.digest == sa.bindparam("digest_"))
_CONCLUDE = (
    sa.update(_request)
    .where(_request.c.digest == sa.bindparam("digest_"), _request.c.concluded.is_(None))
    .values(concluded=sa.bindparam("at"))
)


def push(c: Connection, request: PushedRequest) -> None:
    rows.add(c, request)


def find(c: Connection, handle: str) -> PushedRequest | None:
    return rows.one(c, PushedRequest, _FIND, {"digest_": digest(handle)})


def conclude(c: Connection, request: str, at: int) -> bool:
    """Conclude the request with this digest. Return True for the first caller alone: single use in one statement."""
    return c.execute(_CONCLUDE, {"digest_": request, "at": at}).rowcount == 1


def forget(c: Connection, before: int) -> int:
    """Delete requests created before an instant."""
    return c.execute(sa.delete(_request).where(_request.c.created < before)).rowcount
