"""A worker of a door while a database keeps one request waiting: the others go on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LONG_S, free_ports

ROOT = Path(__file__).resolve().parents[2]

#: Run in an interpreter of its own, patched as gunicorn's gevent worker patches: a row is kept from us for two seconds.
SCRIPT = """
from gevent import monkey

monkey.patch_all()

import sqlite3
import sys
import time

import gevent
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.store.database import db, metadata
from consent_server.store.schema import migrate

HELD_S = 2.0
app = Flask("worker")
store.init(app, sys.argv[1])
with app.app_context():
    migrate()
    digest = metadata.tables["fetched"]
    values = {column.name: "{}" if "headers" in column.name else 0 for column in digest.columns}
    engine = db.engine

    def holder():
        if engine.dialect.name == "sqlite":
            raw = sqlite3.connect(engine.url.database, isolation_level=None)
            raw.execute("BEGIN IMMEDIATE")
            yield
            raw.execute("COMMIT")
        else:
            with sa.create_engine(sys.argv[1]).begin() as other:
                other.execute(sa.text("LOCK TABLE fetched"))
                yield
        yield

    holding = holder()
    next(holding)

    def write():
        with app.app_context():
            started = time.monotonic()
            with store.writing() as c:
                c.execute(sa.text("DELETE FROM fetched"))
            return time.monotonic() - started

    def read():
        with app.app_context():
            for _ in range(30):
                with store.reading() as c:
                    c.execute(sa.text("SELECT count(*) FROM permission"))
                gevent.sleep(0.01)

    # more writers than the pool has connections: those that wait for SQLite hold none of them
    writers = [gevent.spawn(write) for _ in range(int(sys.argv[2]))]
    reader = gevent.spawn(read)
    gevent.sleep(HELD_S)
    reads_meanwhile = reader.ready()
    next(holding)
    waited = [writer.get(timeout=20) for writer in writers]
    print(int(reads_meanwhile), min(waited))
"""


@pytest.mark.parametrize(("database_url", "writers"), [("sqlite", 60), ("postgresql", 8)], indirect=["database_url"])
def test_a_lock_that_another_holds_delays_only_the_greenlets_that_wait_for_it(database_url: str, writers: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, database_url, str(writers)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    reads_meanwhile, waited = (float(figure) for figure in done.stdout.split()[-2:])
    assert waited > 1.5  # they did wait
    assert reads_meanwhile, "the reader waited for the lock as well"


#: The same, on a disk that takes half a second to commit.
SLOW_DISK = """
from gevent import monkey

monkey.patch_all()

import sys
import time

import gevent
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.store import limits
from consent_server.store.database import db
from consent_server.store.schema import migrate

app = Flask("worker")
store.init(app, sys.argv[1])
with app.app_context():
    migrate()
    commit, wait, commits = db.engine.dialect.do_commit, monkey.get_original("time", "sleep"), []

    def slow(raw):
        commits.append(raw)
        wait(0.5)
        commit(raw)

    db.engine.dialect.do_commit = slow

    def write(name):
        with app.app_context(), store.writing() as c:
            limits.add(c, name, 0)

    def broken_off():
        with gevent.Timeout(0.1, False):
            write("broken off")

    writers = [gevent.spawn(broken_off), *(gevent.spawn(write, str(number)) for number in range(8))]
    ticks = 0
    while not all(writer.ready() for writer in writers):
        gevent.sleep(0.01)
        ticks += 1
    gevent.joinall(writers, raise_error=True)
    with store.reading() as c:
        print(c.execute(sa.text("SELECT count(*) FROM attempt")).scalar_one(), len(commits), ticks)
"""


def test_whoever_commits_to_a_slow_disk_delays_no_other_greenlet(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW_DISK, f"sqlite:///{tmp_path / 'store.db'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    kept, commits, ticks = map(int, done.stdout.split()[-3:])
    assert kept == 9, "who is broken off while it commits has committed"
    assert commits == 2, "those that waited share one"
    assert ticks > 5, "the others go on"


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_transaction_that_writes_to_sqlite_switches_to_another_greenlet(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The whole walk, with every switch of every door watched. On PostgreSQL they switch, which shows that it is seen."""
    found = tmp_path / "found"
    found.mkdir()
    arguments = ["--base-port", str(free_ports()), "--dir", str(tmp_path / "sandbox"), "--walk", "--once"]
    if database == "postgresql":
        arguments += ["--database-url", request.getfixturevalue("postgresql_server")]
    path = os.pathsep.join([str(Path(__file__).parent / "watched"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "consent_server", "sandbox", "up", *arguments],
        capture_output=True,
        text=True,
        timeout=LONG_S - 60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "CONSENT_WATCH": str(found)},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(list(found.glob("watching-*"))) >= 4
    switched = [stack for file in found.glob("switched-*") for stack in file.read_text().split("\n\n") if stack]
    if database == "sqlite":
        assert switched == [], switched[0]
    else:
        assert switched
