"""Alembic's entry: run migrations on the current application's database, in one transaction, one process at a time."""

import sqlalchemy as sa
from alembic import context

from consent_server.store import tables
from consent_server.store.database import db, migrating

assert tables  # its import is what fills the metadata


def run() -> None:
    with migrating() as connection:
        if connection.dialect.name == "postgresql":
            # SQLite has a single writer; here a lock until the end of the transaction makes a second migration wait.
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('consent-server db upgrade'))"))
            # What a table's change waits for, everybody who wants that table waits for as well: seconds at most.
            connection.execute(sa.text("SET LOCAL lock_timeout = '3s'"))
        # SQLite alters a table by copying it; PostgreSQL alters in place.
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_as_batch=connection.dialect.name == "sqlite",
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
