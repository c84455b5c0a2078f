"""Connections that are kept for single statements."""

from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from gevent import GreenletExit
from sqlalchemy.engine import Connection

from consent_server import store
from consent_server.store import kept
from consent_server.store.database import db
from consent_server.store.kept import KeptConnections
from consent_server.store.statement import Statement


@pytest.fixture
def connections(app: Flask) -> KeptConnections:
    return KeptConnections(db.engine)


def connect() -> Connection:
    return db.engine.connect()


def no_new_one() -> Connection:
    raise AssertionError("one is kept")


def in_use() -> int:
    pool: Any = db.engine.pool
    return int(pool.checkedout())


def fill(connections: KeptConnections, count: int) -> None:
    with ExitStack() as lent:
        for _ in range(count):
            lent.enter_context(connections.lend(connect))


def test_one_is_kept_for_the_next_statement(connections: KeptConnections) -> None:
    with connections.lend(connect) as first:
        assert first.connection.dbapi_connection is not None
    with connections.lend(no_new_one) as second:
        assert second is first


def test_no_two_statements_share_one_and_what_is_too_many_goes_back_to_the_pool(connections: KeptConnections) -> None:
    before = in_use()
    for _ in range(2):
        with ExitStack() as lent:
            both = [lent.enter_context(connections.lend(connect)) for _ in range(kept.MOST + 3)]
            assert len(set(map(id, both))) == len(both)
        assert in_use() == before + kept.MOST


@pytest.mark.parametrize("fault", [KeyError, KeyboardInterrupt, GreenletExit])
def test_one_whose_statement_failed_or_was_broken_off_is_not_kept(
    connections: KeptConnections, fault: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise fault

    before = in_use()
    fill(connections, 3)
    sa.event.listen(db.engine, "before_cursor_execute", fail)
    with pytest.raises((fault, sa.exc.StatementError)), connections.lend(no_new_one) as one:
        Statement(sa.select(sa.literal(1))).row(one)
    sa.event.remove(db.engine, "before_cursor_execute", fail)
    assert in_use() == before + 2
    for _ in range(2):
        with connections.lend(no_new_one) as another:
            assert another is not one


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_none_is_kept_once_the_server_has_ended_one_in_whatever_it_did(connections: KeptConnections) -> None:
    before = in_use()
    fill(connections, 3)
    with pytest.raises(store.StoreUnavailable), store.writing() as c:
        c.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert in_use() == before


def test_they_end_with_the_engine(connections: KeptConnections) -> None:
    with connections.lend(connect) as one, connections.lend(connect):
        raw = one.connection.driver_connection
        assert raw is not None
    db.engine.dispose()
    with pytest.raises(Exception, match="closed"):
        raw.execute("SELECT 1")
    with connections.lend(connect) as new:
        assert new.exec_driver_sql("SELECT 1").scalar() == 1
