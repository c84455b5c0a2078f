"""A total time limit for calls that wait in C (to an EDP's own databases and files, an HSM, the journal's disk), in a thread.

A driver that waits in C would hold up every other request of a gevent worker, so it runs in a real thread. Either way the
caller waits no longer than the limit; a thread that hangs is abandoned.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import Final, Literal, TypeVar

from gevent import Timeout, monkey
from gevent.threadpool import ThreadPoolExecutor

#: Threads for each kind in each worker. What hangs holds one until it ends; when all hang, more of its kind fails in time.
_THREADS: Final = 8
Kind = Literal["metering", "hsm", "journal"]

T = TypeVar("T")


def aside(work: Callable[[], T], longest_s: float, kind: Kind) -> T:
    """Return what `work` returns, which may wait in C. Raise TimeoutError, the wait for a thread included."""
    found: Future[T] = Future()

    def run() -> None:
        # gevent's pool would print a fault that leaves here, as if nobody waited for it
        try:
            found.set_result(work())
        except BaseException as error:  # whatever it is, it belongs to whoever waits
            found.set_exception(error)

    if _is_under_gevent():
        # `submit` included, which waits for a free thread without a limit
        in_time(lambda: _pool(kind).submit(run).result(), longest_s)
        return found.result()
    threading.Thread(target=run, name="aside", daemon=True).start()
    return found.result(longest_s)


def in_time(work: Callable[[], T], longest_s: float) -> T:
    """Return what `work` returns, which yields to others by itself. Raise TimeoutError."""
    if not _is_under_gevent():
        return aside(work, longest_s, "metering")
    # not an Exception: what it breaks off does not go on with a connection in the middle of a message
    limit = Timeout(longest_s)
    with limit:
        try:
            return work()
        except Timeout as over:
            if over is not limit:
                raise
            raise TimeoutError from None


def _is_under_gevent() -> bool:
    return bool(monkey.is_module_patched("threading"))


@cache
def _pool(_: Kind) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS)
