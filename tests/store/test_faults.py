"""The database is locked, gone, busy, exhausted or read-only: 503 with Retry-After, soon, and never a wait for each step."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask, Response

from consent_server import store
from consent_server.refusal import Refusal
from consent_server.store import database, faults, waiting, writers
from consent_server.store.database import db
from consent_server.store.statement import Statement
from tests.deployments import deploy, opened, settings_of
from tests.journey.conftest import World

PAGES = ("/authorize?client_id=x&request_uri=urn:ietf:params:oauth:request_uri:x", "/evidence/" + "x" * 32)
CHANGE = sa.text("UPDATE attempt SET count = count + 1 WHERE key = :key")


class PlayedTime:
    """Time that passes only where somebody sleeps; `during` is called at each sleep with the time so far."""

    def __init__(self) -> None:
        self.slept = 0.0
        self.during: Callable[[float], None] = lambda _: None

    def monotonic(self) -> float:
        return 1000 + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.during(self.slept)


@pytest.fixture
def played_time(monkeypatch: pytest.MonkeyPatch) -> PlayedTime:
    time = PlayedTime()
    monkeypatch.setattr(writers, "time", time)
    monkeypatch.setattr(database, "time", time)
    return time


@contextmanager
def locked(url: str, how: str) -> Iterator[sqlite3.Connection]:
    """Another process's transaction on a SQLite file: EXCLUSIVE keeps readers out as well."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        if how == "EXCLUSIVE":
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute(f"BEGIN {how}")
        yield other


def in_one_transaction(statements: list[str | None]) -> None:
    """Execute statements; None is a pause of 0.3 s."""
    with store.writing() as c:
        for statement in statements:
            if statement is None:
                threading.Event().wait(0.3)
            else:
                c.execute(sa.text(statement))


def serving(app: Flask) -> Flask:
    """Serve a view that asks the store again and again, whatever becomes of it, as pages do."""

    @app.route("/", methods=["GET", "POST"])
    def view() -> Response:
        last: Refusal | None = None
        for _ in range(4):
            try:
                with store.writing() as c:
                    c.execute(CHANGE, {"key": "a"})
            except Refusal as refusal:
                last = refusal
        return Response(last.private if last else "kept", 503 if last else 200)

    return app


def keep_counts(*keys: str) -> None:
    with store.writing() as c:
        for key in keys:
            c.execute(sa.text('INSERT INTO attempt (key, "window", count) VALUES (:key, 0, 0)'), {"key": key})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
@pytest.mark.parametrize(("method", "most_s"), [("GET", 1.0), ("POST", 5.0)])
def test_H19_G04_a_request_waits_once_for_a_locked_store(
    app: Flask, database_url: str, how: str, method: str, most_s: float, played_time: PlayedTime
) -> None:
    served = serving(app)
    db.engine.dispose()
    with locked(database_url, how):
        answer = served.test_client().open("/", method=method)
    assert answer.status_code == 503
    assert most_s - 0.1 <= played_time.slept <= most_s + 0.1
    assert served.test_client().open("/", method=method).status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_G04_while_a_lock_is_stuck_no_later_page_waits_again(
    app: Flask, database_url: str, played_time: PlayedTime
) -> None:
    client = serving(app).test_client()
    with locked(database_url, "IMMEDIATE") as other:
        assert [client.get("/").status_code for _ in range(20)] == [503] * 20
        assert played_time.slept < waiting.STUCK_S + 20 * (waiting.OWN_LOOK_S + waiting.PAUSES_S[1])
        played_time.sleep(60)
        played_time.during = lambda _: other.execute("ROLLBACK") if other.in_transaction else None
        assert client.get("/").status_code == 200, "a lock that was seen a minute ago is not stuck now"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_G04_a_short_transaction_right_after_a_stuck_one_is_waited_for(
    app: Flask, database_url: str, method: str, played_time: PlayedTime
) -> None:
    client = serving(app).test_client()
    with locked(database_url, "IMMEDIATE") as other:
        assert client.open("/", method=method).status_code == 503
        other.execute("ROLLBACK")
        other.execute("BEGIN IMMEDIATE")
        began = played_time.slept
        played_time.during = lambda so_far: (
            other.execute("ROLLBACK") if other.in_transaction and so_far > began + 0.1 else None
        )
        assert client.open("/", method=method).status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_G04_a_busy_store_is_waited_for_longer_than_a_stuck_one(
    app: Flask, database_url: str, played_time: PlayedTime
) -> None:
    keep_counts("b")
    client = serving(app).test_client()
    with locked(database_url, "IMMEDIATE") as other:

        def others_commit(so_far: float) -> None:
            other.execute(str(CHANGE), {"key": "b"})
            other.execute("COMMIT")
            if so_far < 3:
                other.execute("BEGIN IMMEDIATE")
            else:
                played_time.during = lambda _: None

        played_time.during = others_commit
        assert client.get("/").status_code == 200
    assert played_time.slept > 2.9


def door_on(url: str, undo: ExitStack) -> Flask:
    """A public door of a CAP that has never had its store."""
    deployment = deploy(settings_of("cap", url))
    app = opened(deployment, "public")
    undo.callback(lambda: app.app_context().push() or db.engine.dispose())
    return app


@pytest.mark.parametrize("fault", ["locked", "gone"])
def test_H19_a_page_is_told_by_a_process_that_never_reached_its_store(
    database_url: str, fault: str, held_clock: Any, played_time: PlayedTime
) -> None:
    """The page that says so needs nothing that is kept in the store."""
    made = World("cap", database_url, "https://cap.example", "sandbox", {})
    made.close()
    gone = "sqlite:////nowhere/store.db" if "sqlite" in database_url else "postgresql+psycopg://x@127.0.0.1:1/x"
    with ExitStack() as faults_:
        if fault == "locked" and database_url.startswith("sqlite"):
            faults_.enter_context(locked(database_url, "EXCLUSIVE"))
        app = door_on(database_url if fault == "locked" and "sqlite" in database_url else gone, faults_)
        client = app.test_client(use_cookies=False)  # or it would send its own instead of ours
        for path in PAGES:
            answer = client.get(path, base_url="https://localhost", headers={"Cookie": "__Host-cap-portal=x"})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "<main" in answer.text
    assert played_time.slept <= 1.1 * len(PAGES)


def test_G04_an_exhausted_pool_is_503(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.engine.pool, "_timeout", 0.01)
    client = serving(app).test_client()
    with ExitStack() as held:
        for _ in range(32):
            held.enter_context(store.reading())
        assert client.get("/").status_code == 503
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_G04_a_deadlock_is_run_again_or_refused(app: Flask) -> None:
    keep_counts("a", "b")
    both_hold = threading.Barrier(2)
    ran: list[str] = []

    def cross(first: str, second: str, act: Callable[..., Any]) -> None:
        def block(c: store.Connection) -> None:
            ran.append(first)
            c.execute(CHANGE, {"key": first})
            if len(ran) <= 2:
                both_hold.wait(60)
            c.execute(CHANGE, {"key": second})

        with app.app_context():
            act(block)

    def once(block: Callable[[store.Connection], None]) -> None:
        try:
            with store.writing() as c:
                block(c)
        except faults.TransactionLost as refusal:
            ran.append(f"{refusal.status} {refusal.answer_headers['Retry-After']}")

    for act in (store.write_with_retry, once):
        ran.clear()
        threads = [threading.Thread(target=cross, args=(*pair, act)) for pair in (("a", "b"), ("b", "a"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(ran) >= 3  # whoever runs again may meet the other once more
    assert ran[2:] == ["503 2"]
    with store.reading() as c:
        assert c.execute(sa.text("SELECT sum(count) FROM attempt")).scalar() == 6


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("option", "statements"),
    [
        pytest.param("statement_timeout=50", ["SELECT pg_sleep(5)"], id="a statement"),
        pytest.param(
            "idle_in_transaction_session_timeout=50", ["SELECT 1", None, "SELECT 1"], id="an idle transaction"
        ),
        pytest.param("default_transaction_read_only=on", ["DELETE FROM attempt"], id="a replica"),
        pytest.param("lock_timeout=50", ["SELECT count(*) FROM attempt"], id="a lock"),
        pytest.param("search_path=empty", ["SELECT count(*) FROM attempt"], id="no table"),
    ],
)
def test_G04_what_postgresql_ends_by_itself_is_503(
    app: Flask, database_url: str, option: str, statements: list[str | None]
) -> None:
    other = Flask("limited")
    store.init(other, f"{database_url}%20-c{option.replace('=', '%3D')}")
    with db.engine.begin() as holding:
        holding.execute(sa.text("LOCK TABLE attempt"))
        with other.app_context():
            with pytest.raises(store.StoreUnavailable) as refused:
                in_one_transaction(statements)
            db.engine.dispose()
    assert refused.value.code == ("schema_not_current" if "empty" in option else "store_unavailable")


def transact(statement: Statement, values: dict[str, object]) -> None:
    with store.writing() as c:
        statement.row(c, values)


@pytest.mark.parametrize("run", [database.ask, database.write_alone, transact])
def test_a_fault_of_ours_is_raised_as_it_is(app: Flask, run: Callable[[Statement, dict[str, object]], object]) -> None:
    with pytest.raises(sa.exc.ProgrammingError) as raised:
        run(Statement(sa.select(sa.bindparam("it", type_=sa.Integer).label("it"))), {"it": object()})
    assert raised.value.__cause__ is raised.value.orig


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_G04_every_connection_has_limits(app: Flask) -> None:
    with store.reading() as c:
        found = {name: c.execute(sa.text(f"SHOW {name}")).scalar() for name in database.POSTGRESQL_LIMITS_MS}
    assert found == {"lock_timeout": "3s", "statement_timeout": "30s", "idle_in_transaction_session_timeout": "30s"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"database": "nobodys"}, 'database "nobodys" does not exist'),
        ({"username": "nobody"}, 'role "nobody" does not exist'),
        ({"query": {"host": "127.0.0.1", "port": "1"}}, "Connection refused"),
        ({"query": {"passwort": "x"}}, 'invalid connection option "passwort"'),
    ],
)
def test_why_there_is_no_connection_is_said_without_the_password(
    database_url: str, change: dict[str, Any], said: str
) -> None:
    app = Flask("elsewhere")
    url = sa.make_url(database_url).set(password="SECRET", **change)
    store.init(app, url.render_as_string(hide_password=False))
    with app.app_context(), pytest.raises(store.StoreUnavailable) as refused:
        in_one_transaction(["SELECT 1"])
    assert said in str(refused.value)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_G08_a_server_that_is_not_there_is_asked_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app, asked, connect = Flask("elsewhere"), [], psycopg.Connection.connect
    monkeypatch.setattr(psycopg.Connection, "connect", lambda *of, **how: asked.append(of) or connect(*of, **how))
    store.init(app, sa.make_url(database_url).set(query={"host": "127.0.0.1", "port": "1"}).render_as_string())
    with app.app_context(), pytest.raises(store.StoreUnavailable):
        database.ask(Statement(sa.select(sa.literal(1).label("it"))), {})
    assert len(asked) == 1


def test_G04_a_damaged_or_foreign_file_is_503(tmp_path: Any) -> None:
    (tmp_path / "store.db").write_bytes(b"no database" * 1000)
    app = Flask("damaged")
    store.init(app, f"sqlite:///{tmp_path / 'store.db'}")
    with app.app_context(), pytest.raises(store.StoreUnavailable):
        in_one_transaction(["SELECT 1 FROM sqlite_schema"])
