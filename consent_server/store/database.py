"""The database: one engine per process, SQLite or PostgreSQL, and the two kinds of transaction."""

import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import sqlalchemy as sa
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import Connection, Engine, ExceptionContext, RootTransaction
from sqlalchemy.pool import QueuePool

from consent_server import traces
from consent_server.settings import BadSettings
from consent_server.settings.storage import DatabaseSettings
from consent_server.store.faults import (
    NOT_DURABLE,
    OutcomeUnknown,
    StoreUnavailable,
    TransactionLost,
    is_locked,
    is_uncertain,
    refusal_for,
)
from consent_server.store.kept import KeptConnections
from consent_server.store.statement import Statement
from consent_server.store.waiting import LOCK_WAIT_S, PAUSES_S, LockWait, lock_wait_of_this_request
from consent_server.store.writers import Writers

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
#: The option of a connection on which each statement is a transaction of its own: neither BEGIN nor COMMIT is sent.
ALONE = "alone"
#: The engines that share the pool of an engine, by what their connections are for: "reading", "writing" or ALONE.
KINDS = "kinds"
#: The engine's option that holds those of its connections that are kept for single statements.
KEPT = "kept"
#: How a connection to PostgreSQL is opened and watched (the names are libpq's).
POSTGRESQL_LINK = {
    "connect_timeout": 2,
    # A server that was cut off sends nothing; the kernel would keep the connection for a quarter of an hour.
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
    # Nothing is prepared, unless `_prepare_postgresql` says otherwise.
    "prepare_threshold": None,
}
#: How often a connection runs a statement before the server keeps its plan. To parse and plan a redemption takes longer than to
#: run it.
PREPARED_AFTER = 5
#: On PostgreSQL.
_BEGIN = Statement(sa.text("BEGIN READ WRITE"))
#: SQLSTATE of a statement that writes, where the database only follows another; and of BEGIN READ WRITE there, or of a
#: prepared statement that would return columns of other types than before.
_READ_ONLY, _UNSUPPORTED = "25006", "0A000"
_STANDBY = "the database is a standby; DATABASE_URL must lead to the primary"
_CHANGED = "a column has another type than when the statement was prepared"

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


def init(app: Flask, url: str, journal: Path | None = None) -> None:
    """Set up the engine of `app`. A SQLite file's directory must exist. `journal` is the file of withdrawals."""
    is_sqlite = url.startswith("sqlite")
    options: dict[str, Any] = {"pool_size": 16, "max_overflow": 16, "pool_timeout": POOL_WAIT_S}
    # A look at the connection says whether there is something to roll back (`_reset`); the pool would always send it.
    options["pool_reset_on_return"] = None
    if is_sqlite:
        options |= {"poolclass": QueuePool, "connect_args": {"timeout": 0, "check_same_thread": False}}
    else:
        options |= {"connect_args": POSTGRESQL_LINK}
    app.config["WITHDRAWAL_JOURNAL"] = journal
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    db.init_app(app)
    with app.app_context():
        (_prepare_sqlite if is_sqlite else _prepare_postgresql)(db.engine)
        # Made once: options that are set on each connection cost more than some statements.
        kinds = {kind: db.engine.execution_options(**{kind: True}) for kind in ("reading", "writing", ALONE)}
        db.engine.update_execution_options(**{KINDS: kinds, KEPT: KeptConnections(db.engine)})


def is_sqlite() -> bool:
    """Return whether the current application's database is SQLite, which has one writer and is never another machine's."""
    return db.engine.dialect.name == "sqlite"


def upgrade(revision: str) -> None:
    """Run the migrations of the current application's database up to one of them, or "head" (see `schema.migrate`)."""
    from flask_migrate import Migrate  # Alembic takes a tenth of a second, and no door needs it
    from flask_migrate import upgrade as run

    Migrate(current_app, db, directory=str(MIGRATIONS), compare_type=True)
    run(directory=str(MIGRATIONS), revision=revision)


def journal() -> Path | None:
    """Return the file in which the current application writes withdrawals down, outside of its database."""
    found: Path | None = current_app.config["WITHDRAWAL_JOURNAL"]
    return found


class DatabaseMissing(BadSettings):
    """The file of a SQLite database is not there."""


def require_file(settings: DatabaseSettings) -> None:
    """Raise DatabaseMissing where a SQLite file is not there: SQLite would make an empty one, of a name that is misspelt."""
    url = sa.make_url(settings.url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        why = "name the right file in database.url, or make it: `consent-server db upgrade` as the server's user"
        raise DatabaseMissing(f"{url.database} does not exist: {why}")


def _require_folder(settings: DatabaseSettings) -> None:
    """Raise DatabaseMissing where a SQLite file cannot be made: SQLite says only that it is unable to open it."""
    url = sa.make_url(settings.url)
    if url.get_backend_name() == "sqlite" and url.database:
        folder = Path(url.database).absolute().parent
        if not os.access(folder, os.W_OK | os.X_OK):
            why = "is no folder in which this user may make files: make it, or run this as the server's user"
            raise DatabaseMissing(f"database.url: {folder} {why}")


@contextmanager
def opened(settings: DatabaseSettings, *, make: bool = False) -> Iterator[None]:
    """Open a party's database alone, for its operator, even while the doors cannot start.

    Raise DatabaseMissing where the file is to be made (`make`) and cannot be; otherwise whatever connects raises it for a file
    that is not there.
    """
    app = Flask("consent-server-command")
    init(app, settings.url, settings.withdrawal_journal)
    with app.app_context():
        if make:
            _require_folder(settings)
        else:
            sa.event.listen(db.engine, "do_connect", lambda *_: require_file(settings))
        try:
            yield
        finally:
            db.engine.dispose()


def _prepare_postgresql(engine: Engine) -> None:
    from consent_server.store.postgresql import connection_class  # psycopg is loaded where there is a PostgreSQL

    limits = ", ".join(f"('{name}', '{limit}')" for name, limit in POSTGRESQL_LIMITS_MS.items())

    @sa.event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, arguments: list[Any], how: dict[str, Any]) -> Any:
        return connection_class().connect(*arguments, **how)

    @sa.event.listens_for(engine, "connect")
    def _set_up(raw: Any, _record: object) -> None:
        # Transactions are begun by _begin alone, so that a statement by itself needs none.
        raw.autocommit = True
        # Not as options of the connection, which pgbouncer refuses. What URL, role or database set stays.
        raw.execute(
            f"SELECT set_config(name, ms, false) FROM (VALUES {limits}) AS given (name, ms) WHERE current_setting(name) = '0'"  # noqa: S608 - our own limits
        )
        # What one server process has prepared is unknown to the next that a pooler gives us (pgbouncer, transaction mode). It
        # tells its clients numbers of its own, as a process could not be cancelled by that of another.
        (process,) = raw.execute("SELECT pg_backend_pid()").fetchone()
        if process == raw.info.backend_pid:
            raw.prepare_threshold = PREPARED_AFTER

    @sa.event.listens_for(engine, "reset")
    def _reset(raw: Any, _record: object, _state: object) -> None:
        if raw.pgconn.transaction_status:  # 0 is psycopg.pq.TransactionStatus.IDLE
            raw.rollback()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(ALONE):
            # READ WRITE, which a standby refuses: it may not know yet what has ended.
            _BEGIN.run(connection)

    @sa.event.listens_for(engine, "handle_error")
    def _not_on_this_connection(context: ExceptionContext) -> StoreUnavailable | None:
        state = getattr(context.original_exception, "sqlstate", None)
        if state not in (_READ_ONLY, _UNSUPPORTED):
            return None
        context.is_disconnect = True  # the next attempt looks for the primary again, and has nothing prepared yet
        is_standby = state == _READ_ONLY or context.statement == str(_BEGIN.core("postgresql"))
        return StoreUnavailable(_STANDBY if is_standby else _CHANGED)


def _prepare_sqlite(engine: Engine) -> None:
    engine.update_execution_options(**{WRITERS: Writers(KeptConnections(engine))})

    @sa.event.listens_for(engine, "connect")
    def _pragmas(raw: Any, _record: object) -> None:
        raw.isolation_level = None  # sqlite3 must not open transactions of its own: _begin does
        cursor = raw.cursor()
        # SQLite would wait for a lock in C and block every other request of a gevent worker: we wait ourselves. What is deleted
        # is overwritten, which not every build of SQLite does by itself.
        for pragma in ("busy_timeout=0", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "reset")
    def _reset(raw: Any, _record: object, _state: object) -> None:
        if raw.in_transaction:
            raw.rollback()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get(ALONE):
            return
        raw: Any = connection.connection.driver_connection
        try:
            # Without IMMEDIATE, two readers that both turn writer fail at once, whatever the time-out.
            raw.execute("BEGIN IMMEDIATE" if options.get("writing") else "BEGIN")
        except sqlite3.Error as error:
            raise sa.exc.DBAPIError.instance("BEGIN", None, error, sqlite3.Error) from error


def _connected(wait: LockWait, kind: str) -> Connection:
    """Return a connection for "reading", "writing" or ALONE.

    A new one to SQLite waits while another process reads the log of one that was killed.
    """
    engine: Engine = db.engine.get_execution_options()[KINDS][kind]
    pause, longest = PAUSES_S
    waited = 0.0
    while True:
        try:
            return engine.connect()
        except sa.exc.OperationalError as error:
            if not is_locked(error):
                raise
        wait.spend(pause, waited)
        time.sleep(pause)
        waited, pause = waited + pause, min(2 * pause, longest)


def _kept(wait: LockWait) -> AbstractContextManager[Connection]:
    """Lend a connection for one statement."""
    kept: KeptConnections = db.engine.get_execution_options()[KEPT]
    return kept.lend(lambda: _connected(wait, ALONE))


@contextmanager
def _begun(writing: bool, wait: LockWait) -> Iterator[Connection]:
    """Yield a connection in a transaction. A transaction that writes to SQLite waits for its turn here, and not in C.

    The other greenlets of a worker run meanwhile; those that wait hold no connection, but for the one that polls. Nothing in
    the block may switch to another greenlet (no network, no sleep): every later writer would wait for that as well.
    """
    writers: Writers | None = db.engine.get_execution_options().get(WRITERS)
    if not writing or writers is None:
        connection, transaction = _live(wait, "writing" if writing else "reading")
        with connection, transaction:
            yield connection
        return
    if writers.broken:
        raise StoreUnavailable(f"{writers.broken}: nothing is written any more; look at the disk, then restart")
    try:
        with writers.act(wait, lambda: _connected(wait, "writing")) as connection:
            yield connection
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) in NOT_DURABLE:
            writers.broken = str(getattr(error.orig, "sqlite_errorname", ""))
        raise


def _live(wait: LockWait, kind: str) -> tuple[Connection, RootTransaction]:
    """Return a connection and its transaction. One that the server has closed is replaced: nothing was done on it yet."""
    is_new = False
    while True:
        connection = _connected(wait, kind)
        try:
            return connection, connection.begin()
        except sa.exc.DBAPIError as error:
            connection.close()
            if is_new or not error.connection_invalidated:
                raise
            is_new = True  # the pool opens another: what it had was opened before this one failed


@contextmanager
def _transaction(*, writing: bool, wait: LockWait | None = None) -> Iterator[Connection]:
    wait = wait or lock_wait_of_this_request()
    committing = False
    try:
        _require_time(wait)
        # around the transaction: nothing of a span happens while SQLite's other writers wait
        with traces.span("store write" if writing else "store read"), _begun(writing, wait) as connection:
            yield connection
            committing = writing
    except sa.exc.SQLAlchemyError as error:
        _refuse(error, wait, committing=committing)


def _require_time(wait: LockWait) -> None:
    if wait.left_s <= 0:
        raise StoreUnavailable("it was unavailable to this request before")


def _refuse(error: sa.exc.SQLAlchemyError, wait: LockWait, *, committing: bool) -> NoReturn:
    """Raise the refusal that stands for a database's error, or the error itself where it is a fault of ours."""
    refusal = refusal_for(error)
    if refusal is None:
        raise error
    if committing and is_uncertain(error):
        refusal = OutcomeUnknown(refusal.private)
    if not isinstance(refusal, TransactionLost):
        wait.left_s = 0
    raise refusal from error


def ask(query: Statement, values: Mapping[str, object]) -> Sequence[Any] | None:
    """Return the one row that a query finds, or None, without a transaction: the database is waited for once.

    Within `together` it is a part of that transaction. The first column of a row that is found must not be NULL. Raise
    StoreUnavailable.
    """
    act = _under_way()
    if act is not None:
        with _part(act) as connection:
            return query.row(connection, values)
    wait = lock_wait_of_this_request()
    try:
        _require_time(wait)
        if is_sqlite():
            with _kept(wait) as connection:
                return query.row(connection, values)
        answer, _ = _by_itself(_in_one_row(query), values, wait)
    except sa.exc.SQLAlchemyError as error:
        _refuse(error, wait, committing=False)
    assert answer is not None  # its first column has no condition
    is_standby, *row = answer
    if is_standby:
        db.engine.dispose()  # the next attempt looks for the primary again
        raise StoreUnavailable(_STANDBY)
    return None if row[0] is None else row


def write_alone(statement: Statement, values: Mapping[str, object]) -> Sequence[Any] | None:
    """Run one statement that writes, as a transaction of its own, and return its row. Not within `together`.

    Where its connection is lost on PostgreSQL it is run again, and must have the effect of one run then. Raise
    StoreUnavailable, and OutcomeUnknown also where the second run has no row: the first may have had it.
    """
    assert _under_way() is None
    if is_sqlite():
        with writing() as connection:
            return statement.row(connection, values)
    wait = lock_wait_of_this_request()
    try:
        _require_time(wait)
        row, is_second = _by_itself(statement, values, wait)
    except sa.exc.SQLAlchemyError as error:
        _refuse(error, wait, committing=True)
    if row is None and is_second:
        raise OutcomeUnknown("its connection was lost while it ran")
    return row


def _by_itself(statement: Statement, values: Mapping[str, object], wait: LockWait) -> tuple[Sequence[Any] | None, bool]:
    """Return a statement's row, and whether it was run again because the connection was lost."""
    is_second = False
    while True:
        try:
            with _kept(wait) as connection:
                return statement.row(connection, values), is_second
        except sa.exc.DBAPIError as error:
            if is_second or error.statement is None or not is_uncertain(error):  # no statement: no connection was there
                raise
            is_second = True


@cache
def _in_one_row(query: Statement) -> Statement:
    """Return a query for whether PostgreSQL is a standby, which refuses no SELECT, and for what `query` finds, if anything."""
    core: Any = query.core("postgresql")
    found = core.subquery("found")
    here = sa.select(sa.func.pg_is_in_recovery().label("is_standby")).subquery("here")
    return Statement(sa.select(here.c.is_standby, *found.c).select_from(here.outerjoin(found, sa.true())))


@dataclass
class _Act:
    """A transaction that others join, and whether one of them has failed."""

    engine: Engine
    connection: Connection
    failed: bool = False


_act: ContextVar[_Act | None] = ContextVar("act", default=None)


@contextmanager
def together() -> Iterator[None]:
    """Run the block in one transaction that writes: every `reading` and `writing` inside is a part of it.

    Nothing in the block may call out or sleep (see `_begun`). Where a part fails all of it is rolled back, so an exception of a
    part must leave the block. Raise as `writing`.
    """
    with writing() as connection:
        act = _Act(db.engine, connection)
        token = _act.set(act)
        try:
            yield
        finally:
            _act.reset(token)
        if act.failed:
            raise RuntimeError("a part of this transaction failed, and the rest of it went on")


@contextmanager
def _part(act: _Act) -> Iterator[Connection]:
    if act.failed:
        raise StoreUnavailable("the transaction has failed before")
    try:
        yield act.connection
    except BaseException:
        act.failed = True
        raise


def _under_way() -> _Act | None:
    act = _act.get()
    return act if act is not None and act.engine is db.engine else None


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
    act = _under_way()
    return _transaction(writing=True) if act is None else _part(act)


def reading() -> AbstractContextManager[Connection]:
    """Open a transaction that only reads. Raise StoreUnavailable, also where a transaction of this request failed before."""
    act = _under_way()
    return _transaction(writing=False) if act is None else _part(act)


def migrating() -> AbstractContextManager[Connection]:
    """Open a transaction that changes the schema. On SQLite it waits for another one, minutes if need be."""
    return _transaction(writing=True, wait=LockWait(MIGRATION_WAIT_S, MIGRATION_WAIT_S))


def empty_log() -> bool:
    """Move SQLite's log into its file, so that what was deleted is in neither; return False where others did not let us.

    The log is otherwise written over from its beginning, and what is near its end may stay for weeks.
    """
    if not is_sqlite():
        return True
    wait, (pause, longest) = LockWait(LOCK_WAIT_S, LOCK_WAIT_S), PAUSES_S
    try:
        while True:
            with _connected(wait, ALONE) as connection:
                is_busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            if not is_busy:
                return True
            wait.spend(pause, 0.0)
            time.sleep(pause)
            pause = min(2 * pause, longest)
    except (StoreUnavailable, sa.exc.OperationalError):
        return False


def ping() -> None:
    """Raise StoreUnavailable unless the database responds."""
    with reading() as connection:
        connection.execute(sa.select(1))
