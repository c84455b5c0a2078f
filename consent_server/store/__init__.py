"""What is kept: the only SQL.

Models are declared with Flask-SQLAlchemy, migrations lie beside them. Every function takes the connection that it works on, so that an
act which writes several rows is one transaction, opened by the act itself:

    with store.writing() as connection:
        permissions.add(connection, …)
        codes.add(connection, …)

One way only: Core statements with explicit connections, on hot and cold paths alike. A refresh through ORM objects costs 5 to 8 ms,
through prepared Core statements 0.4 to 0.7 (architecture.md), and a second way of reading the same tables would buy nothing.
"""

from consent_server.store.database import StoreUnavailable, init, ping, reading, writing

__all__ = ["StoreUnavailable", "init", "ping", "reading", "writing"]
