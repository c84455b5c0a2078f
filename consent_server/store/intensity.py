"""Days of grid intensity, shared by every SME and every process of a party."""

from collections.abc import Sequence
from struct import Struct
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.outbound.intensity import GridDay
from consent_server.store import rows
from consent_server.store.database import reading, writing
from consent_server.store.rows import table_of
from consent_server.store.tables.collecting import GridDayRow

_day = table_of(GridDayRow)
_VALUES: Final = Struct("<48d")


class StoredGridDays:
    """The GridDays of a party. Each call is a transaction of its own."""

    def get(self, region: int, start: int, end: int) -> list[GridDay]:
        query = sa.select(_day).where(_day.c.region == region, _day.c.day >= start, _day.c.day < end)
        with reading() as c:
            found = rows.every(c, GridDayRow, query.order_by(_day.c.day))
        return [GridDay(row.region, row.day, row.fetched, _VALUES.unpack(row.body)) for row in found]

    def put(self, days: Sequence[GridDay]) -> None:
        with writing() as c:
            rows.put(c, *(GridDayRow(each.region, each.day, each.fetched, _VALUES.pack(*each.values)) for each in days))


def forget(c: Connection, before: int) -> int:
    """Delete the days before an instant. Return how many."""
    return c.execute(sa.delete(_day).where(_day.c.day < before)).rowcount
