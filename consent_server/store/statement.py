"""Statements that are compiled once and run on the driver's own cursor.

Each is stated in SQLAlchemy Core. What `Connection.execute` does for every execution (find the compiled text, bind, make a
result) costs four times what SQLite needs to find a row by its key. Errors are SQLAlchemy's in both cases, and listeners of
`before_cursor_execute` are called in both.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

#: Turns a value into the driver's, or the driver's into ours.
_Turn = Callable[[Any], Any]


class _Compiled(NamedTuple):
    """The text for one kind of database, and what is done to parameters and columns."""

    text: str
    #: In which order the driver takes the parameters, where it takes them so.
    order: Sequence[str] | None
    #: The values that the statement itself states.
    stated: dict[str, object]
    binds: list[tuple[str, _Turn]]
    reads: list[tuple[int, _Turn]]


class Statement:
    """A statement without lists of parameters or columns of floats.

    `core` may depend on the kind of database, which is "sqlite" or "postgresql".
    An INSERT that states no values has a parameter for each of `columns`, of that name.
    """

    def __init__(
        self, core: sa.Executable | Callable[[str], sa.Executable], columns: Sequence[str] | None = None
    ) -> None:
        self._core = core
        self._columns = columns
        self._compiled: Final[dict[str, _Compiled]] = {}

    def core(self, dialect: str) -> sa.Executable:
        """Return what it says to one kind of database."""
        return self._core if isinstance(self._core, sa.Executable) else self._core(dialect)

    def run(self, c: Connection, values: Mapping[str, object] | None = None) -> int:
        """Run it; return the number of rows that it changed."""
        count: int = self._run(c, self._for(c.dialect), values, fetch=False)
        return count

    def row(self, c: Connection, values: Mapping[str, object] | None = None) -> tuple[Any, ...] | None:
        """Return the one row that it finds, or None."""
        found = self.rows(c, values)
        if len(found) > 1:
            raise sa.exc.MultipleResultsFound
        return found[0] if found else None

    def rows(self, c: Connection, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Return all rows that it finds."""
        compiled = self._for(c.dialect)
        found: list[tuple[Any, ...]] = self._run(c, compiled, values, fetch=True)
        return [_read(row, compiled.reads) for row in found] if compiled.reads else found

    def _run(self, c: Connection, compiled: _Compiled, values: Mapping[str, object] | None, *, fetch: bool) -> Any:
        given: Any = {**compiled.stated, **(values or {})}
        for name, turn in compiled.binds:
            given[name] = turn(given[name])
        text, order = compiled.text, compiled.order
        if order is not None:
            given = tuple([given[name] for name in order])
        cursor = c.connection.cursor()
        try:
            for heard in c.engine.dispatch.before_cursor_execute:
                text, given = heard(c, cursor, text, given, None, False)
            cursor.execute(text, given)
            return cursor.fetchall() if fetch else cursor.rowcount
        except BaseException as error:
            # Raises it as SQLAlchemy's, and closes the pool's connections if the server has ended this one. It is private: the
            # public ways either run the statement again or leave the pool's other connections open.
            c._handle_dbapi_exception(error, text, None, cursor, None)

    def _for(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = self._compile(dialect)
        return found

    def _compile(self, dialect: Dialect) -> _Compiled:
        core: Any = self.core(dialect.name)
        made: Any = core.compile(dialect=dialect, column_keys=self._columns)
        stated: dict[str, object] = {}
        binds: list[tuple[str, _Turn]] = []
        for bind, name in made.bind_names.items():
            turn = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if not bind.required:
                stated[name] = bind.value if turn is None else turn(bind.value)
            elif turn is not None:
                binds.append((name, turn))
        found = getattr(core, "exported_columns", ())
        reads = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in found]
        return _Compiled(
            str(made),
            made.positiontup,
            stated,
            binds,
            [(number, turn) for number, turn in enumerate(reads) if turn is not None],
        )


def _read(row: tuple[Any, ...], reads: list[tuple[int, _Turn]]) -> tuple[Any, ...]:
    columns = list(row)
    for number, turn in reads:
        columns[number] = turn(columns[number])
    return tuple(columns)
