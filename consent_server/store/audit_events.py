"""Grants, decisions and withdrawals as events, written in the transaction of the act that they record."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables import KeptEvent

_event = table_of(KeptEvent)
_OWN_COLUMNS = ("at", "event", "correlation_id")


def keep(c: Connection, event: dict[str, object]) -> None:
    """Keep what `audit.event` returned."""
    fields = {name: value for name, value in event.items() if name not in _OWN_COLUMNS}
    c.execute(sa.insert(_event), {"fields": fields, **{name: event[name] for name in _OWN_COLUMNS}})


def newest(
    c: Connection, limit: int = 100, *, event: str | None = None, subject: str | None = None, since: int | None = None
) -> list[KeptEvent]:
    """Return the newest events, oldest of them first: of one name, about one permission or connection, from an instant on."""
    query = sa.select(_event)
    if event is not None:
        query = query.where(_event.c.event == event)
    if subject is not None:
        about = (_event.c.fields[name].as_string() == subject for name in ("permission", "connection", "by"))
        query = query.where(sa.or_(*about))
    if since is not None:
        query = query.where(_event.c.at >= since)
    return rows.every(c, KeptEvent, query.order_by(_event.c.id.desc()).limit(limit))[::-1]
