"""The EDP's meter register, when it is kept in this database."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables import Meter

_meter = table_of(Meter)


def add(c: Connection, *meters: Meter) -> None:
    rows.add(c, *meters)


def find(c: Connection, meter: str) -> Meter | None:
    return rows.one(c, Meter, sa.select(_meter).where(_meter.c.id == meter))


def by_number(c: Connection, fuel: str, number: str) -> Meter | None:
    query = sa.select(_meter).where(_meter.c.fuel == fuel, _meter.c.number == number)
    return rows.one(c, Meter, query.limit(1))


def of_sme(c: Connection, sme: str) -> list[Meter]:
    return rows.every(c, Meter, sa.select(_meter).where(_meter.c.sme == sme).order_by(_meter.c.id))
