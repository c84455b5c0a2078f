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


def newest(c: Connection, limit: int = 100, event: str | None = None) -> list[Row[Any]]:
    query = sa.select(_event).order_by(_event.c.id.desc()).limit(limit)
    return list(c.execute(query if event is None else query.where(_event.c.event == event)))
