"""The control page's own look into the parties' databases: the outbox, and the trouble that a meter meets."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from consent_server.sandbox.layout import Layout
from consent_server.sandbox.smes import SMES, Sme
from consent_server.scheme import instant
from consent_server.store import meters, outbox
from consent_server.store.models import Meter, table


@contextmanager
def connected(layout: Layout, party: str) -> Iterator[Connection]:
    """A transaction in the database that the settings of "edp" or "cap" name."""
    settings = tomllib.loads(layout.settings(party).read_text(encoding="utf-8"))
    with _engine(settings["database"]["url"]).begin() as connection:
        yield connection


def set_scenario(layout: Layout, sme: Sme, scenario: str) -> int:
    """Let every meter of an SME meet that trouble from now on; answers how many meters it has.

    Under `unknown` the register keeps the meters and loses their postcode, so that no identification finds them.
    """
    meter = table(Meter)
    with connected(layout, "edp") as connection:
        for site in sme.sites:
            numbers = [each.number for each in site.meters]
            postcode = "" if scenario == "unknown" else site.postcode
            connection.execute(
                sa.update(meter).where(meter.c.sme == sme.name, meter.c.number.in_(numbers)).values(postcode=postcode)
            )
        return meters.set_scenario(connection, sme.name, scenario)


def scenarios(layout: Layout) -> dict[str, str]:
    """The trouble that each SME's meters meet now; for one that the register does not know, `unknown`."""
    with connected(layout, "edp") as connection:
        held = {sme.name: meters.of_sme(connection, sme.name) for sme in SMES}
    return {name: (rows[0].scenario or "normal") if rows else "unknown" for name, rows in held.items()}


def calls_owed(layout: Layout) -> dict[str, list[dict[str, Any]]]:
    """What the parties' outboxes hold, the newest first: sent, waiting, given up."""
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
    """A new, empty schema for each party on a PostgreSQL server; answers the parties' database URLs.

    The schemas carry the sandbox's port, so that two sandboxes may share a server. Raises ValueError for another kind of URL.
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
