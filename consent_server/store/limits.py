"""Failures counted under a key in a window of time, shared by every process of a party."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables import FailureCount

_count = table_of(FailureCount)


def count(c: Connection, key: str, window: int) -> int:
    """Return the number of failures under `key` in the window that starts at `window`."""
    query = sa.select(_count.c.count).where(_count.c.key == key, _count.c.window == window)
    return int(c.execute(query).scalar() or 0)


def add(c: Connection, key: str, window: int) -> int:
    """Count one more failure; return the new count."""
    statement = rows.upsert(c, FailureCount, {"count": _count.c.count + 1}).returning(_count.c.count)
    return int(c.execute(statement, FailureCount(key, window, 1)._asdict()).scalar_one())


def take_back(c: Connection, key: str, window: int) -> None:
    """Count one failure less, where there is one."""
    counted = sa.and_(_count.c.key == key, _count.c.window == window, _count.c.count > 0)
    c.execute(sa.update(_count).where(counted).values(count=_count.c.count - 1))


def clear(c: Connection, key: str) -> None:
    c.execute(sa.delete(_count).where(_count.c.key == key))


def forget(c: Connection, before: int) -> int:
    """Delete windows that started before an instant."""
    return c.execute(sa.delete(_count).where(_count.c.window < before)).rowcount
