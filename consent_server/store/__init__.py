"""What is kept: the only SQL.

`tables` declares each table as the type of its rows. Every function takes the connection that it works on, so that an act
which writes several rows is one transaction, opened by the act itself:

    with store.writing() as connection:
        permissions.add(connection, Permission(…))
        codes.add(connection, AuthorizationCode(…))

Where an act consists of functions that each open a transaction, `store.together()` makes them one transaction.

All statements are Core statements on explicit connections; those of the most frequent acts run on the driver's own cursor
(`statement`). A refresh through ORM objects costs about ten times as much, and a second way to read the same tables would
gain nothing.
"""

from sqlalchemy.engine import Connection

from consent_server.store.database import empty_log, init, journal, ping, reading, together, write_with_retry, writing
from consent_server.store.faults import OutcomeUnknown, StoreUnavailable

__all__ = [
    "Connection",
    "OutcomeUnknown",
    "StoreUnavailable",
    "empty_log",
    "init",
    "journal",
    "ping",
    "reading",
    "together",
    "write_with_retry",
    "writing",
]
