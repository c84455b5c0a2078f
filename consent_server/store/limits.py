"""Failures counted under a key in a window of time, shared by every process of a party."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from consent_server.store.models import Attempt, table

_attempt: Any = table(Attempt)


def count(c: Connection, key: str, window: int) -> int:
    """How many failures are counted under `key` in the window that starts at `window`."""
    query = sa.select(_attempt.c.count).where(_attempt.c.key == key, _attempt.c.window == window)
    return int(c.execute(query).scalar() or 0)


def add(c: Connection, key: str, window: int) -> int:
    """Count one more failure; answers the new count."""
    make = postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert
    statement: Any = make(_attempt).values(key=key, window=window, count=1)
    statement = statement.on_conflict_do_update(
        index_elements=["key", "window"], set_={"count": _attempt.c.count + 1}
    ).returning(_attempt.c.count)
    return int(c.execute(statement).scalar_one())


def take_back(c: Connection, key: str, window: int) -> None:
    """Count one failure less, where there is one."""
    counted = sa.and_(_attempt.c.key == key, _attempt.c.window == window, _attempt.c.count > 0)
    c.execute(sa.update(_attempt).where(counted).values(count=_attempt.c.count - 1))


def clear(c: Connection, key: str) -> None:
    c.execute(sa.delete(_attempt).where(_attempt.c.key == key))


def forget(c: Connection, before: int) -> int:
    """Delete windows that started before an instant."""
    return c.execute(sa.delete(_attempt).where(_attempt.c.window < before)).rowcount
