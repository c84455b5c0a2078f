"""Connections that are kept for single statements: to take one from SQLAlchemy's pool and give it back takes longer than to
find a row by its key.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

#: Of one process. The pool, from which they come, has as many more for transactions.
MOST: Final = 8


class KeptConnections:
    """Up to MOST connections of an engine that nobody uses now. Each statement on them is a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self._free: list[Connection] = []
        sa.event.listen(engine, "engine_disposed", lambda _: self._end())

    @contextmanager
    def lend(self, connect: Callable[[], Connection]) -> Iterator[Connection]:
        """Yield one, or a new one, to run one statement on."""
        connection = self._taken() or connect()
        try:
            yield connection
        except BaseException:
            if connection.invalidated:  # the server has ended it, and probably the others as well
                self._end()
            connection.close()
            raise
        if len(self._free) < MOST:
            self._free.append(connection)
        else:
            connection.close()

    def _taken(self) -> Connection | None:
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _end(self) -> None:
        while connection := self._taken():
            connection.detach()  # the pool would keep it, or have been replaced
            connection.close()
