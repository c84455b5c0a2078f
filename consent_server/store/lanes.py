"""Which parties have work, found by one look into an index for each of them, however many rows there are."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def with_work(
    c: Connection, party: sa.Column[str], among: sa.ColumnElement[bool], due: sa.ColumnElement[bool]
) -> list[str]:
    """Return each value of `party` in the rows `among` which one is `due`, once. An index must begin with `party`."""
    first = sa.select(sa.func.min(party).label("party")).where(among).cte("parties", recursive=True)
    following = sa.select(sa.func.min(party)).where(among, party > first.c.party).scalar_subquery()
    parties = first.union_all(sa.select(following).where(first.c.party.is_not(None)))
    has_work = sa.exists().where(party == parties.c.party, among, due)
    return list(c.execute(sa.select(parties.c.party).where(parties.c.party.is_not(None), has_work)).scalars())
