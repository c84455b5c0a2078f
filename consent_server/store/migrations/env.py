"""Alembic's entry: run migrations on the current application's database, in one transaction."""

from alembic import context
from flask import current_app

from consent_server.store import tables
from consent_server.store.database import db

assert tables  # its import is what fills the metadata


def run() -> None:
    engine = current_app.extensions["migrate"].db.engine
    with engine.connect() as connection:
        connection = connection.execution_options(writing=True)
        # SQLite alters a table by copying it; PostgreSQL alters in place.
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_as_batch=connection.dialect.name == "sqlite",
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


run()
