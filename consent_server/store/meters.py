"""The EDP's meter register, when it is kept in this database."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from consent_server.store.models import Meter, table

_meter = table(Meter)


def add(c: Connection, **values: Any) -> None:
    """Keep one meter: id, sme, business, fuel, number, postcode, outcode, measures, scenario."""
    c.execute(sa.insert(_meter), values)


def find(c: Connection, meter: str) -> Row[Any] | None:
    return c.execute(sa.select(_meter).where(_meter.c.id == meter)).one_or_none()


def by_number(c: Connection, fuel: str, number: str) -> Row[Any] | None:
    return c.execute(sa.select(_meter).where(_meter.c.fuel == fuel, _meter.c.number == number)).first()


def of_sme(c: Connection, sme: str) -> list[Row[Any]]:
    return list(c.execute(sa.select(_meter).where(_meter.c.sme == sme).order_by(_meter.c.id)))


def set_scenario(c: Connection, sme: str, scenario: str | None) -> int:
    """Let every meter of an SME meet a trouble on purpose (sandbox); answers how many meters it has."""
    return c.execute(sa.update(_meter).where(_meter.c.sme == sme).values(scenario=scenario)).rowcount
