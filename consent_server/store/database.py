"""The database: one engine per process, SQLite or PostgreSQL, and the two kinds of transaction."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import Flask, current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.pool import QueuePool

from consent_server.settings import DatabaseSettings
from consent_server.store.faults import (
    NOT_DURABLE,
    OutcomeUnknown,
    StoreUnavailable,
    TransactionLost,
    is_locked,
    is_uncertain,
    refusal_for,
)
from consent_server.store.waiting import PAUSES_S, LockWait, Writers, lock_wait_of_this_request

#: Seconds for which one migration of SQLite waits for another.
MIGRATION_WAIT_S = 300.0
#: Seconds for which a request waits for a free connection.
POOL_WAIT_S = 2
#: What PostgreSQL ends by itself, in milliseconds: a wait for a lock (longer than its search for deadlocks waits, which is
#: one second), a statement, and a transaction whose process has stopped. Migrations are exempt.
POSTGRESQL_LIMITS_MS = {"lock_timeout": 3000, "statement_timeout": 30000, "idle_in_transaction_session_timeout": 30000}
#: How often a block of `write_with_retry` is run again.
RERUNS = 3
#: The engine's option that holds those who write to SQLite in this process.
WRITERS = "writers"
#: How a connection to PostgreSQL is opened and watched (the names are libpq's).
POSTGRESQL_LINK = {
    "connect_timeout": 2,
    # A server that was cut off says nothing; the kernel would believe in it for a quarter of an hour.
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
    # A statement prepared on one server connection is unknown on the next that pgbouncer gives us (transaction mode).
    "prepare_threshold": None,
}
#: SQLSTATE of BEGIN READ WRITE, and of a statement that writes, where the database only follows another.
_SAYS_A_STANDBY = ("0A000", "25006")

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


def init(app: Flask, url: str, journal: Path | None = None) -> None:
    """Set up the engine of `app`. A SQLite file's directory must exist. `journal` is the file of withdrawals."""
    is_sqlite = url.startswith("sqlite")
    options: dict[str, Any] = {"pool_size": 16, "max_overflow": 16, "pool_timeout": POOL_WAIT_S}
    if is_sqlite:
        options |= {"poolclass": QueuePool, "connect_args": {"timeout": 0, "check_same_thread": False}}
    else:
        options |= {"pool_pre_ping": True, "connect_args": POSTGRESQL_LINK}
    app.config["WITHDRAWAL_JOURNAL"] = journal
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    db.init_app(app)
    _migrate.init_app(app)
    with app.app_context():
        (_prepare_sqlite if is_sqlite else _prepare_postgresql)(db.engine)


def journal() -> Path | None:
    """Return the file in which the current application writes withdrawals down, outside of its database."""
    found: Path | None = current_app.config["WITHDRAWAL_JOURNAL"]
    return found


@contextmanager
def opened(settings: DatabaseSettings) -> Iterator[None]:
    """Open a party's database alone, for its operator, even while the doors cannot start."""
    app = Flask("consent-server-command")
    init(app, settings.url, settings.withdrawal_journal)
    with app.app_context():
        try:
            yield
        finally:
            db.engine.dispose()


def _prepare_postgresql(engine: Engine) -> None:
    limits = ", ".join(f"('{name}', '{limit}')" for name, limit in POSTGRESQL_LIMITS_MS.items())

    @sa.event.listens_for(engine, "connect")
    def _limits(raw: Any, _record: object) -> None:
        # Not as options of the connection, which pgbouncer refuses. What URL, role or database set stays.
        raw.autocommit = True
        raw.execute(
            f"SELECT set_config(name, ms, false) FROM (VALUES {limits}) AS given (name, ms) WHERE current_setting(name) = '0'"  # noqa: S608
        )
        raw.autocommit = False
        # Every transaction then starts with BEGIN READ WRITE, which a standby refuses: it may not know yet what has ended.
        raw.read_only = False

    @sa.event.listens_for(engine, "handle_error")
    def _standby(context: ExceptionContext) -> StoreUnavailable | None:
        if getattr(context.original_exception, "sqlstate", None) not in _SAYS_A_STANDBY:
            return None
        context.is_disconnect = True  # the next attempt looks for the primary again
        return StoreUnavailable("the database is a standby; DATABASE_URL must lead to the primary")


def _prepare_sqlite(engine: Engine) -> None:
    engine.update_execution_options(**{WRITERS: Writers()})

    @sa.event.listens_for(engine, "connect")
    def _pragmas(raw: Any, _record: object) -> None:
        raw.isolation_level = None  # sqlite3 must not open transactions of its own: _begin does
        cursor = raw.cursor()
        # SQLite would wait for a lock in C and block every other request of a gevent worker: we wait ourselves.
        for pragma in ("busy_timeout=0", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Without IMMEDIATE, two readers that both turn writer fail at once, whatever the time-out.
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _connected(wait: LockWait) -> Connection:
    """Return a connection. A new one to SQLite waits while another process reads the log of one that was killed."""
    pause, longest = PAUSES_S
    waited = 0.0
    while True:
        try:
            return db.engine.connect()
        except sa.exc.OperationalError as error:
            if not is_locked(error):
                raise
        wait.spend(pause, waited)
        time.sleep(pause)
        waited, pause = waited + pause, min(2 * pause, longest)


@contextmanager
def _begun(writing: bool, wait: LockWait) -> Iterator[Connection]:
    """Yield a connection in a transaction. A transaction that writes to SQLite waits for its turn here, and not in C.

    The other greenlets of a worker run meanwhile; those that wait hold no connection, but for the one that polls. Between
    BEGIN IMMEDIATE and the end of the block nothing may switch to another greenlet (no network, no sleep): every later
    writer would wait for that as well.
    """
    writers = db.engine.get_execution_options().get(WRITERS)
    if not writing or writers is None:
        with _connected(wait) as connection, connection.begin():
            yield connection
        return
    if writers.broken:
        raise StoreUnavailable(f"{writers.broken}: nothing is written any more; look at the disk, then restart")
    with writers.turn(wait), _connected(wait) as connection:
        connection = connection.execution_options(writing=True)
        try:
            with writers.begin(connection, wait):
                yield connection
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlite_errorcode", 0) in NOT_DURABLE:
                writers.broken = str(getattr(error.orig, "sqlite_errorname", ""))
            raise


@contextmanager
def _transaction(*, writing: bool, wait: LockWait | None = None) -> Iterator[Connection]:
    wait = wait or lock_wait_of_this_request()
    if wait.left_s <= 0:
        raise StoreUnavailable("it was unavailable to this request before")
    committing = False
    try:
        with _begun(writing, wait) as connection:
            yield connection
            committing = writing
    except sa.exc.SQLAlchemyError as error:
        refusal = refusal_for(error)
        if refusal is None:
            raise
        if committing and is_uncertain(error):
            refusal = OutcomeUnknown(refusal.private)
        if not isinstance(refusal, TransactionLost):
            wait.left_s = 0
        raise refusal from error


T = TypeVar("T")


def write_with_retry(block: Callable[[Connection], T]) -> T:
    """Run a block in a transaction that writes and return what it returns; run it again when a deadlock ended it.

    Nothing but the database may remember that the block ran. Raise StoreUnavailable.
    """
    for _ in range(RERUNS):
        try:
            with writing() as connection:
                return block(connection)
        except TransactionLost:
            time.sleep(secrets.randbelow(50) / 1000)
    with writing() as connection:
        return block(connection)


def writing() -> AbstractContextManager[Connection]:
    """Open a transaction that writes, committed at the end and rolled back by an exception.

    Raise StoreUnavailable, and OutcomeUnknown where it may have been committed.
    """
    return _transaction(writing=True)


def reading(wait: LockWait | None = None) -> AbstractContextManager[Connection]:
    """Open a transaction that only reads. Raise StoreUnavailable, also where a transaction of this request failed before
    and no `wait` of its own is given.
    """
    return _transaction(writing=False, wait=wait)


def migrating() -> AbstractContextManager[Connection]:
    """Open a transaction that changes the schema. On SQLite it waits for another one, minutes if need be."""
    return _transaction(writing=True, wait=LockWait(MIGRATION_WAIT_S, MIGRATION_WAIT_S))


def ping() -> None:
    """Raise StoreUnavailable unless the database responds."""
    with reading() as connection:
        connection.execute(sa.select(1))


class _Undone(Exception):
    """Ends a transaction that is to leave nothing."""


def require_writable() -> None:
    """Write a row and take it back. Raise StoreUnavailable."""
    with suppress(_Undone), writing() as connection:
        connection.exec_driver_sql("CREATE TABLE writable_for_us (written INTEGER)")
        connection.exec_driver_sql("INSERT INTO writable_for_us VALUES (1)")
        raise _Undone
