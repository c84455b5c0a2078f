"""What the probes measured: each probe for a day or two, then daily sums."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.status import Probe, ProbeDay

_probe = table_of(Probe)
_day = table_of(ProbeDay)


def add(c: Connection, probe: Probe) -> None:
    """Keep a probe, unless another worker asked in the same second."""
    rows.add_unless_there(c, probe)


def between(c: Connection, start: int, end: int) -> dict[str, list[Probe]]:
    """Return the probes from an instant to before another, oldest first, by part."""
    query = sa.select(_probe).where(_probe.c.at >= start, _probe.c.at < end).order_by(_probe.c.at)
    found: dict[str, list[Probe]] = {}
    for probe in rows.every(c, Probe, query):
        found.setdefault(probe.part, []).append(probe)
    return found


def oldest(c: Connection) -> int | None:
    """Return the instant of the oldest probe that is kept."""
    return c.execute(sa.select(sa.func.min(_probe.c.at))).scalar()


def put_days(c: Connection, days: list[ProbeDay]) -> None:
    """Keep the sums of days; those of a day that has some already stay."""
    for each in days:
        rows.add_unless_there(c, each)


def days(c: Connection, start: int, end: int) -> list[ProbeDay]:
    """Return the sums of the days that begin from an instant to before another, oldest first."""
    return rows.every(
        c, ProbeDay, sa.select(_day).where(_day.c.day >= start, _day.c.day < end).order_by(_day.c.day, _day.c.part)
    )


def forget(c: Connection, before: int) -> None:
    """Delete probes from before an instant."""
    c.execute(sa.delete(_probe).where(_probe.c.at < before))
