"""Pushed authorization requests (RFC 9126)."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from consent_server.store.digests import digest
from consent_server.store.models import PushedRequest, table

_request = table(PushedRequest)
_INSERT = sa.insert(_request)
_FIND = sa.select(_request).where(_request.c.digest == sa.bindparam("digest_"))
_CONCLUDE = (
    sa.update(_request)
    .where(_request.c.digest == sa.bindparam("digest_"), _request.c.concluded.is_(None))
    .values(concluded=sa.bindparam("at"))
)


def push(c: Connection, handle: str, **values: Any) -> None:
    """Keep a pushed request under the digest of its handle."""
    c.execute(_INSERT, {"digest": digest(handle), **values})


def find(c: Connection, handle: str) -> Row[Any] | None:
    return c.execute(_FIND, {"digest_": digest(handle)}).one_or_none()


def conclude(c: Connection, request: str, at: int) -> bool:
    """Conclude the request with this digest. True for the first caller alone: single use in one statement."""
    return c.execute(_CONCLUDE, {"digest_": request, "at": at}).rowcount == 1


def forget(c: Connection, before: int) -> int:
    """Delete requests created before an instant."""
    return c.execute(sa.delete(_request).where(_request.c.created < before)).rowcount
