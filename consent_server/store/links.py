"""Which permission or connection depends on which."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import connections, permissions, rows
from consent_server.store.rows import table_of
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Link, Permission

_link = table_of(Link)


def find(c: Connection, subject: str) -> Permission | ProviderConnection | None:
    """Return the permission or connection with this id."""
    return permissions.find(c, subject) or connections.find(c, subject)


def add(c: Connection, support: str, dependent: str) -> None:
    rows.add_unless_there(c, Link(support, dependent))


def dependents(c: Connection, support: str) -> list[str]:
    query = sa.select(_link.c.dependent).where(_link.c.support == support).order_by(_link.c.dependent)
    return list(c.execute(query).scalars())


def supports(c: Connection, dependent: str) -> list[str]:
    query = sa.select(_link.c.support).where(_link.c.dependent == dependent).order_by(_link.c.support)
    return list(c.execute(query).scalars())
