"""How many requests were served in each hour, and how fast."""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.status import ServedHour

_served = table_of(ServedHour)
#: The columns that are counts.
COUNTS: Final = tuple(column.name for column in _served.c if not column.primary_key)


def add(c: Connection, counted: Sequence[ServedHour]) -> None:
    """Add counts to those that are kept."""
    statement = rows.insert(c.dialect.name, ServedHour)
    sums = {name: _served.c[name] + statement.excluded[name] for name in COUNTS}
    adding = statement.on_conflict_do_update(index_elements=_served.primary_key, set_=sums)
    # In one order in every process, so that two that write at the same time do not wait for each other in a circle.
    for row in sorted(counted):
        c.execute(adding, row._asdict())


def between(c: Connection, start: int, end: int) -> list[ServedHour]:
    """Return the counts of the hours from an instant to before another."""
    query = sa.select(_served).where(_served.c.hour >= start, _served.c.hour < end)
    return rows.every(c, ServedHour, query.order_by(_served.c.hour, _served.c.endpoint, _served.c.client))
