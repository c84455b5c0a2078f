"""Permissions that we hold as a client: a CAP's connections to EDPs, and what was collected through them."""

from collections.abc import Collection
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.scheme.permission import Act
from consent_server.store import collecting, due, ending, locks, readings, rows
from consent_server.store.rows import table_of
from consent_server.store.statement import Statement
from consent_server.store.tables.collecting import CollectedMeter, CollectedWindow, EmissionsMonth, ProviderConnection

_connection = table_of(ProviderConnection)
_collected = table_of(CollectedWindow)
_old_month = table_of(EmissionsMonth)
_meter = table_of(CollectedMeter)
_FIND = sa.select(_connection).where(_connection.c.id == sa.bindparam("id_"))
_LOCK = Statement(locks.of_business(_connection.c.account).where(_connection.c.id == sa.bindparam("id_")))


def add(c: Connection, connection: ProviderConnection) -> bool:
    """Keep a new connection; return False, and keep nothing, where its refresh token is another connection's."""
    return rows.add_unless_there(c, connection)


def find(c: Connection, connection: str) -> ProviderConnection | None:
    return rows.one(c, ProviderConnection, _FIND, {"id_": connection})


def hold(c: Connection, connection: str) -> ProviderConnection | None:
    """Return the connection as `find` does, with its business locked."""
    locks.lock_business_of(c, _LOCK, {"id_": connection})
    return find(c, connection)


def by_refresh_mac(c: Connection, mac: str) -> ProviderConnection | None:
    return rows.one(c, ProviderConnection, sa.select(_connection).where(_connection.c.refresh_mac == mac))


def of_account(c: Connection, account: str) -> list[ProviderConnection]:
    """Return every connection of an account, newest first."""
    query = sa.select(_connection).where(_connection.c.account == account)
    return rows.every(c, ProviderConnection, query.order_by(_connection.c.granted.desc(), _connection.c.id))


def any_collected(c: Connection) -> bool:
    """Return whether data were ever collected through a connection."""
    return (
        c.execute(sa.select(_connection.c.id).where(_connection.c.collected.is_not(None)).limit(1)).first() is not None
    )


def live(c: Connection, account: str, at: int) -> list[ProviderConnection]:
    return [row for row in of_account(c, account) if row.is_live(at)]


def living(c: Connection, at: int) -> list[str]:
    """Return the id of every connection that is live at an instant, oldest first."""
    live = sa.and_(_connection.c.ended.is_(None), _connection.c.expires > at)
    order = _connection.c.granted, _connection.c.id
    return list(c.execute(sa.select(_connection.c.id).where(live).order_by(*order)).scalars())


def has_live(c: Connection, issuer: str, member: str, at: int) -> bool:
    """Return whether any live connection is to this issuer of this member."""
    of_both = sa.and_(_connection.c.issuer == issuer, _connection.c.member == member)
    live = sa.and_(_connection.c.ended.is_(None), _connection.c.expires > at)
    return c.execute(sa.select(sa.literal(1)).where(of_both, live).limit(1)).first() is not None


def reseal(c: Connection, connection: ProviderConnection, refresh_sealed: bytes, refresh_mac: str) -> bool:
    """Keep the refresh token that its issuer gave to replace the one that `connection` was read with.

    Return False, and keep nothing, where another worker has replaced that one, or where the new one is another connection's.
    """
    other = _connection.alias()
    taken = sa.exists().where(other.c.refresh_mac == refresh_mac)
    as_read = sa.and_(_connection.c.id == connection.id, _connection.c.refresh_mac == connection.refresh_mac)
    new = {"refresh_sealed": refresh_sealed, "refresh_mac": refresh_mac}
    return c.execute(sa.update(_connection).where(as_read, ~taken).values(new)).rowcount == 1


def end(c: Connection, connection: ProviderConnection, act: Act, *, at: int, by: str, why: str) -> bool:
    """Return True for the one call that ended this connection."""
    return ending.end(c, connection, act, at, ended_by=by, ended_why=why, collect_due=None)


def issuers_due(c: Connection, at: int) -> list[str]:
    """Return the issuers of live connections whose collection is due, each once."""
    return due.parties(c, _connection.c.issuer, _connection.c.ended.is_(None), _is_due(at))


def overdue(c: Connection, at: int) -> list[due.Waiting]:
    """Return how many collections are due at each issuer, those under way among them, and since when the first of them."""
    query = sa.select(
        sa.literal("collection"), _connection.c.issuer, sa.func.count(), sa.func.min(_connection.c.collect_due)
    ).where(_connection.c.ended.is_(None), _connection.c.collect_due <= at, _connection.c.expires > at)
    return rows.every(c, due.Waiting, query.group_by(_connection.c.issuer))


def ending_within(c: Connection, after: int, until: int) -> int:
    """Return how many live connections end by themselves after an instant and by another."""
    time = sa.and_(_connection.c.expires > after, _connection.c.expires <= until)
    return c.execute(sa.select(sa.func.count()).where(_connection.c.ended.is_(None), time)).scalar_one()


def lease_due(c: Connection, issuer: str, at: int, lease_s: int) -> ProviderConnection | None:
    """Take and return one live connection to an issuer whose collection is due, for `lease_s` seconds."""
    first = (
        sa.select(_connection.c.id)
        .where(_connection.c.issuer == issuer, _connection.c.ended.is_(None), _is_due(at))
        .order_by(_connection.c.collect_due)
        .limit(1)
    )
    return rows.one(c, ProviderConnection, due.lease(_connection, first, leased=at + lease_s))


def _is_due(at: int) -> sa.ColumnElement[bool]:
    return sa.and_(due.is_due(_connection.c.collect_due, _connection.c.leased, at), _connection.c.expires > at)


def settle(
    c: Connection,
    connection: ProviderConnection,
    *,
    due: int,
    trouble: str | None,
    failures: int,
    collected: int | None = None,
) -> bool:
    """Record the result of a collection, and when the next one is due.

    Return False, and record nothing, where the connection has ended, or is no longer on the lease that it was read with:
    another worker has begun its collection anew.
    """
    values: dict[str, object] = {"collect_due": due, "leased": None, "trouble": trouble, "failures": failures}
    if collected is not None:
        values["collected"] = collected
    on_lease = _connection.c.leased.is_not_distinct_from(connection.leased)
    still_ours = sa.and_(_connection.c.id == connection.id, _connection.c.ended.is_(None), on_lease)
    return c.execute(sa.update(_connection).where(still_ours).values(values)).rowcount == 1


def listed(c: Connection, connection: str, at: int) -> None:
    """Record that the meters of a connection were listed."""
    c.execute(sa.update(_connection).where(_connection.c.id == connection).values(listed=at))


def begin(c: Connection, connection: str) -> None:
    """Begin the collection of a connection whose meters were never listed: an earlier version may have collected it whole."""
    forget_data(c, connection)
    c.execute(sa.update(_connection).where(_connection.c.id == connection).values(collected=None))


def collect_anew(c: Connection, connection: str) -> None:
    """Make a live connection whose data were deleted due for collection again, as at its start."""
    c.execute(
        sa.update(_connection)
        .where(_connection.c.id == connection, _connection.c.ended.is_(None))
        .values(collect_due=_connection.c.granted, leased=None, collected=None, trouble=None, listed=None, failures=0)
    )


def collected(c: Connection, connection: str) -> list[CollectedWindow]:
    query = sa.select(_collected).where(_collected.c.connection == connection)
    order = (_collected.c.fuel, _collected.c.datasource, _collected.c.window_start)
    return rows.every(c, CollectedWindow, query.order_by(*order))


def records(c: Connection, names: Collection[str], fuel: str, start: int, end: int) -> list[bytes]:
    """Return the signed records of what came of a fuel through connections for any part of `start` to before `end`."""
    query = sa.select(_collected.c.record).where(
        _collected.c.connection.in_(names),
        _collected.c.fuel == fuel,
        _collected.c.window_start < end,
        _collected.c.window_end > start,
    )
    order = (_collected.c.connection, _collected.c.datasource, _collected.c.window_start)
    return list(c.execute(query.order_by(*order)).scalars())


class WindowCount(NamedTuple):
    """How many responses there are of one window."""

    start: int
    end: int
    responses: int


def windows(c: Connection, names: Collection[str], fuels: Collection[str]) -> list[WindowCount]:
    """Return how many responses came through connections of each window, of all meters of some fuels."""
    window = (_collected.c.window_start, _collected.c.window_end)
    of = (_collected.c.connection.in_(names), _collected.c.fuel.in_(fuels))
    query = sa.select(*window, sa.func.count()).where(*of).group_by(*window)
    return [WindowCount(*row) for row in c.execute(query)]


def deployed_forms(c: Connection, connection: str) -> list[str]:
    """Return the names of the deployed forms that were accepted in a connection's records, in alphabetical order."""
    found = c.scalars(sa.select(_collected.c.deployed_forms).where(_collected.c.connection == connection))
    return sorted({name for names in found for name in names or ()})


def work_out_anew(c: Connection, fuel: str, at: int) -> int:
    """Make the meters of a fuel due, of every live connection whose readings are here. Return how many connections it is."""
    of_fuel = sa.select(_meter.c.connection).where(_meter.c.fuel == fuel)
    here = sa.and_(_connection.c.ended.is_(None), _connection.c.collected.is_not(None), _connection.c.expires > at)
    live = sa.select(_connection.c.id).where(here)
    c.execute(sa.update(_meter).where(_meter.c.fuel == fuel, _meter.c.connection.in_(live)).values(due=at))
    return c.execute(sa.update(_connection).where(here, _connection.c.id.in_(of_fuel)).values(collect_due=at)).rowcount


def collected_before(c: Connection, before: int) -> list[str]:
    """Return the connections whose data was last collected before an instant: of which nothing came, those whose meters were
    last listed before it."""
    other = _collected.alias()
    newer = sa.exists().where(other.c.connection == _collected.c.connection, other.c.at >= before)
    query = sa.select(_collected.c.connection).where(_collected.c.at < before, ~newer).distinct()
    has_meters, has_data = (sa.exists().where(each.c.connection == _connection.c.id) for each in (_meter, _collected))
    listed = sa.select(_connection.c.id).where(_connection.c.listed < before, has_meters, ~has_data)
    return [*c.execute(query).scalars(), *c.execute(listed).scalars()]


def forget_data(c: Connection, connection: str) -> int:
    """Delete meters, readings, records and months of a connection. Return the number of deleted rows."""
    gone = readings.forget(c, connection) + collecting.forget(c, connection)
    for kept in (_collected, _old_month):
        gone += c.execute(sa.delete(kept).where(kept.c.connection == connection)).rowcount
    return gone
