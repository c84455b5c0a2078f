"""What a CAP has collected through a connection: its meters and their months."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import due, rows
from consent_server.store.rows import table_of
from consent_server.store.tables.collecting import CollectedMeter, CollectedWindow, MeterMonth, ProviderConnection

_meter = table_of(CollectedMeter)
_month = table_of(MeterMonth)
_window = table_of(CollectedWindow)
_connection = table_of(ProviderConnection)
_MONTHS_OF: Final = sa.select(_month).where(
    _month.c.connection == sa.bindparam("of_connection"), _month.c.datasource == sa.bindparam("of_datasource")
)
#: What the grid's figures change of a month, and by what it is found: the key, and the digest of its readings.
_WEIGHED: Final = (
    *("amount", "kilograms", "complete", "unknown", "filled", "at"),  # what was worked out
    *("readings", "region", "region_by", "weigh_due", "trouble"),
)
_HELD: Final = ("connection", "datasource", "start", "digest")
_PUT_WEIGHED: Final = sa.update(_month).where(
    *(_month.c[name] == sa.bindparam(f"of_{name}") for name in _HELD),
    _month.c.readings.is_not(None),
)


class Trouble(NamedTuple):
    """What fails for some meters of one fuel now."""

    fuel: str
    text: str
    meters: int


class Extent(NamedTuple):
    """What was fetched: from which instant until when, of how many meters, in how many responses."""

    first: int
    end: int
    meters: int
    responses: int


def meters(c: Connection, connection: str) -> list[CollectedMeter]:
    """Return the meters of a connection, the one first that is due longest."""
    query = sa.select(_meter).where(_meter.c.connection == connection)
    return rows.every(c, CollectedMeter, query.order_by(_meter.c.due, _meter.c.datasource))


def places(c: Connection, connection: str) -> list[tuple[str, str, int]]:
    """Return how many meters of a fuel a connection has in a district: (fuel, outcode, count)."""
    of = (_meter.c.fuel, _meter.c.outcode)
    query = sa.select(*of, sa.func.count()).where(_meter.c.connection == connection).group_by(*of).order_by(*of)
    return [(row[0], row[1], row[2]) for row in c.execute(query)]


def extent(c: Connection, connection: str) -> Extent | None:
    """Return how much was fetched through a connection; None where nothing was."""
    of = sa.select(
        sa.func.min(_window.c.window_start),
        sa.func.max(_window.c.window_end),
        sa.func.count(_window.c.datasource.distinct()),
        sa.func.count(),
    )
    found = c.execute(of.where(_window.c.connection == connection)).one()
    return Extent(*found) if found[0] is not None else None


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
    of = {"of_connection": connection, "of_datasource": datasource}
    return {row.start: row for row in rows.every(c, MeterMonth, _MONTHS_OF, of)}


def figures(c: Connection, connection: str, start: int, end: int) -> list[MeterMonth]:
    """Return the months of all meters of a connection with `start` <= first instant < `end`, without their readings."""
    columns = [sa.null().label(each.name) if each is _month.c.readings else each for each in _month.c]
    query = sa.select(*columns).where(
        _month.c.connection == connection, _month.c.start >= start, _month.c.start < end, _month.c.half_hours > 0
    )
    return rows.every(c, MeterMonth, query.order_by(_month.c.fuel, _month.c.datasource, _month.c.start))


def whole_months(c: Connection, connections: Collection[str], fuel: str) -> list[tuple[int, str]]:
    """Return the first instants of the months that every meter of a fuel has whole, in order, each with the `basis` that the
    meters' figures have in common."""
    of_fuel = (_meter.c.connection.in_(connections), _meter.c.fuel == fuel)
    meters = sa.select(sa.func.count()).where(*of_fuel).scalar_subquery()
    of_meter = sa.and_(_month.c.connection == _meter.c.connection, _month.c.datasource == _meter.c.datasource)
    lowest, highest = sa.func.min(_month.c.basis), sa.func.max(_month.c.basis)
    query = sa.select(_month.c.start, lowest).join(_meter, of_meter).where(*of_fuel, _month.c.complete)
    whole = query.group_by(_month.c.start).having(sa.func.count() == meters, lowest == highest)
    return [(row[0], row[1]) for row in c.execute(whole.order_by(_month.c.start))]


def count_months(c: Connection, connection: str) -> int:
    """Return how many months there are figures for, each fuel's counted by itself."""
    distinct = sa.select(_month.c.fuel, _month.c.start).where(
        _month.c.connection == connection, _month.c.half_hours > 0
    )
    return c.execute(sa.select(sa.func.count()).select_from(distinct.distinct().subquery())).scalar_one()


def put_months(c: Connection, months: Sequence[MeterMonth]) -> None:
    if months:
        rows.put(c, *months)


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


def issuers_weighing(c: Connection, at: int) -> list[str]:
    """Return the issuers from whose connections months have come whose grid figures are due, each once."""
    # One look into the index for each connection, however many of its months wait.
    waits = sa.exists().where(_month.c.connection == _connection.c.id, _month.c.weigh_due <= at)
    query = sa.select(_connection.c.issuer).where(waits).distinct().order_by(_connection.c.issuer)
    return list(c.execute(query).scalars())


def lease_weighing(c: Connection, issuer: str, at: int, lease_s: int, most: int) -> list[MeterMonth]:
    """Take months of an issuer whose grid figures are due, for `lease_s` seconds, the one first that is due longest."""
    key = (_month.c.connection, _month.c.datasource, _month.c.start)
    of_issuer = sa.exists().where(_connection.c.id == _month.c.connection, _connection.c.issuer == issuer)
    first = sa.select(*key).where(_month.c.weigh_due <= at, of_issuer).order_by(_month.c.weigh_due).limit(most)
    return rows.every(c, MeterMonth, due.lease(_month, first, weigh_due=at + lease_s))


def put_weighed(c: Connection, months: Sequence[MeterMonth]) -> None:
    """Keep what the grid's figures made of months, unless their readings are other ones now, or gone."""
    values = [
        {f"of_{name}": getattr(month, name) for name in _HELD} | {name: getattr(month, name) for name in _WEIGHED}
        for month in months
    ]
    c.execute(_PUT_WEIGHED, values)


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


def is_weighing(c: Connection, connection: str, start: int, end: int, since: int) -> bool:
    """Return whether a month from `start` to before `end` has got readings after `since` for which the grid's figures were
    not asked for yet."""
    query = sa.select(sa.literal(1)).where(
        _month.c.connection == connection,
        _month.c.start >= start,
        _month.c.start < end,
        _month.c.weigh_due.is_not(None),
        _month.c.trouble.is_(None),
        _month.c.at > since,
    )
    return c.execute(query.limit(1)).first() is not None


def grid_regions(c: Connection, connection: str, since: int) -> list[int]:
    """Return the regions that a connection's months from `since` on were worked out with."""
    of = (_month.c.connection == connection, _month.c.start >= since, _month.c.region.is_not(None))
    return list(c.execute(sa.select(_month.c.region).where(*of).distinct()).scalars())


def regions_used(c: Connection, since: int) -> list[int]:
    """Return the regions that months from `since` on were worked out with."""
    query = sa.select(_month.c.region).where(_month.c.start >= since, _month.c.region.is_not(None)).distinct()
    return list(c.execute(query).scalars())


def forget_before(c: Connection, connection: str, oldest: int) -> None:
    """Delete what no report needs any more: months of a connection before an instant, and windows that ended by then."""
    c.execute(sa.delete(_month).where(_month.c.connection == connection, _month.c.start < oldest))
    c.execute(sa.delete(_window).where(_window.c.connection == connection, _window.c.window_end <= oldest))


def drop_readings(c: Connection, before: int, first_before: int) -> int:
    """Delete the readings of months that began before an instant and are closed; return how many months those are.

    A month is closed when it is complete, or when it was first collected before `first_before`.
    """
    closed = sa.or_(_month.c.complete, _month.c.first < first_before)
    gone = sa.update(_month).where(_month.c.start < before, _month.c.readings.is_not(None), closed)
    return c.execute(gone.values(readings=None, weigh_due=None, trouble=None)).rowcount


def forget(c: Connection, connection: str) -> int:
    """Delete the meters and months of a connection. Return the number of deleted rows."""
    return sum(c.execute(sa.delete(kept).where(kept.c.connection == connection)).rowcount for kept in (_meter, _month))
