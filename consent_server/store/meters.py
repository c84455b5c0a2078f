"""The EDP's meter register, when it is kept in this database: one row for each business's time at a meter."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.metering import Meter

_meter = table_of(Meter)
_namesake = _meter.alias("namesake")


def _held_at(meter: sa.FromClause) -> tuple[sa.ColumnElement[bool], ...]:
    at: sa.BindParameter[int] = sa.bindparam("at")
    return meter.c.since <= at, sa.or_(meter.c.until.is_(None), meter.c.until > at)


_HELD = sa.select(_meter).where(*_held_at(_meter))
_IN_ORDER = _HELD.order_by(_meter.c.postcode, _meter.c.id)
_OF_ONE_NUMBER = (
    sa.select(sa.func.count())
    .where(_namesake.c.fuel == _meter.c.fuel, _namesake.c.number == _meter.c.number, *_held_at(_namesake))
    .scalar_subquery()
)
_BY_NUMBER = _HELD.where(
    _meter.c.fuel == sa.bindparam("fuel_"),
    _meter.c.number == sa.bindparam("number_"),
    _meter.c.postcode == sa.bindparam("postcode_"),
    _OF_ONE_NUMBER == 1,
)
_OF_SME = _IN_ORDER.where(_meter.c.sme == sa.bindparam("sme_"))
_OF_METERS = (
    sa.select(_meter)
    .where(_meter.c.sme == sa.bindparam("sme_"), _meter.c.id.in_(sa.bindparam("meters", expanding=True)))
    .order_by(_meter.c.since)
)
_OF_CUSTOMER = _IN_ORDER.where(_meter.c.customer == sa.bindparam("customer_"))


def add(c: Connection, *meters: Meter) -> None:
    rows.add(c, *meters)


def by_number(c: Connection, fuel: str, number: str, postcode: str, at: int) -> Meter | None:
    """Return the meter with a number at a postcode, in the hands in which it is at an instant.

    None also where the register has two of the number. The statement compares the postcode: to read a row takes longer than to
    read none, so that a guesser would learn that a number exists.
    """
    return rows.one(c, Meter, _BY_NUMBER, {"fuel_": fuel, "number_": number, "postcode_": postcode, "at": at})


def of_sme(c: Connection, sme: str, at: int) -> list[Meter]:
    """Return the meters that are a business's at an instant."""
    return rows.every(c, Meter, _OF_SME, {"sme_": sme, "at": at})


def of_customer(c: Connection, customer: str, at: int) -> list[Meter]:
    """Return the meters that are at an instant those of whoever has a log-in of this name."""
    return rows.every(c, Meter, _OF_CUSTOMER, {"customer_": customer, "at": at})


def tenancies(c: Connection, sme: str, meters: Collection[str]) -> list[Meter]:
    """Return a business's times at some meters, past and future ones too, in the order in which they begin."""
    asked = ({"sme_": sme, "meters": batch} for batch in rows.batches(meters))
    return [row for each in asked for row in rows.every(c, Meter, _OF_METERS, each)]


def described(c: Connection, meters: Collection[str]) -> list[Meter]:
    """Return every tenancy of some meters, whosever, in the order in which they begin."""
    return rows.every_in(c, Meter, sa.select(_meter).order_by(_meter.c.since), _meter.c.id, meters)


def with_number(c: Connection, fuel: str, numbers: Collection[str]) -> list[Meter]:
    """Return every tenancy of the meters with some numbers, whosever."""
    return rows.every_in(c, Meter, sa.select(_meter).where(_meter.c.fuel == fuel), _meter.c.number, numbers)


def put(c: Connection, *meters: Meter) -> None:
    """Keep tenancies, each replacing the one of its meter that begins at the same time."""
    rows.put(c, *meters)
