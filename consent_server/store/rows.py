"""Typed rows: a table is declared once, as a NamedTuple, and its rows are read as that type.

A column's type follows from the field's: str, int, bytes, bool, float, and JSON for everything else. `| None`
makes it nullable, and Annotated adds the rest: another SQL type, KEY, INDEXED, UNIQUE, a foreign key, a server default.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from types import NoneType
from typing import Annotated, Any, Final, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.sql.schema import SchemaItem

from consent_server.store import database
from consent_server.store.database import db
from consent_server.store.statement import Statement

R = TypeVar("R", bound=NamedTuple)
T = TypeVar("T")

#: Values in one statement: SQLite takes 32,766 parameters, PostgreSQL 65,535.
_BATCH: Final = 10_000


class References(NamedTuple):
    """A foreign key to a column: "table.column"."""

    column: str


KEY: Final = {"primary_key": True}
INDEXED: Final = {"index": True}
UNIQUE: Final = {"unique": True}

_SQL: Final[Mapping[object, type]] = {
    str: sa.Text,
    int: sa.Integer,
    bytes: sa.LargeBinary,
    bool: sa.Boolean,
    float: sa.Float,
}
_tables: Final[dict[type[NamedTuple], sa.Table]] = {}


def table(name: str, *constraints: SchemaItem) -> Callable[[type[R]], type[R]]:
    """Declare the table `name`, whose rows are of the decorated type."""

    def declare(kind: type[R]) -> type[R]:
        columns = (_column(field, hint) for field, hint in get_type_hints(kind, include_extras=True).items())
        _tables[kind] = sa.Table(name, db.metadata, *columns, *constraints)
        return kind

    return declare


def table_of(kind: type[NamedTuple]) -> sa.Table:
    """Return the table that holds rows of this type."""
    return _tables[kind]


def one(
    c: Connection, kind: type[R], query: sa.Executable | Statement, values: Mapping[str, object] | None = None
) -> R | None:
    """Return the row that a query finds, or None."""
    row = query.row(c, values) if isinstance(query, Statement) else c.execute(query, values).one_or_none()
    return None if row is None else kind._make(row)


def ask(kind: type[R], query: Statement, values: Mapping[str, object]) -> R | None:
    """Return the row that a query finds, or None, without a transaction (see `database.ask`)."""
    row = database.ask(query, values)
    return None if row is None else kind._make(row)


def every(
    c: Connection, kind: type[R], query: sa.Executable | Statement, values: Mapping[str, object] | None = None
) -> list[R]:
    """Return all rows that a query finds."""
    found = query.rows(c, values) if isinstance(query, Statement) else c.execute(query, values)
    return [kind._make(row) for row in found]


def every_in(
    c: Connection, kind: type[R], query: sa.Select[Any], column: sa.ColumnElement[Any], values: Iterable[object]
) -> list[R]:
    """Return all rows that a query finds with one of these values, however many, in a column."""
    return [row for batch in batches(values) for row in every(c, kind, query.where(column.in_(batch)))]


def batches(values: Iterable[T]) -> Iterator[list[T]]:
    """Yield values, however many, as lists that one statement can take."""
    waiting = iter(values)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def add(c: Connection, *rows: NamedTuple) -> None:
    """Keep new rows of one type."""
    insert = _insert(type(rows[0]))
    if len(rows) > 1:
        c.execute(insert.core(c.dialect.name), [row._asdict() for row in rows])
    else:
        insert.run(c, rows[0]._asdict())


def add_unless_there(c: Connection, row: NamedTuple) -> bool:
    """Keep a row, unless one with its key, or equal in a unique column, is there already. Return whether it was kept."""
    return _insert_unless_there(type(row)).row(c, row._asdict()) is not None


def put(c: Connection, *rows: NamedTuple) -> None:
    """Keep rows of one type, each replacing the one that has its key."""
    c.execute(_replace(c.dialect.name, type(rows[0])), [row._asdict() for row in rows])


def upsert(
    dialect: str, kind: type[NamedTuple], changed: Sequence[str] | Mapping[str, object]
) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that updates the row whose key is there: to the inserted values of some columns, or to others.

    `dialect` is "sqlite" or "postgresql".
    """
    statement = insert(dialect, kind)
    values = changed if isinstance(changed, Mapping) else {name: statement.excluded[name] for name in changed}
    return statement.on_conflict_do_update(index_elements=table_of(kind).primary_key, set_=values)


def insert(dialect: str, kind: type[NamedTuple]) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that can say what happens on a conflict."""
    into = table_of(kind)
    return postgresql.insert(into) if dialect == "postgresql" else sqlite.insert(into)


# Building a statement takes longer than running it, so each is built once.


@cache
def _insert(kind: type[NamedTuple]) -> Statement:
    return Statement(sa.insert(table_of(kind)), kind._fields)


@cache
def _insert_unless_there(kind: type[NamedTuple]) -> Statement:
    return Statement(
        lambda dialect: insert(dialect, kind).on_conflict_do_nothing().returning(sa.literal(1)), kind._fields
    )


@cache
def _replace(dialect: str, kind: type[NamedTuple]) -> sa.Executable:
    return upsert(dialect, kind, [column.name for column in table_of(kind).c if not column.primary_key])


def _column(name: str, hint: object) -> sa.Column[object]:
    marks: list[object] = []
    nullable = False
    while True:
        if get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            marks = more + marks
        elif NoneType in get_args(hint):
            nullable = True
            (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
        else:
            break
    sql = next((mark for mark in marks if isinstance(mark, sa.types.TypeEngine)), _SQL.get(hint, sa.JSON))
    references = (sa.ForeignKey(mark.column) for mark in marks if isinstance(mark, References))
    options = {key: value for mark in marks if isinstance(mark, dict) for key, value in mark.items()}
    return sa.Column(name, sql, *references, nullable=nullable, **options)
