"""A connection to PostgreSQL, as a worker of a door waits for it."""

from typing import Any, TypeVar

import psycopg
from gevent import get_hub, monkey
from psycopg.abc import PQGen

RV = TypeVar("RV")


class _Connection(psycopg.Connection[Any]):
    """A connection whose waits are gevent's own.

    Under gevent psycopg waits by `select.poll`, in place of its C code: a poll object, an event, a timer and a watcher for
    each statement, and again every tenth of a second. The watcher is enough.
    """

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Return what a generator of psycopg ends with. It yields what it waits for: 1 to read, 2 to write, 3 for either."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        hub = get_hub()
        try:
            awaited = next(gen)
            while True:
                watcher = hub.loop.io(self.pgconn.socket, awaited)
                try:
                    hub.wait(watcher)
                finally:
                    watcher.close()
                awaited = gen.send(awaited)
        except StopIteration as ended:
            found: RV = ended.value
            return found


def connection_class() -> type[psycopg.Connection[Any]]:
    """Return the class of connections for this process."""
    return _Connection if monkey.is_module_patched("select") else psycopg.Connection
