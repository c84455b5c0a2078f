"""Readings as day blocks: a day's half-hours of one meter, already in the API's JSON."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from consent_server.store.models import DayBlock, table

_block: Any = table(DayBlock)
_KEY = ("holder", "meter", "measure", "day")


def put_days(c: Connection, holder: str, meter: str, measure: str, days: Mapping[int, bytes]) -> None:
    """Keep day blocks by their day (midnight UTC), replacing what was there."""
    if not days:
        return
    make = postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert
    statement: Any = make(_block)
    statement = statement.on_conflict_do_update(index_elements=_KEY, set_={"body": statement.excluded.body})
    rows = [
        {"holder": holder, "meter": meter, "measure": measure, "day": day, "body": body} for day, body in days.items()
    ]
    c.execute(statement, rows)


def days(c: Connection, holder: str, meter: str, measure: str, start: int, end: int) -> list[tuple[int, bytes]]:
    """The blocks of the days from `start` (a midnight) to before `end`, in order."""
    query = (
        sa.select(_block.c.day, _block.c.body)
        .where(
            _block.c.holder == holder,
            _block.c.meter == meter,
            _block.c.measure == measure,
            _block.c.day >= start,
            _block.c.day < end,
        )
        .order_by(_block.c.day)
    )
    return [(row.day, row.body) for row in c.execute(query)]


def extent(c: Connection, holder: str, meter: str, measure: str) -> tuple[int, int] | None:
    """The first and the last day held."""
    first, last = c.execute(
        sa.select(sa.func.min(_block.c.day), sa.func.max(_block.c.day)).where(
            _block.c.holder == holder, _block.c.meter == meter, _block.c.measure == measure
        )
    ).one()
    return None if first is None else (first, last)


def forget(c: Connection, holder: str) -> int:
    """Delete everything that one connection fetched."""
    return c.execute(sa.delete(_block).where(_block.c.holder == holder)).rowcount
