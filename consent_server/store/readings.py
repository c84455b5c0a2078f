"""Readings as day blocks: a day's half-hours of one meter, already in the API's JSON; and values that were set aside.

A block is kept packed (scheme.packed), and unpacked to be merged. What reads blocks raises DamagedBlock. `days` returns them as
they are kept, and does not look for damage within a packed one.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.scheme.meters import masked
from consent_server.scheme.packed import DamagedBlock, is_packed, pack, require_json, unpack
from consent_server.store import rows
from consent_server.store.locks import lock_name
from consent_server.store.rows import table_of
from consent_server.store.tables.metering import DayBlock, SetAside

#: The holder of the readings that an EDP has of its own meters.
EDP: Final = "edp"

_block = table_of(DayBlock)
_aside = table_of(SetAside)
#: Day blocks that are read at once where a meter's days are followed to their end.
_DAYS: Final = 31
#: Holder, meter, measure and day of a day block.
Key = tuple[str, str, str, int]


def put_days(c: Connection, holder: str, meter: str, measure: str, days: Mapping[int, bytes]) -> None:
    """Keep day blocks by their day (midnight UTC), replacing what was there."""
    put_blocks(c, [DayBlock(holder, meter, measure, day, body) for day, body in days.items()])


def merging(c: Connection) -> None:
    """Make other transactions that merge readings wait until this one ends, so that neither overlooks the other's."""
    lock_name(c, "day_block")


def kept(c: Connection, meters: Collection[str], measure: str, start: int, end: int) -> list[DayBlock]:
    """Return the day blocks that an EDP has of some meters from the day `start` to before `end`, in order."""
    query = sa.select(_block).where(
        _block.c.holder == EDP,
        _block.c.measure == measure,
        _block.c.day >= start,
        _block.c.day < end,
    )
    return [_unpacked(row) for row in rows.every_in(c, DayBlock, query.order_by(_block.c.day), _block.c.meter, meters)]


def having(c: Connection, meters: Collection[str], measure: str, start: int) -> set[str]:
    """Return which of some meters an EDP has day blocks of from the day `start` on."""
    query = sa.select(_block.c.meter).where(_block.c.holder == EDP, _block.c.measure == measure, _block.c.day >= start)
    return {
        row.meter
        for batch in rows.batches(meters)
        for row in c.execute(query.where(_block.c.meter.in_(batch)).distinct())
    }


def before(c: Connection, meter: str, measure: str, day: int) -> DayBlock | None:
    """Return the last day block that an EDP has of a meter before a day and that has half-hours."""
    query = sa.select(_block).where(
        _block.c.holder == EDP,
        _block.c.meter == meter,
        _block.c.measure == measure,
        _block.c.day < day,
        sa.func.length(_block.c.body) > 0,
    )
    row = rows.one(c, DayBlock, query.order_by(_block.c.day.desc()).limit(1))
    return None if row is None else _unpacked(row)


def following(c: Connection, meter: str, measure: str, day: int) -> Iterator[DayBlock]:
    """Yield the day blocks that an EDP has of a meter from a day on, in order, a month at a time."""
    while True:
        query = sa.select(_block).where(
            _block.c.holder == EDP, _block.c.meter == meter, _block.c.measure == measure, _block.c.day >= day
        )
        batch = rows.every(c, DayBlock, query.order_by(_block.c.day).limit(_DAYS))
        yield from map(_unpacked, batch)
        if len(batch) < _DAYS:
            return
        day = batch[-1].day + 1


def put_blocks(c: Connection, blocks: Sequence[DayBlock]) -> None:
    """Keep day blocks, each replacing the one of its day."""
    if blocks:
        rows.put(c, *(row._replace(body=pack(row.body)) for row in blocks))


def repack(c: Connection, begins: bytes, after: Key | None, most: int) -> list[Key]:
    """Turn the first day blocks that begin with some bytes into what they are otherwise, packed or unpacked; return their keys.

    They are those after a key, in order.
    """
    merging(c)
    key = sa.tuple_(*_block.primary_key)
    query = (
        sa.select(_block).where(sa.func.substr(_block.c.body, 1, len(begins)) == begins).order_by(*_block.primary_key)
    )
    if after is not None:
        query = query.where(key > sa.tuple_(*after))
    found = rows.every(c, DayBlock, query.limit(most))
    if found:
        rows.put(c, *map(_otherwise, found))
    return [(row.holder, row.meter, row.measure, row.day) for row in found]


def _otherwise(row: DayBlock) -> DayBlock:
    readable = _unpacked(row)
    return readable if is_packed(row.body) else row._replace(body=pack(row.body))


def set_aside(c: Connection, meters: Collection[str], measure: str, start: int, end: int) -> list[SetAside]:
    """Return what is set aside of some meters for half-hours from `start` to before `end`."""
    query = sa.select(_aside).where(_aside.c.measure == measure, _aside.c.start >= start, _aside.c.start < end)
    return rows.every_in(c, SetAside, query, _aside.c.meter, meters)


def all_aside(c: Connection, limit: int | None = None) -> list[SetAside]:
    """Return what is set aside of all meters, in order of meter, measure and half-hour."""
    order = (_aside.c.meter, _aside.c.measure, _aside.c.start, _aside.c.reason)
    return rows.every(c, SetAside, sa.select(_aside).order_by(*order).limit(limit))


def put_aside(c: Connection, values: Sequence[SetAside]) -> None:
    """Keep values that are set aside, each replacing the one with its half-hour and reason."""
    if values:
        rows.put(c, *values)


def drop_aside(c: Connection, values: Iterable[SetAside]) -> None:
    """Delete values that are no longer set aside."""
    for each in values:
        c.execute(
            sa.delete(_aside).where(
                _aside.c.meter == each.meter,
                _aside.c.measure == each.measure,
                _aside.c.start == each.start,
                _aside.c.reason == each.reason,
            )
        )


def _unpacked(row: DayBlock) -> DayBlock:
    try:
        require_json(row.body, row.day)
        return row._replace(body=unpack(row.body, row.day))
    except DamagedBlock:
        raise DamagedBlock(row.day, f"meter {masked(row.meter)}, {row.measure}: ") from None


def days(c: Connection, holder: str, meter: str, measure: str, start: int, end: int) -> list[DayBlock]:
    """Return the blocks of the days from `start` (a midnight) to before `end` as they are kept, in order."""
    query = sa.select(_block).where(
        _block.c.holder == holder,
        _block.c.meter == meter,
        _block.c.measure == measure,
        _block.c.day >= start,
        _block.c.day < end,
    )
    found = rows.every(c, DayBlock, query.order_by(_block.c.day))
    for row in found:
        require_json(row.body, row.day)
    return found


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
