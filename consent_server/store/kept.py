"""Connections that are kept beside SQLAlchemy's pool: to take one from the pool and give it back takes longer than to find a
row by its key.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, ExceptionContext

#: Of one kind in one process. They are the pool's, which may open four times as many (`database.init`).
MOST: Final = 8


class KeptConnections:
    """Up to MOST connections of one kind that nobody uses now, and that are in no transaction.

    They end where the pool's do: with the engine, and where the server has ended any connection, and so probably these.
    """

    def __init__(self, engine: Engine) -> None:
        self._free: list[Connection] = []
        sa.event.listen(engine, "engine_disposed", lambda _: self._end())
        sa.event.listen(engine, "handle_error", self._end_with_the_pools)

    @contextmanager
    def lend(self, connect: Callable[[], Connection]) -> Iterator[Connection]:
        """Yield one, or a new one, to run one statement on."""
        connection = self.take() or connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self.keep(connection)

    def take(self) -> Connection | None:
        """Return one that is kept no longer, or None."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def keep(self, connection: Connection) -> None:
        """Keep one that did what it was for, or give it back to the pool."""
        if len(self._free) < MOST:
            self._free.append(connection)
        else:
            connection.close()

    def _end_with_the_pools(self, context: ExceptionContext) -> None:
        if context.is_disconnect and context.invalidate_pool_on_disconnect:
            self._end()

    def _end(self) -> None:
        while connection := self.take():
            connection.detach()  # the pool would keep it, or have been replaced
            connection.close()
