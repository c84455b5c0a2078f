"""Opaque ids of meters: one for each client, SME and meter, made once and then stable."""

import secrets

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables import MeterAlias

_alias = table_of(MeterAlias)


def id_for(c: Connection, client_id: str, sme: str, meter: str) -> str:
    """Return the data source id that this client knows the meter by."""
    rows.add_unless_there(c, MeterAlias(secrets.token_urlsafe(18), client_id, sme, meter))
    query = sa.select(_alias.c.id).where(_alias.c.client_id == client_id, _alias.c.sme == sme, _alias.c.meter == meter)
    return str(c.execute(query).scalar_one())


def find(c: Connection, datasource: str) -> MeterAlias | None:
    """Return the meter, client and SME of a data source id, or None."""
    return rows.one(c, MeterAlias, sa.select(_alias).where(_alias.c.id == datasource))
