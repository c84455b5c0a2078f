"""Ids of meters as clients see them: one for each client, SME and meter, made once and then stable.

The ids of one client and one SME are numbered within a random series, `<series>.<number>`: tokens.data_sources says why.
"""

import secrets
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import locks, rows
from consent_server.store.rows import table_of
from consent_server.store.tables import MeterAlias

_alias = table_of(MeterAlias)


def ids_for(c: Connection, client_id: str, sme: str, meters: Sequence[str]) -> dict[str, str]:
    """Return meter -> the data source id that this client knows it by, in the order of `meters`."""
    locks.lock_business(c, sme)  # two grants must not give one number twice
    query = sa.select(_alias).where(_alias.c.client_id == client_id, _alias.c.sme == sme)
    every = {row.meter: row.id for row in rows.every(c, MeterAlias, query)}
    # A node of the version before, while nodes are replaced, makes ids without a number.
    known = {meter: each for meter, each in every.items() if "." in each}
    series = next((each.partition(".")[0] for each in known.values()), secrets.token_urlsafe(18))
    following = max((number_of(each) for each in known.values()), default=-1) + 1
    new = [meter for meter in dict.fromkeys(meters) if meter not in known]
    made = {meter: f"{series}.{number}" for number, meter in enumerate(new, following)}
    for meter in made.keys() & every.keys():
        c.execute(sa.delete(_alias).where(_alias.c.id == every[meter]))
    if made:
        rows.add(c, *(MeterAlias(each, client_id, sme, meter) for meter, each in made.items()))
    return {meter: (known | made)[meter] for meter in meters}


def number_of(datasource: str) -> int:
    """Return the number of an id within its series."""
    return int(datasource.rpartition(".")[2])


def find(c: Connection, ids: Iterable[str]) -> list[MeterAlias]:
    """Return meter, client and SME of each of these ids that there is."""
    query = sa.select(_alias)
    return [
        row for batch in rows.batches(ids) for row in rows.every(c, MeterAlias, query.where(_alias.c.id.in_(batch)))
    ]
