"""Readings as day blocks: a day's half-hours of one meter, already in the API's JSON."""

from collections.abc import Collection, Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables import DayBlock

#: The holder of the readings that an EDP has of its own meters.
EDP: Final = "edp"

_block = table_of(DayBlock)


def put_days(c: Connection, holder: str, meter: str, measure: str, days: Mapping[int, bytes]) -> None:
    """Keep day blocks by their day (midnight UTC), replacing what was there."""
    if days:
        rows.put(c, *(DayBlock(holder, meter, measure, day, body) for day, body in days.items()))


def days(c: Connection, holder: str, meter: str, measure: str, start: int, end: int) -> list[tuple[int, bytes]]:
    """Return the blocks of the days from `start` (a midnight) to before `end`, in order."""
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
    """Return the first and the last day held."""
    first, last = c.execute(
        sa.select(sa.func.min(_block.c.day), sa.func.max(_block.c.day)).where(
            _block.c.holder == holder, _block.c.meter == meter, _block.c.measure == measure
        )
    ).one()
    return None if first is None else (first, last)


def first_days(c: Connection, holder: str, meters: Collection[str]) -> dict[str, int]:
    """Return meter -> the first day held of it, for those of which there is one."""
    query = sa.select(_block.c.meter, sa.func.min(_block.c.day)).where(_block.c.holder == holder)
    return {
        meter: day
        for batch in rows.batches(meters)
        for meter, day in c.execute(query.where(_block.c.meter.in_(batch)).group_by(_block.c.meter))
    }


def forget(c: Connection, holder: str) -> int:
    """Delete everything that one connection fetched."""
    return c.execute(sa.delete(_block).where(_block.c.holder == holder)).rowcount
