"""Reading a database that is not ours: an EDP's own tables or warehouse, of any kind that SQLAlchemy supports.

The statements come from the settings, and values are always bound parameters. Nothing is ever committed, and transactions are
read-only where the database supports that.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from consent_server.aside import aside, in_time
from consent_server.settings import BadSettings
from consent_server.store.database import POOL_WAIT_S, POSTGRESQL_LINK

#: Databases in a file are read in C, where a greenlet would hold up all others, so they are read aside. Each question opens
#: the file anew: whoever loads a DuckDB file must have it alone.
_IN_A_FILE: Final = ("sqlite", "duckdb")
#: What must be installed for a dialect that does not come with us.
_EXTRAS: Final = {"duckdb": "consent-server[duckdb]"}


class ForeignFault(Exception):
    """The database did not return what it was asked for. The message says how it failed, and names no value.

    `said` is the driver's own message, which may name values and the account.
    """

    def __init__(self, how: str, said: str = "") -> None:
        super().__init__(how)
        self.said = said


class ForeignQuery:
    """A statement of the settings, with its parameters."""

    def __init__(self, setting: str, text: str, parameters: Collection[str], lists: Collection[str] = ()) -> None:
        """Raise BadSettings unless the statement has these parameters, and no others."""
        statement = sa.text(text)
        named = statement.compile().params.keys()
        if not text.strip() or named != set(parameters):
            wanted = ", ".join(f":{name}" for name in parameters)
            raise BadSettings(f"{setting}: a query with the parameters {wanted}, and no others")
        self.setting = setting
        self.statement = statement.bindparams(*(sa.bindparam(name, expanding=True) for name in lists))


class ForeignDatabase:
    """A database of the operator's own; `setting` is where its URL is."""

    def __init__(self, setting: str, url: str, longest_s: int) -> None:
        """Raise BadSettings for a URL that cannot be used. It connects at the first question."""
        self._longest_s = longest_s
        try:
            self._url = sa.make_url(url)
            self._engine = _engine(self._url)
        except (sa.exc.NoSuchModuleError, ImportError) as error:
            dialect = self._url.get_backend_name()
            lacking = getattr(error, "name", None) or f"the dialect {dialect}"
            raise BadSettings(f"{setting}: install {_EXTRAS.get(dialect, lacking)}") from None
        except (sa.exc.ArgumentError, TypeError):
            raise BadSettings(f"{setting}: a SQLAlchemy URL, as postgresql+psycopg://reader@host/meters") from None

    def rows(self, query: ForeignQuery, most: int, **values: Any) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        """Return the names of the columns, and the rows: one more than `most` of them at most. Raise ForeignFault."""

        def ask() -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
            with self._engine.connect() as connection:  # closing it rolls back
                self._only_reads(connection)
                found = connection.execution_options(stream_results=True).execute(query.statement, values)
                return list(found.keys()), found.fetchmany(most + 1)

        try:
            if self._url.get_backend_name() in _IN_A_FILE:
                return aside(ask, self._longest_s, "metering")
            # A second more than the database has: it may say by itself that its time is up.
            return in_time(ask, self._longest_s + 1)
        except TimeoutError:
            raise ForeignFault("no response in time") from None
        except sa.exc.SQLAlchemyError as error:
            # Apart from its text: that has the statement's values, and some drivers' the account.
            fault = getattr(error, "orig", None) or error
            raise ForeignFault(type(fault).__name__, str(fault)) from None

    def _only_reads(self, connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            # For this transaction alone: pgbouncer gives the next one to somebody else.
            connection.execute(
                sa.text(
                    "SELECT set_config('transaction_read_only', 'on', true), set_config('statement_timeout', :ms, true)"
                ),
                {"ms": str(self._longest_s * 1000)},
            )


def _engine(url: sa.URL) -> Engine:
    dialect = url.get_backend_name()
    if dialect == "sqlite" and url.database:
        # Else SQLite would make a file that is not there.
        only_read = sa.URL.create(
            url.drivername, database=f"file:{quote(url.database)}", query={"mode": "ro", "uri": "true"}
        )
        return sa.create_engine(only_read, poolclass=NullPool)
    if dialect == "duckdb":
        in_memory = url.database in (None, "", ":memory:")
        return sa.create_engine(url, poolclass=NullPool, connect_args={} if in_memory else {"read_only": True})
    options: dict[str, Any] = {"pool_size": 8, "max_overflow": 8, "pool_timeout": POOL_WAIT_S, "pool_pre_ping": True}
    if url.drivername == "postgresql+psycopg":
        options["connect_args"] = POSTGRESQL_LINK
    return sa.create_engine(url, **options)
