"""Incidents and planned downtime."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.status import StatusNotice

_notice = table_of(StatusNotice)


def put(c: Connection, notice: StatusNotice) -> None:
    rows.put(c, notice)


def find(c: Connection, notice: str) -> StatusNotice | None:
    """Return a notice, which no other transaction changes before this one ends."""
    return rows.one(c, StatusNotice, sa.select(_notice).where(_notice.c.id == notice).with_for_update())


def since(c: Connection, start: int) -> list[StatusNotice]:
    """Return the notices that are in force at an instant or later, newest first."""
    not_over = sa.or_(_notice.c.ends.is_(None), _notice.c.ends > start)
    return rows.every(
        c, StatusNotice, sa.select(_notice).where(not_over).order_by(_notice.c.begins.desc(), _notice.c.id)
    )
