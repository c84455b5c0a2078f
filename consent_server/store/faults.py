"""Database errors and the refusals for them: 503 with Retry-After, without statements or values."""

import sqlite3
from typing import Any, ClassVar

import sqlalchemy as sa

from consent_server.refusal import Unavailable

#: After one of these the contents of the disk are uncertain, and a later success would prove nothing.
NOT_DURABLE = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
#: PostgreSQL: ended in favour of another transaction. SQLite, which has one writer, has no such error.
_RERUN = ("40001", "40P01")
#: PostgreSQL: a table or a column is missing, as before `consent-server db upgrade`.
_NO_SUCH = ("42P01", "42703")
#: PostgreSQL: our role lacks a right. The server names the schema or the table.
_NO_RIGHT = "42501"
#: PostgreSQL: this server has become a replica.
_READ_ONLY = "25006"
#: PostgreSQL: the server ends, or breaks the connection off. What it was committing may be kept.
_BROKEN_OFF = ("57P", "08")
#: SQLite: the file is no database, or no longer.
_UNUSABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
#: Characters of what is said of all the servers that a URL names.
_LONGEST = 500
_OF_THE_SERVER = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError)


class StoreUnavailable(Unavailable):
    """The database is busy, full or unavailable. Nothing of the request was kept."""

    code = "store_unavailable"
    public = (
        "The server cannot reach its database just now; nothing was changed. Try again after the time in Retry-After."
    )
    help = "Try again after the number of seconds in Retry-After. Nothing of the refused request was kept."
    clause = "RFC 7009 2.2.1; RFC 9110 15.6.4"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class OutcomeUnknown(StoreUnavailable):
    """The database failed while it committed. All of the request was kept, or nothing."""

    code = "outcome_unknown"
    public = (
        "The database failed while this request was being finished: it was carried out as a whole, or not at all. "
        "The page at error_uri says what to look at."
    )
    help = (
        "Check before you try again. A code may be sent again while it is valid: it counts as used only once tokens "
        "were sent for it. A pushed request, a refresh, a revocation and a message may be sent again; a repetition "
        "has the same effect as the first. A business sees under its permissions what it has allowed and withdrawn."
    )


class SchemaNotCurrent(StoreUnavailable):
    """The database was not migrated to the schema of this program."""

    code = "schema_not_current"
    public = (
        "The database of this server must be upgraded by its operator: consent-server db upgrade. Nothing was changed."
    )
    help = "The operator must run `consent-server db upgrade`. Try again after the number of seconds in Retry-After."


class TransactionLost(StoreUnavailable):
    """PostgreSQL ended this transaction for the sake of another: a deadlock."""


def is_locked(error: sa.exc.OperationalError) -> bool:
    # The lowest byte is the primary code. SQLITE_BUSY_RECOVERY is one of its kinds: another process reads the log of one
    # that was killed.
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def is_uncertain(error: sa.exc.SQLAlchemyError) -> bool:
    """Return whether a COMMIT that failed so may have been carried out."""
    fault = getattr(error, "orig", None)
    if isinstance(fault, sqlite3.Error):
        return getattr(fault, "sqlite_errorcode", 0) in NOT_DURABLE
    state = getattr(fault, "sqlstate", None)  # None: the server said nothing
    return isinstance(error, _OF_THE_SERVER) and (state is None or state.startswith(_BROKEN_OFF))


def refusal_for(error: sa.exc.SQLAlchemyError) -> StoreUnavailable | None:
    """Return the refusal for a fault of the database, or None for a fault of ours.

    It names the fault, or says why there is no connection; a statement and its parameters stay out of the message.
    """
    fault: Any = getattr(error, "orig", None) or error
    state = getattr(fault, "sqlstate", None)
    if state in _NO_SUCH or (isinstance(fault, sqlite3.OperationalError) and "no such " in str(fault)):
        return SchemaNotCurrent("the database lacks a table or column: run `consent-server db upgrade`")
    if (
        state is None
        and isinstance(error, sa.exc.DBAPIError)
        and not (error.statement or isinstance(fault, sqlite3.Error))
    ):
        # libpq's own words about a connection: it names host, role, database and files, and never the password. What a server
        # says of a statement may quote values, and has a state.
        return StoreUnavailable(" ".join(str(fault).split())[:_LONGEST])
    if state == _NO_RIGHT:
        return StoreUnavailable(f"the role of database.url lacks a right: {fault.diag.message_primary}")
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    if (
        isinstance(error, _OF_THE_SERVER)
        or code in _UNUSABLE
        or state == _READ_ONLY
        or getattr(error, "connection_invalidated", False)
    ):
        kind = TransactionLost if state in _RERUN else StoreUnavailable
        return kind(f"{type(error).__name__}: {getattr(fault, 'sqlite_errorname', None) or type(fault).__name__}")
    return None
