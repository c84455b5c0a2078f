"""What a CAP has collected through a connection: its meters, their months, and the connection's own months, which are sums."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables import CollectedMeter, CollectedWindow, EmissionsMonth, MeterMonth

_meter = table_of(CollectedMeter)
_month = table_of(MeterMonth)
_sum = table_of(EmissionsMonth)
_window = table_of(CollectedWindow)


class Trouble(NamedTuple):
    """What fails for some meters of one fuel now."""

    fuel: str
    text: str
    meters: int


class GridRegion(NamedTuple):
    """A region of the grid that electricity months of one outcode were worked out with, and how it was found."""

    outcode: str
    region: int
    by: str


def meters(c: Connection, connection: str) -> list[CollectedMeter]:
    """Return the meters of a connection, the one first that is due longest."""
    query = sa.select(_meter).where(_meter.c.connection == connection)
    return rows.every(c, CollectedMeter, query.order_by(_meter.c.due, _meter.c.datasource))


def put_meters(c: Connection, *listed: CollectedMeter) -> None:
    if listed:
        rows.put(c, *listed)


def drop_meters(c: Connection, connection: str, gone: Collection[str]) -> None:
    """Delete meters and all that was collected of them."""
    for batch in rows.batches(gone):
        for kept in (_meter, _month, _window):
            c.execute(sa.delete(kept).where(kept.c.connection == connection, kept.c.datasource.in_(batch)))


def settle_meter(c: Connection, meter: CollectedMeter) -> None:
    """Keep when a meter is due again, and what was the trouble with it."""
    c.execute(
        sa.update(_meter)
        .where(_meter.c.connection == meter.connection, _meter.c.datasource == meter.datasource)
        .values(due=meter.due, failures=meter.failures, trouble=meter.trouble)
    )


def months_of(c: Connection, connection: str, datasource: str) -> dict[int, MeterMonth]:
    """Return the months of one meter by their first instants."""
    query = sa.select(_month).where(_month.c.connection == connection, _month.c.datasource == datasource)
    return {row.start: row for row in rows.every(c, MeterMonth, query)}


def put_months(c: Connection, months: Sequence[MeterMonth]) -> None:
    """Keep months of one connection and one fuel, and bring the connection's own months in line."""
    if months:
        rows.put(c, *months)
        add_up(c, months[0].connection, months[0].fuel, {row.start for row in months})


def put_window(c: Connection, window: CollectedWindow) -> None:
    """Keep a fetched window with its record; those that it covers whole are deleted."""
    covered = sa.and_(_window.c.window_start >= window.window_start, _window.c.window_end <= window.window_end)
    c.execute(
        sa.delete(_window).where(
            _window.c.connection == window.connection,
            _window.c.datasource == window.datasource,
            _window.c.measure == window.measure,
            covered,
        )
    )
    rows.put(c, window)


def add_up(c: Connection, connection: str, fuel: str, starts: Collection[int]) -> None:
    """Work out months of a connection anew from those of its meters.

    A month is complete when every meter of the fuel has all of it. One without any reading is left out.
    """
    of_fuel = (_month.c.connection == connection, _month.c.fuel == fuel, _month.c.start.in_(starts))
    every_meter = sa.select(sa.func.count()).where(_meter.c.connection == connection, _meter.c.fuel == fuel)
    meters_there = c.execute(every_meter).scalar_one()
    query = (
        sa.select(
            _month.c.start,
            sa.func.sum(_month.c.kilograms),
            sa.func.sum(sa.cast(_month.c.complete, sa.Integer)),
            sa.func.max(_month.c.at),
            sa.func.sum(_month.c.amount),
            sa.func.max(_month.c.revised),
        )
        .where(*of_fuel)
        .group_by(_month.c.start)
        .having(sa.func.sum(_month.c.half_hours) > 0)
    )
    sums = [
        EmissionsMonth(connection, fuel, start, kilograms, complete == meters_there, at, amount, revised)
        for start, kilograms, complete, at, amount, revised in c.execute(query)
    ]
    c.execute(sa.delete(_sum).where(_sum.c.connection == connection, _sum.c.fuel == fuel, _sum.c.start.in_(starts)))
    if sums:
        rows.add(c, *sums)


def add_up_all(c: Connection, connection: str) -> None:
    """Work out every month of a connection anew: its meters have changed."""
    of = [sa.select(kept.c.fuel, kept.c.start).where(kept.c.connection == connection) for kept in (_sum, _month)]
    found: dict[str, set[int]] = {}
    for fuel, start in c.execute(sa.union(*of)):
        found.setdefault(fuel, set()).add(start)
    for fuel, starts in found.items():
        add_up(c, connection, fuel, starts)


def lease_weighing(c: Connection, at: int, lease_s: int, most: int) -> list[MeterMonth]:
    """Take months whose grid figures are due, for `lease_s` seconds, the one first that is due longest."""
    key = (_month.c.connection, _month.c.datasource, _month.c.start)
    first = sa.select(*key).where(_month.c.weigh_due <= at).order_by(_month.c.weigh_due).limit(most)
    taken = (
        sa.update(_month)
        .where(sa.tuple_(*key).in_(first.with_for_update(skip_locked=True)))
        .values(weigh_due=at + lease_s)
    )
    return rows.every(c, MeterMonth, taken.returning(*_month.c))


def put_weighed(c: Connection, month: MeterMonth) -> bool:
    """Keep what the grid's figures made of a month; return False where its readings are other ones now, or gone."""
    weighed = ("readings", "kilograms", "complete", "at", "region", "region_by", "weigh_due", "trouble")
    kept = (
        sa.update(_month)
        .where(
            _month.c.connection == month.connection,
            _month.c.datasource == month.datasource,
            _month.c.start == month.start,
            _month.c.digest == month.digest,
            _month.c.readings.is_not(None),
        )
        .values({name: getattr(month, name) for name in weighed})
    )
    return c.execute(kept).rowcount == 1


def troubles(c: Connection, connection: str) -> list[Trouble]:
    """Return what fails now, by fuel, whoever's failure it is."""
    found = []
    for kept in (_meter, _month):
        meters_of = sa.func.count(kept.c.datasource.distinct())
        query = sa.select(kept.c.fuel, kept.c.trouble, meters_of).where(
            kept.c.connection == connection, kept.c.trouble.is_not(None)
        )
        found += [Trouble(*row) for row in c.execute(query.group_by(kept.c.fuel, kept.c.trouble).order_by(kept.c.fuel))]
    return found


def is_weighing(c: Connection, connection: str, start: int, end: int) -> bool:
    """Return whether a month from `start` to before `end` has readings, and the grid's figures were not asked for yet."""
    query = sa.select(sa.literal(1)).where(
        _month.c.connection == connection,
        _month.c.start >= start,
        _month.c.start < end,
        _month.c.weigh_due.is_not(None),
        _month.c.trouble.is_(None),
    )
    return c.execute(query.limit(1)).first() is not None


def grid_regions(c: Connection, connection: str, start: int, end: int) -> list[GridRegion]:
    """Return the regions that months from `start` to before `end` were worked out with, each once."""
    columns = (_month.c.outcode, _month.c.region, _month.c.region_by)
    query = sa.select(*columns).where(
        _month.c.connection == connection, _month.c.start >= start, _month.c.start < end, _month.c.region.is_not(None)
    )
    return [GridRegion(*row) for row in c.execute(query.distinct().order_by(*columns))]


def regions_used(c: Connection, since: int) -> list[int]:
    """Return the regions that months from `since` on were worked out with."""
    query = sa.select(_month.c.region).where(_month.c.start >= since, _month.c.region.is_not(None)).distinct()
    return list(c.execute(query).scalars())


def forget_before(c: Connection, connection: str, oldest: int) -> None:
    """Delete what no report needs any more: months of a connection before an instant, and windows that ended by then."""
    for kept in (_month, _sum):
        c.execute(sa.delete(kept).where(kept.c.connection == connection, kept.c.start < oldest))
    c.execute(sa.delete(_window).where(_window.c.connection == connection, _window.c.window_end <= oldest))


def drop_readings(c: Connection, before: int, first_before: int) -> int:
    """Delete the readings of months that began before an instant and are closed. Return of how many.

    A month is closed when it is complete, or when it was first collected before `first_before`.
    """
    closed = sa.or_(_month.c.complete, _month.c.first < first_before)
    gone = sa.update(_month).where(_month.c.start < before, _month.c.readings.is_not(None), closed)
    return c.execute(gone.values(readings=None, weigh_due=None, trouble=None)).rowcount


def forget(c: Connection, connection: str) -> int:
    """Delete the meters and months of a connection. Return the number of deleted rows."""
    return sum(c.execute(sa.delete(kept).where(kept.c.connection == connection)).rowcount for kept in (_meter, _month))
