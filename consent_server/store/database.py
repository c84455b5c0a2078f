"""The database: one engine per process, SQLite or PostgreSQL, and the two kinds of transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import Migrate, upgrade
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from consent_server.refusal import Refusal

MIGRATIONS = Path(__file__).parent / "migrations"

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
db = SQLAlchemy(metadata=metadata)
_migrate = Migrate(db=db, directory=str(MIGRATIONS), compare_type=True)


class StoreUnavailable(Refusal):
    """The database is busy, full or gone. Nothing of the request was kept."""

    code = "store_unavailable"
    error = "temporarily_unavailable"
    status = 503
    public = (
        "The server cannot reach its database just now; nothing was changed. Try again after the time in Retry-After."
    )
    help = "Try again after the number of seconds in Retry-After. Nothing of the refused request was kept."
    clause = "RFC 7009 2.2.1; RFC 9110 15.6.4"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


def init(app: Flask, url: str) -> None:
    """Give `app` its engine. A SQLite file's directory must exist."""
    options: dict[str, Any] = {
        "pool_pre_ping": not url.startswith("sqlite"),
        "pool_size": 16,
        "max_overflow": 16,
        "pool_timeout": 5,
    }
    if url.startswith("sqlite"):
        options |= {"poolclass": QueuePool, "connect_args": {"timeout": 5, "check_same_thread": False}}
    else:
        options |= {"connect_args": {"connect_timeout": 5}}
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    db.init_app(app)
    _migrate.init_app(app)
    if url.startswith("sqlite"):
        with app.app_context():
            _prepare_sqlite(db.engine)


def migrate() -> None:
    """Bring the schema of the current application's database up to date."""
    upgrade(directory=str(MIGRATIONS))


def schema_is_current() -> bool:
    """Whether the current application's database is at the newest migration. Raises StoreUnavailable."""
    with reading() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    return revision == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def _prepare_sqlite(engine: Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def _pragmas(raw: Any, _record: object) -> None:
        raw.isolation_level = None  # sqlite3 must not open transactions of its own: _begin does
        cursor = raw.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Without IMMEDIATE, two readers that both turn writer fail at once, whatever the time-out.
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def _transaction(*, writing: bool) -> Iterator[Connection]:
    try:
        with db.engine.connect() as connection:
            connection = connection.execution_options(writing=writing)
            with connection.begin():
                yield connection
    except (sa.exc.OperationalError, sa.exc.TimeoutError, sa.exc.InterfaceError) as error:
        # `orig` names the fault; the statement and its parameters stay out of the message.
        raise StoreUnavailable(f"{type(error).__name__}: {type(getattr(error, 'orig', error)).__name__}") from error


def writing() -> Any:
    """A transaction that writes.

    Committed at the end of the block, rolled back by an exception. Raises StoreUnavailable.
    """
    return _transaction(writing=True)


def reading() -> Any:
    """A transaction that only reads. Raises StoreUnavailable."""
    return _transaction(writing=False)


def ping() -> None:
    """Raise StoreUnavailable unless the database answers."""
    with reading() as connection:
        connection.execute(sa.select(1))
