"""Conversion factors that an operator has loaded, in addition to those of this release."""

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.scheme.factors import PUBLISHED, FactorSet, merged
from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.collecting import LoadedFactorSet


def sets(c: Connection) -> tuple[FactorSet, ...]:
    """Return every set, in order of year: a loaded one in place of this release's."""
    loaded = rows.every(c, LoadedFactorSet, sa.select(table_of(LoadedFactorSet)))
    return merged(PUBLISHED, [_set(row) for row in loaded])


def put(c: Connection, each: FactorSet, at: int) -> None:
    """Keep a set in place of that of its year and region."""
    rows.put(c, LoadedFactorSet(**asdict(each), loaded=at))


def _set(row: LoadedFactorSet) -> FactorSet:
    return FactorSet(**{name: value for name, value in row._asdict().items() if name != "loaded"})
