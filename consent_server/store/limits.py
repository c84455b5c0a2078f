"""What is counted under a key in a window of time, mostly failures, shared by every process of a party."""

from functools import cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.limits import FailureCount

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
#: Rows of one budget that many use at once. A row that is counted up stays locked until its transaction is on the disk: each
#: push of a client would wait for the one before it.
PARTS: Final = 16


@cache
def _add(dialect: str) -> sa.Executable:
    return rows.upsert(dialect, FailureCount, {"count": _count.c.count + 1}).returning(_count.c.count)


class Budget(NamedTuple):
    """How often may be counted under a key in the window that starts at an instant."""

    key: str
    window: int
    most: int


def within(dialect: str) -> sa.Insert:
    """Return what counts once and returns a row, or none where the budget is used up; its parameters are a Budget.

    On PostgreSQL the budget is divided among PARTS rows. It is never exceeded; of those that come at once at its end some may
    be refused while there is room.
    """
    key, window = (sa.bindparam(column.name, type_=column.type) for column in (_count.c.key, _count.c.window))
    most = sa.bindparam("most", type_=sa.BigInteger)
    if dialect != "postgresql":
        return _counting(dialect, {"key": key, "window": window}, most)
    numbers = (
        sa.func.generate_series(0, PARTS - 1).table_valued(sa.column("number", sa.Integer)).render_derived("numbers")
    )
    part = key + "/" + sa.cast(numbers.c.number, sa.Text)
    share = (most + numbers.c.number) // PARTS  # together they are `most`
    free = (
        sa.select(part.label("key"), share.label("share"))
        .join_from(numbers, _count, sa.and_(_count.c.key == part, _count.c.window == window), isouter=True)
        .where(sa.func.coalesce(_count.c.count, 0) < share)
        .order_by(sa.func.random())
        .limit(1)
        .cte("free")
    )
    return _counting(dialect, {"key": free.c.key, "window": window}, sa.select(free.c.share).scalar_subquery())


def _counting(dialect: str, row: dict[str, sa.ColumnElement[Any]], most: sa.ColumnElement[int]) -> sa.Insert:
    # Without WHERE, SQLite would take the ON behind a SELECT for that of a join (sqlite.org, "UPSERT", section 2.2).
    values = sa.select(*row.values(), sa.literal(1)).where(sa.true())
    return (
        rows.insert(dialect, FailureCount)
        .from_select([*row, "count"], values)
        .on_conflict_do_update(
            index_elements=_count.primary_key, set_={"count": _count.c.count + 1}, where=_count.c.count < most
        )
        .returning(_count.c.count)
    )


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
