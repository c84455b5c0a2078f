"""A worker of a door while a database keeps one request waiting: the others go on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LONG_S, free_ports

ROOT = Path(__file__).resolve().parents[2]

#: Run in an interpreter of its own, patched as gunicorn's gevent worker patches: a table is kept from us.
SCRIPT = """
from gevent import monkey

monkey.patch_all()

import sqlite3
import sys

import gevent
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.store.database import db, metadata
from consent_server.store.schema import migrate

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
        with app.app_context(), store.writing() as c:
            c.execute(sa.text("DELETE FROM fetched"))

    def read():
        with app.app_context():
            for _ in range(10):
                with store.reading() as c:
                    c.execute(sa.text("SELECT count(*) FROM permission"))
                gevent.sleep(0.01)

    # more writers than the pool has connections: those that wait for SQLite hold none of them
    writers = [gevent.spawn(write) for _ in range(int(sys.argv[2]))]
    gevent.sleep(0.5)
    gevent.spawn(read).get(timeout=60)
    written_meanwhile = sum(writer.ready() for writer in writers)
    next(holding)
    gevent.joinall(writers, timeout=60, raise_error=True)
    print(written_meanwhile, sum(writer.successful() for writer in writers))
"""


@pytest.mark.parametrize(("database_url", "writers"), [("sqlite", 60), ("postgresql", 8)], indirect=["database_url"])
def test_a_lock_that_another_holds_delays_only_the_greenlets_that_wait_for_it(database_url: str, writers: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, database_url, str(writers)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    # The lock is released when the reader has ended: had it waited as well, the writers would have given up.
    assert done.stdout.split()[-2:] == ["0", str(writers)]


#: The same, on a disk that takes its time for the first commit, until all others wait.
SLOW_DISK = """
from gevent import monkey

monkey.patch_all()

import sys

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
    commit, goes_on, commits = db.engine.dialect.do_commit, monkey.get_original("_thread", "allocate_lock")(), []
    goes_on.acquire()

    def slow(raw):
        commits.append(raw)
        if len(commits) == 1:
            goes_on.acquire()
        commit(raw)

    db.engine.dialect.do_commit = slow

    def write(name):
        with app.app_context(), store.writing() as c:
            limits.add(c, name, 0)

    waiting = db.engine.get_execution_options()["writers"]._waiting
    writers = [gevent.spawn(write, "broken off")]
    while not commits:
        gevent.sleep(0.01)
    writers += [gevent.spawn(write, str(number)) for number in range(8)]
    while len(waiting) < 8:
        gevent.sleep(0.01)
    writers[0].kill(block=False)
    gevent.sleep(0.01)
    goes_on.release()
    gevent.joinall(writers, raise_error=True)
    with store.reading() as c:
        print(c.execute(sa.text("SELECT count(*) FROM attempt")).scalar_one(), len(commits))
"""


def test_whoever_commits_to_a_slow_disk_delays_no_other_greenlet(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW_DISK, f"sqlite:///{tmp_path / 'store.db'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    kept, commits = map(int, done.stdout.split()[-2:])
    assert kept == 9, "who is broken off while it commits has committed"
    assert commits == 2, "those that waited share one"


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
