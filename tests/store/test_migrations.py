"""The schema changes while doors serve, by several commands at once, and is whole whenever one is killed."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.store import schema
from consent_server.store.database import db
from consent_server.tokens import data_sources
from tests.deployments import layout

ROOT = Path(__file__).resolve().parents[2]
#: From this revision on every migration only adds: the version before it goes on serving.
FIRST_ADDITIVE = "0003"

KILLED = """
import os, sys
import sqlalchemy as sa
from flask import Flask
from consent_server import store
from consent_server.store import schema

app = Flask("killed")
store.init(app, sys.argv[1])

@sa.event.listens_for(sa.engine.Engine, "before_cursor_execute")
def kill(connection, cursor, statement, *rest):
    if sys.argv[2] in statement:
        os._exit(9)

with app.app_context():
    schema.migrate()
"""


@pytest.fixture
def empty(database_url: str) -> Iterator[Flask]:
    app = Flask("migrations-test")
    store.init(app, database_url)
    with app.app_context():
        yield app
        db.engine.dispose()


def standing() -> str:
    return schema.state()


def test_O9_several_upgrades_at_once_all_succeed(empty: Flask, database_url: str) -> None:
    command = [sys.executable, "-m", "consent_server", "db", "upgrade", "--config", str(layout().settings("edp"))]
    environment = {**os.environ, "DATABASE_URL": database_url}
    running = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert standing() == "current"


@pytest.mark.parametrize("at", ["CREATE TABLE permission", "CREATE TABLE node", "UPDATE alembic_version"])
def test_G14_an_upgrade_that_is_killed_is_run_again(empty: Flask, database_url: str, at: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, database_url, at], cwd=ROOT, timeout=60)
    assert done.returncode == 9
    assert standing() == "behind"
    assert set(sa.inspect(db.engine).get_table_names()) <= {"alembic_version"}, "all of it or nothing"
    schema.migrate()
    assert standing() == "current"


def test_G14_doors_serve_while_the_schema_changes(empty: Flask) -> None:
    """The doors' statements, on the schema before the newest migration, while it runs, and after it."""
    newest = schema._revisions()[-1]
    before = schema._revisions()[-2]
    schema.migrate(before)
    stop = threading.Event()
    failed: list[str] = []
    done: list[int] = []

    def serve(number: int) -> None:
        with empty.app_context():
            while not stop.is_set() or not done:
                try:
                    with store.writing() as c:
                        c.execute(
                            sa.text('INSERT INTO attempt (key, "window", count) VALUES (:key, :at, 1)'),
                            {"key": f"{number}", "at": len(done)},
                        )
                    with store.reading() as c:
                        c.execute(sa.text("SELECT count(*) FROM permission"))
                    done.append(1)
                except store.StoreUnavailable as refusal:
                    failed.append(refusal.private)
                stop.wait(0.01)

    serving = threading.Thread(target=serve, args=(1,))
    serving.start()
    schema.migrate(newest)
    stop.set()
    serving.join(20)
    assert not failed
    assert done


def described() -> dict[str, dict[str, Any]]:
    """Table -> column -> what an insert must know of it; and what an insert must keep to."""
    inspector = sa.inspect(db.engine)
    found: dict[str, dict[str, Any]] = {}
    for name in inspector.get_table_names():
        columns = {each["name"]: each for each in inspector.get_columns(name)}
        found[name] = {
            "columns": {key: (str(each["type"]), each["nullable"]) for key, each in columns.items()},
            "needed": {key for key, each in columns.items() if not each["nullable"] and each["default"] is None},
            "rules": {
                *(("unique", *sorted(each["column_names"])) for each in inspector.get_unique_constraints(name)),
                *(("unique", *sorted(each["column_names"])) for each in inspector.get_indexes(name) if each["unique"]),
                *(("foreign", *sorted(each["constrained_columns"])) for each in inspector.get_foreign_keys(name)),
                *(("check", str(each["sqltext"])) for each in inspector.get_check_constraints(name)),
            },
        }
    return found


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_G14_every_migration_only_adds(empty: Flask) -> None:
    """What the version before reads and writes is there afterwards, and nothing new is asked of it."""
    revisions = schema._revisions()
    first = revisions.index(FIRST_ADDITIVE)
    schema.migrate(revisions[first - 1])
    before = described()
    for revision in revisions[first:]:
        schema.migrate(revision)
        after = described()
        for table, old in before.items():
            new = after[table]
            assert old["columns"].items() <= new["columns"].items(), f"{revision}: {table} lost or changed a column"
            assert new["needed"] <= old["needed"], f"{revision}: {table} needs what the version before does not write"
            # A new column that must be unique forbids nothing to those who leave it empty.
            rules = {
                (kind, *about) for kind, *about in new["rules"] if kind == "check" or old["columns"].keys() & {*about}
            }
            assert rules <= old["rules"], f"{revision}: {table} forbids what the version before writes"
        before = after


def filled(table: sa.Table) -> dict[str, Any]:
    """A value for every column of a table."""
    kinds: list[tuple[type[Any], Any]] = [
        (sa.Boolean, True),
        (sa.Integer, 7),
        (sa.Float, 0.5),
        (sa.LargeBinary, b"bytes"),
        (sa.JSON, [{"id": "an-old-id", "meter": "m-1"}]),
    ]
    return {
        each.name: next((value for kind, value in kinds if isinstance(each.type, kind)), each.name[:4])
        for each in table.columns
    }


def test_G14_an_upgrade_keeps_every_row_of_every_table(empty: Flask) -> None:
    schema.migrate(schema._revisions()[schema._revisions().index(FIRST_ADDITIVE) - 1])
    old = sa.MetaData()
    with db.engine.begin() as c:
        old.reflect(c)
        kept = {table.name: filled(table) for table in old.sorted_tables if table.name != "alembic_version"}
        kept["datasource"]["id"] = "an-old-id"
        for name, foreign in [(each, key) for each in kept for key in old.tables[each].foreign_keys]:
            kept[name][foreign.parent.name] = kept[foreign.column.table.name][foreign.column.name]
        for table in old.sorted_tables:
            if table.name in kept:
                c.execute(sa.insert(table).values(kept[table.name]))
    schema.migrate()
    with store.reading() as c:
        for name, values in kept.items():
            (row,) = c.execute(sa.select(old.tables[name])).mappings()
            found = dict(row)
            if name == "datasource":
                renamed = found.pop("id")
                assert values.pop("id") == "an-old-id"
                data_sources.series_and_number(renamed)
            if name == "permission":
                assert found.pop("datasources") == [{"id": renamed, "meter": "m-1"}]
                del values["datasources"]
            assert found == values, name
