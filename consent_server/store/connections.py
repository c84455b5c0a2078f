"""Permissions that we hold as a client: a CAP's connections to EDPs, and what was collected through them."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from consent_server.store import readings
from consent_server.store.models import Collected, Month, table
from consent_server.store.models import Connection as ConnectionModel

_connection = table(ConnectionModel)
_collected = table(Collected)
_month = table(Month)


def add(c: Connection, **values: Any) -> None:
    c.execute(sa.insert(_connection), values)


def find(c: Connection, connection: str) -> Row[Any] | None:
    return c.execute(sa.select(_connection).where(_connection.c.id == connection)).one_or_none()


def by_refresh_mac(c: Connection, mac: str) -> Row[Any] | None:
    return c.execute(sa.select(_connection).where(_connection.c.refresh_mac == mac)).one_or_none()


def of_account(c: Connection, account: str) -> list[Row[Any]]:
    """Every connection of an account, newest first."""
    return list(
        c.execute(
            sa.select(_connection)
            .where(_connection.c.account == account)
            .order_by(_connection.c.granted.desc(), _connection.c.id)
        )
    )


def live(c: Connection, account: str, at: int) -> list[Row[Any]]:
    return [row for row in of_account(c, account) if row.ended is None and row.expires > at]


def reseal(c: Connection, connection: str, refresh_sealed: bytes, refresh_mac: str) -> None:
    """Keep the refresh token that its issuer gave in place of the one we had."""
    c.execute(
        sa.update(_connection)
        .where(_connection.c.id == connection)
        .values(refresh_sealed=refresh_sealed, refresh_mac=refresh_mac)
    )


def end(c: Connection, connection: str, *, at: int, ended_as: str, by: str, why: str) -> bool:
    """End a connection. True for the one call that ended it."""
    ended = c.execute(
        sa.update(_connection)
        .where(_connection.c.id == connection, _connection.c.ended.is_(None))
        .values(ended=at, ended_as=ended_as, ended_by=by, ended_why=why, collect_due=None)
    )
    return ended.rowcount == 1


def lease_due(c: Connection, at: int, lease_s: int) -> Row[Any] | None:
    """Take one live connection whose collection is due, for `lease_s` seconds."""
    free = sa.or_(_connection.c.leased.is_(None), _connection.c.leased <= at)
    due = (
        sa.select(_connection.c.id)
        .where(_connection.c.ended.is_(None), _connection.c.expires > at, _connection.c.collect_due <= at, free)
        .order_by(_connection.c.collect_due)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return c.execute(
        sa.update(_connection).where(_connection.c.id.in_(due)).values(leased=at + lease_s).returning(*_connection.c)
    ).one_or_none()


def settle(c: Connection, connection: str, *, due: int | None, collected: int | None, trouble: str | None) -> None:
    """Note how a collection went, and when the next one is due."""
    values: dict[str, Any] = {"collect_due": due, "leased": None, "trouble": trouble}
    if collected is not None:
        values["collected"] = collected
    c.execute(
        sa.update(_connection).where(_connection.c.id == connection, _connection.c.ended.is_(None)).values(values)
    )


def collect_anew(c: Connection, connection: str) -> None:
    """Its data is gone while it may still be live: it waits for a collection again, as at its start."""
    c.execute(
        sa.update(_connection)
        .where(_connection.c.id == connection, _connection.c.ended.is_(None))
        .values(collect_due=_connection.c.granted, leased=None, collected=None, trouble=None)
    )


def put_collected(c: Connection, **values: Any) -> None:
    """Keep one fetched window with the record that came with it, replacing an earlier fetch of the same window."""
    key = ("connection", "datasource", "measure", "window_start")
    c.execute(sa.delete(_collected).where(*(_collected.c[name] == values[name] for name in key)))
    c.execute(sa.insert(_collected), values)


def collected(c: Connection, connection: str) -> list[Row[Any]]:
    return list(
        c.execute(
            sa.select(_collected)
            .where(_collected.c.connection == connection)
            .order_by(_collected.c.fuel, _collected.c.datasource, _collected.c.window_start)
        )
    )


def put_months(c: Connection, connection: str, months: list[dict[str, Any]]) -> None:
    """Replace the months of a connection."""
    c.execute(sa.delete(_month).where(_month.c.connection == connection))
    if months:
        c.execute(sa.insert(_month), [{"connection": connection, **month} for month in months])


def months(c: Connection, connection: str, start: int, end: int) -> list[Row[Any]]:
    """Whole months of a connection whose first instant lies from `start` to before `end`, by fuel and time."""
    return list(
        c.execute(
            sa.select(_month)
            .where(_month.c.connection == connection, _month.c.start >= start, _month.c.start < end)
            .order_by(_month.c.fuel, _month.c.start)
        )
    )


def fuels(c: Connection, connection: str) -> set[str]:
    """The fuels that a connection supplies: those of the meters that it was collected from, with or without readings."""
    query = sa.select(_collected.c.fuel).where(_collected.c.connection == connection).distinct()
    return set(c.execute(query).scalars())


def collected_before(c: Connection, before: int) -> list[str]:
    """Connections whose data was last collected before an instant."""
    newest = sa.func.max(_collected.c.at)
    query = sa.select(_collected.c.connection).group_by(_collected.c.connection).having(newest < before)
    return list(c.execute(query).scalars())


def forget_data(c: Connection, connection: str) -> int:
    """Delete readings, records and months that rest on a connection; answers how many rows went."""
    gone = readings.forget(c, connection)
    for rows in (_collected, _month):
        gone += c.execute(sa.delete(rows).where(rows.c.connection == connection)).rowcount
    return gone
