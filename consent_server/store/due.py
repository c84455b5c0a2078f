"""Work that is due: one index look-up for each party finds who has any, however many rows there are."""

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.dml import ReturningUpdate


class Waiting(NamedTuple):
    """How much waits for one party, and since when."""

    kind: str
    party: str
    count: int  # type: ignore[assignment]  # a tuple's method of that name is not used
    since: int


def parties(
    c: Connection, party: sa.Column[str], among: sa.ColumnElement[bool], due: sa.ColumnElement[bool]
) -> list[str]:
    """Return each value of `party` in the rows `among` which one is `due`, once. An index must begin with `party`."""
    first = sa.select(sa.func.min(party).label("party")).where(among).cte("party", recursive=True)
    following = sa.select(sa.func.min(party)).where(among, party > first.c.party).scalar_subquery()
    every = first.union_all(sa.select(following).where(first.c.party.is_not(None)))
    has_work = sa.exists().where(party == every.c.party, among, due)
    return list(c.execute(sa.select(every.c.party).where(every.c.party.is_not(None), has_work)).scalars())


def lease(table: sa.Table, first: sa.Select[Any], **values: int) -> ReturningUpdate[Any]:
    """Return an UPDATE of the rows whose primary key `first` selects, but of none that another process is taking, which
    returns them whole, in any order.

    `first` is a CTE of its own and so runs once. As a subquery of IN, PostgreSQL may run it for each row of the table, and each
    run passes over the rows that the one before has locked: more rows are then taken than its limit.
    """
    chosen = first.with_for_update(skip_locked=True).cte("chosen").prefix_with("MATERIALIZED", dialect="postgresql")
    key = sa.tuple_(*(table.c[column.name] for column in chosen.c))
    return sa.update(table).where(key.in_(sa.select(*chosen.c))).values(values).returning(*table.c)


def is_due(due: sa.Column[Any], leased: sa.Column[Any], at: int) -> sa.ColumnElement[bool]:
    """Return the condition that a row is due, and that no other process has it on a lease."""
    return sa.and_(due <= at, is_free(leased, at))


def is_free(leased: sa.Column[Any], at: int) -> sa.ColumnElement[bool]:
    """Return the condition that no process has a row on a lease."""
    return sa.or_(leased.is_(None), leased <= at)
