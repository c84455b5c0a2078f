"""Grants, decisions and withdrawals as events, written in the transaction of the act that they record."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from consent_server.store.models import AuditEvent, table

_event = table(AuditEvent)


def keep(c: Connection, event: dict[str, Any]) -> None:
    """Keep what `audit.event` returned."""
    fields = {name: value for name, value in event.items() if name not in {"at", "event", "correlation_id"}}
    row = {"at": event["at"], "event": event["event"], "correlation_id": event["correlation_id"], "fields": fields}
    c.execute(sa.insert(_event), row)


def newest(
    c: Connection, limit: int = 100, *, event: str | None = None, subject: str | None = None, since: int | None = None
) -> list[Row[Any]]:
    """The newest events, oldest of them first; of one name, about one permission or connection, from an instant on."""
    query = sa.select(_event)
    if event is not None:
        query = query.where(_event.c.event == event)
    if subject is not None:
        about = (_event.c.fields[name].as_string() == subject for name in ("permission", "connection", "by"))
        query = query.where(sa.or_(*about))
    if since is not None:
        query = query.where(_event.c.at >= since)
    return list(c.execute(query.order_by(_event.c.id.desc()).limit(limit)))[::-1]
