"""Statements on the driver's own cursor: they read, fail and are heard as those that SQLAlchemy runs."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.store import database
from consent_server.store.database import db
from consent_server.store.faults import SchemaNotCurrent
from consent_server.store.statement import Statement

_KINDS = sa.Table(
    "kinds",
    sa.MetaData(),
    *(
        sa.Column(name, kind, primary_key=name == "whole")
        for name, kind in (
            ("whole", sa.Integer),
            ("json", sa.JSON),
            ("yes", sa.Boolean),
            ("octets", sa.LargeBinary),
            ("text", sa.Text),
        )
    ),
)
_KEEP = Statement(sa.insert(_KINDS), _KINDS.c.keys())
_ALL = Statement(sa.select(_KINDS).order_by(_KINDS.c.whole))
_FULL = {"whole": 1, "json": {"a": ["é", 1, None]}, "yes": True, "octets": b"\0\xff", "text": "100 % :a"}
_EMPTY = {"whole": 2, "json": [], "yes": False, "octets": b"", "text": ""}


@pytest.fixture
def _kinds(app: Flask) -> Iterator[None]:
    with store.writing() as c:
        _KINDS.create(c)
    yield
    with store.writing() as c:
        _KINDS.drop(c)


@pytest.mark.usefixtures("_kinds")
def test_values_of_each_kind_are_kept_and_read_as_by_sqlalchemy() -> None:
    with store.writing() as c:
        assert [_KEEP.run(c, row) for row in (_FULL, _EMPTY)] == [1, 1]
        c.execute(sa.insert(_KINDS), [_FULL | {"whole": 3}])
        found = _ALL.rows(c)
        assert found == [tuple(row) for row in c.execute(_ALL.core(c.dialect.name))]
        assert [dict(zip(_FULL, row, strict=True)) for row in found] == [_FULL, _EMPTY, _FULL | {"whole": 3}]
        said = Statement(sa.update(_KINDS).where(_KINDS.c.yes.is_(False)).values(yes=True, text=sa.bindparam("said")))
        assert (said.run(c, {"said": "now"}), said.run(c, {"said": "now"})) == (1, 0)
        with pytest.raises(sa.exc.MultipleResultsFound):
            _ALL.row(c)


@pytest.mark.usefixtures("_kinds")
def test_a_fault_is_refused_and_the_transaction_rolled_back() -> None:
    no_table = Statement(sa.text("SELECT 1 FROM no_such_table"))
    for fault, last in (
        (SchemaNotCurrent, no_table.rows),
        (sa.exc.IntegrityError, lambda c: _KEEP.run(c, _FULL)),
        (KeyError, lambda c: _KEEP.run(c, {"whole": 4})),
    ):
        with pytest.raises(fault):
            _keep_and(last)
    with store.reading() as c:
        assert _ALL.row(c) is None


def _keep_and(last: Callable[[store.Connection], object]) -> None:
    with store.writing() as c:
        _KEEP.run(c, _FULL)
        last(c)


def test_listeners_of_the_engine_get_the_statement(app: Flask) -> None:
    heard: list[str] = []

    def hear(_c: Any, _cursor: Any, text: str, *_: Any) -> None:
        heard.append(text)

    sa.event.listen(db.engine, "before_cursor_execute", hear)
    with store.reading() as c:
        Statement(sa.text("SELECT 41 + 1 AS it")).row(c)
    assert heard[-1] == "SELECT 41 + 1 AS it"


@pytest.mark.usefixtures("_kinds")
def test_a_connection_is_given_back_without_a_transaction() -> None:
    raw = db.engine.raw_connection()
    for text in ("BEGIN", "INSERT INTO kinds (whole) VALUES (7)"):
        raw.cursor().execute(text)
    raw.close()
    with store.writing() as c:
        assert _ALL.rows(c) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("_kinds")
def test_a_statement_is_prepared_and_survives_a_column_of_another_type(app: Flask, database_url: str) -> None:
    prepared = sa.table("pg_prepared_statements", sa.column("statement", sa.Text))
    of_kinds = Statement(sa.select(prepared).where(prepared.c.statement.contains("kinds")))
    find = Statement(sa.select(_KINDS.c.whole, _KINDS.c.text).where(_KINDS.c.whole == sa.bindparam("it")))
    for _ in range(database.PREPARED_AFTER + 1):
        assert database.ask(find, {"it": 1}) is None
    assert database.ask(of_kinds, {}) is not None  # on the connection that is kept
    with sa.create_engine(database_url, poolclass=sa.NullPool).begin() as other:
        other.execute(sa.text("ALTER TABLE kinds ALTER text TYPE varchar(9)"))
    with pytest.raises(store.StoreUnavailable, match="another type"):
        database.ask(find, {"it": 1})
    assert database.ask(find, {"it": 1}) is None
