"""What the control page reads and changes in the parties' databases: the outbox, and which businesses the register knows."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from consent_server.sandbox.layout import Layout
from consent_server.sandbox.smes import Sme
from consent_server.scheme import instant
from consent_server.store import outbox
from consent_server.store.rows import table_of
from consent_server.store.tables.metering import Meter


@contextmanager
def connected(layout: Layout, party: str) -> Iterator[Connection]:
    """Open a transaction in the database that the settings of "edp" or "cap" name."""
    settings = tomllib.loads(layout.settings(party).read_text(encoding="utf-8"))
    with _engine(settings["database"]["url"]).begin() as connection:
        yield connection


def keep_known(layout: Layout, sme: Sme, known: bool) -> int:
    """Put a business into the register or take it out, by its meters' postcodes, without which none is found; return how
    many meters it has."""
    meter = table_of(Meter)
    changed = 0
    with connected(layout, "edp") as connection:
        for site in sme.sites:
            at_site = sa.update(meter).where(
                meter.c.sme == sme.name, meter.c.number.in_([m.number for m in site.meters])
            )
            changed += connection.execute(at_site.values(postcode=site.postcode if known else "")).rowcount
    return changed


def calls_owed(layout: Layout) -> dict[str, list[dict[str, Any]]]:
    """Return the calls in the parties' outboxes, the newest first: sent, waiting, given up."""
    found: dict[str, list[dict[str, Any]]] = {"sent": [], "waiting": [], "given_up": []}
    for party in ("edp", "cap"):
        with connected(layout, party) as connection:
            rows = outbox.everything(connection)
        for row in rows:
            state = "sent" if row.delivered else "given_up" if row.given_up else "waiting"
            found[state].append(
                {
                    "from": party,
                    "kind": row.kind,
                    "recipient": row.recipient,
                    "permission": row.subject,
                    "created": instant.text(row.created),
                    "due": instant.text(row.due),
                    "attempts": row.attempts,
                    "sent": instant.text(row.delivered) if row.delivered else None,
                    "last_error": row.last_error,
                }
            )
    return found


@cache
def _engine(url: str) -> Engine:
    return sa.create_engine(url, poolclass=NullPool)


def schemas(server_url: str, base_port: int) -> dict[str, str]:
    """Make a new, empty schema for each party on a PostgreSQL server; return the parties' database URLs.

    The schemas carry the sandbox's port, so that two sandboxes may share a server. Raise ValueError for another kind of URL.
    """
    url = sa.make_url(server_url)
    if url.get_backend_name() != "postgresql":
        raise ValueError("--database-url names a PostgreSQL server: postgresql+psycopg://user@host/database")
    url = url.set(drivername="postgresql+psycopg")
    found = {}
    engine = sa.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for party in ("edp", "cap"):
            schema = f"consent_sandbox_{base_port}_{party}"
            connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
            connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
            own = url.update_query_dict({"options": f"-csearch_path={schema}"})
            found[party] = own.render_as_string(hide_password=False)
    engine.dispose()
    return found
