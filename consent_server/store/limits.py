"""Failures counted under a key in a window of time, shared by every process of a party."""

from functools import cache
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.processes import FailureCount

_count = table_of(FailureCount)
_COUNT = sa.select(_count.c.count).where(
    _count.c.key == sa.bindparam("key_"), _count.c.window == sa.bindparam("window_")
)
_TAKE_BACK = (
    sa.update(_count)
    .where(_count.c.key == sa.bindparam("key_"), _count.c.window == sa.bindparam("window_"), _count.c.count > 0)
    .values(count=_count.c.count - 1)
)
_CLEAR = sa.delete(_count).where(_count.c.key == sa.bindparam("key_"))


@cache
def _add(dialect: str) -> sa.Executable:
    return rows.upsert(dialect, FailureCount, {"count": _count.c.count + 1}).returning(_count.c.count)


class Budget(NamedTuple):
    """How often may be counted under a key in the window that starts at an instant."""

    key: str
    window: int
    most: int


def within(dialect: str) -> sa.Insert:
    """Return what counts once and returns the count, or no row where the budget is used up; its parameters are a Budget."""
    first = rows.insert(dialect, FailureCount).values(
        key=sa.bindparam("key"), window=sa.bindparam("window"), count=sa.literal(1)
    )
    return first.on_conflict_do_update(
        index_elements=_count.primary_key,
        set_={"count": _count.c.count + 1},
        where=_count.c.count < sa.bindparam("most", type_=sa.Integer),
    ).returning(_count.c.count)


def count(c: Connection, key: str, window: int) -> int:
    """Return the number of failures under `key` in the window that starts at `window`."""
    return int(c.execute(_COUNT, {"key_": key, "window_": window}).scalar() or 0)


def add(c: Connection, key: str, window: int) -> int:
    """Count one more failure; return the new count."""
    return int(c.execute(_add(c.dialect.name), FailureCount(key, window, 1)._asdict()).scalar_one())


def take_back(c: Connection, key: str, window: int) -> None:
    """Count one failure less, where there is one."""
    c.execute(_TAKE_BACK, {"key_": key, "window_": window})


def clear(c: Connection, key: str) -> None:
    c.execute(_CLEAR, {"key_": key})
