"""What is kept: the only SQL.

Models are declared with Flask-SQLAlchemy, migrations lie beside them. Every function takes the connection that it works
on, so that an act which writes several rows is one transaction, opened by the act itself:

    with store.writing() as connection:
        permissions.add(connection, …)
        codes.add(connection, …)

There is one way only: Core statements on explicit connections, on hot and cold paths alike. A refresh through ORM
objects costs about ten times as much, and a second way of reading the same tables would buy nothing.
"""

from sqlalchemy.engine import Connection, Row

from consent_server.store.database import StoreUnavailable, init, ping, reading, writing

__all__ = ["Connection", "Row", "StoreUnavailable", "init", "ping", "reading", "writing"]
