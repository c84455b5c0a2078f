"""Connections that are kept for single statements."""

from contextlib import ExitStack

import pytest
from flask import Flask
from sqlalchemy.engine import Connection

from consent_server.store import kept
from consent_server.store.database import db
from consent_server.store.kept import KeptConnections


@pytest.fixture
def connections(app: Flask) -> KeptConnections:
    return KeptConnections(db.engine)


def connect() -> Connection:
    return db.engine.connect()


def no_new_one() -> Connection:
    raise AssertionError("one is kept")


def fail(connection: Connection, *, is_lost: bool) -> None:
    if is_lost:
        connection.invalidate()
    raise RuntimeError


def test_one_is_kept_for_the_next_statement(connections: KeptConnections) -> None:
    with connections.lend(connect) as first:
        assert first.connection.dbapi_connection is not None
    with connections.lend(no_new_one) as second:
        assert second is first


def test_no_two_statements_share_one_and_what_is_too_many_goes_back_to_the_pool(connections: KeptConnections) -> None:
    before = db.engine.pool.checkedout()  # type: ignore[attr-defined]
    for _ in range(2):
        with ExitStack() as lent:
            both = [lent.enter_context(connections.lend(connect)) for _ in range(kept.MOST + 3)]
            assert len(set(map(id, both))) == len(both)
        assert db.engine.pool.checkedout() == before + kept.MOST  # type: ignore[attr-defined]


@pytest.mark.parametrize(("is_lost", "left"), [(False, 2), (True, 0)])
def test_one_that_failed_is_not_kept_and_no_other_where_its_server_ended_it(
    connections: KeptConnections, is_lost: bool, left: int
) -> None:
    before = db.engine.pool.checkedout()  # type: ignore[attr-defined]
    with connections.lend(connect), connections.lend(connect), connections.lend(connect):
        pass
    with pytest.raises(RuntimeError), connections.lend(no_new_one) as one:
        fail(one, is_lost=is_lost)
    assert db.engine.pool.checkedout() == before + left  # type: ignore[attr-defined]
    for _ in range(2):
        with connections.lend(connect) as next_one:
            assert next_one is not one


def test_they_end_with_the_engine(connections: KeptConnections) -> None:
    with connections.lend(connect) as one, connections.lend(connect):
        raw = one.connection.driver_connection
        assert raw is not None
    db.engine.dispose()
    with pytest.raises(Exception, match="closed"):
        raw.execute("SELECT 1")
    with connections.lend(connect) as new:
        assert new.exec_driver_sql("SELECT 1").scalar() == 1
