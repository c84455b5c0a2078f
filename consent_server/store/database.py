"""The database: one engine per process, SQLite or PostgreSQL, and the two kinds of transaction."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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

#: Seconds for which a transaction that writes to SQLite waits for the one that another process has open.
LOCK_WAIT_S = 5.0
#: The engine's option that holds the lock of those who write to SQLite in this process.
WRITERS = "writers"
#: Seconds between two attempts: the first pause, doubled up to the last.
_PAUSES_S = (0.002, 0.05)

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
    """The database is busy, full or unavailable. Nothing of the request was kept."""

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
    """Set up the engine of `app`. A SQLite file's directory must exist."""
    is_sqlite = url.startswith("sqlite")
    options: dict[str, Any] = {"pool_size": 16, "max_overflow": 16, "pool_timeout": 5}
    if is_sqlite:
        options |= {"poolclass": QueuePool, "connect_args": {"timeout": 1, "check_same_thread": False}}
    else:
        options |= {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}}
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    db.init_app(app)
    _migrate.init_app(app)
    if is_sqlite:
        with app.app_context():
            _prepare_sqlite(db.engine)


@contextmanager
def opened(url: str) -> Iterator[None]:
    """Open a party's database alone, for its operator, even while the doors cannot start."""
    app = Flask("consent-server-command")
    init(app, url)
    with app.app_context():
        try:
            yield
        finally:
            db.engine.dispose()


def migrate() -> None:
    """Bring the schema of the current application's database up to date."""
    upgrade(directory=str(MIGRATIONS))


def schema_is_current() -> bool:
    """Return whether the current application's database is at the newest migration. Raise StoreUnavailable."""
    with reading() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    return revision == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def _prepare_sqlite(engine: Engine) -> None:
    engine.update_execution_options(**{WRITERS: threading.Lock()})

    @sa.event.listens_for(engine, "connect")
    def _pragmas(raw: Any, _record: object) -> None:
        raw.isolation_level = None  # sqlite3 must not open transactions of its own: _begin does
        cursor = raw.cursor()
        # SQLite would wait for a lock in C and block every other request of a gevent worker: _begun waits instead.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=0"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Without IMMEDIATE, two readers that both turn writer fail at once, whatever the time-out.
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def _begun(writing: bool) -> Iterator[Connection]:
    """Yield a connection in a transaction. A transaction that writes to SQLite waits for its turn here, and not in C.

    The other greenlets of a worker run meanwhile. Waiting transactions hold no connection, and of one process only one polls
    for the lock of another process. Between BEGIN IMMEDIATE and the end of the block nothing may switch to another greenlet
    (no network, no sleep): every later writer would wait for that as well.
    """
    until = time.monotonic() + LOCK_WAIT_S
    pause, longest = _PAUSES_S
    with _turn(until) if writing else nullcontext():
        while True:
            with db.engine.connect() as connection:
                connection = connection.execution_options(writing=writing)
                try:
                    transaction = connection.begin()
                except sa.exc.OperationalError as error:
                    if not _is_locked(error) or time.monotonic() >= until:
                        raise
                else:
                    with transaction:
                        yield connection
                    return
            time.sleep(pause)  # gevent's in a worker of a door
            pause = min(2 * pause, longest)


@contextmanager
def _turn(until: float) -> Iterator[None]:
    """Hold the right to write: at once on PostgreSQL, one transaction after the other on SQLite. Raise StoreUnavailable."""
    lock = db.engine.get_execution_options().get(WRITERS)
    if lock is None:
        yield
        return
    if not lock.acquire(timeout=max(0, until - time.monotonic())):
        raise StoreUnavailable("other writers did not finish")
    try:
        yield
    finally:
        lock.release()


def _is_locked(error: sa.exc.OperationalError) -> bool:
    # The lowest byte is the primary code. SQLITE_BUSY_RECOVERY is one of its kinds: another process reads the log of one
    # that was killed.
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


@contextmanager
def _transaction(*, writing: bool) -> Iterator[Connection]:
    try:
        with _begun(writing) as connection:
            yield connection
    except (sa.exc.OperationalError, sa.exc.TimeoutError, sa.exc.InterfaceError) as error:
        # `orig` names the fault; the statement and its parameters stay out of the message.
        raise StoreUnavailable(f"{type(error).__name__}: {type(getattr(error, 'orig', error)).__name__}") from error


def writing() -> AbstractContextManager[Connection]:
    """Open a transaction that writes, committed at the end and rolled back by an exception. Raise StoreUnavailable."""
    return _transaction(writing=True)


def reading() -> AbstractContextManager[Connection]:
    """Open a transaction that only reads. Raise StoreUnavailable."""
    return _transaction(writing=False)


def ping() -> None:
    """Raise StoreUnavailable unless the database responds."""
    with reading() as connection:
        connection.execute(sa.select(1))
