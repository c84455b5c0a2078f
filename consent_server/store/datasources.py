"""Opaque ids of meters: one for each client, SME and meter, made once and stable from then on."""

import secrets
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Row

from consent_server.store.models import DataSource, table

_datasource = table(DataSource)


def insert_ignoring(c: Connection, into: sa.Table) -> Any:
    """An INSERT that leaves an existing row alone, in the dialect of this connection."""
    make = postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert
    return make(into).on_conflict_do_nothing()


def id_for(c: Connection, client_id: str, sme: str, meter: str) -> str:
    """The data source id that this client knows the meter by."""
    key = {"client_id": client_id, "sme": sme, "meter": meter}
    c.execute(insert_ignoring(c, _datasource), {"id": secrets.token_urlsafe(18), **key})
    return str(
        c.execute(
            sa.select(_datasource.c.id).where(
                _datasource.c.client_id == client_id, _datasource.c.sme == sme, _datasource.c.meter == meter
            )
        ).scalar_one()
    )


def find(c: Connection, datasource: str) -> Row[Any] | None:
    """Whose meter a data source id stands for: client_id, sme, meter."""
    return c.execute(sa.select(_datasource).where(_datasource.c.id == datasource)).one_or_none()
