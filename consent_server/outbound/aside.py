"""A total time for what an EDP's own databases and files do, and a thread for what waits in C; the journal's disk among it.

A driver that waits in C would hold up every other request of a gevent worker, so it runs in a real thread. Neither way does
anybody wait for longer than was said; a thread that hangs is left behind.
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
Kind = Literal["metering", "journal"]

T = TypeVar("T")


def aside(work: Callable[[], T], longest_s: float, kind: Kind = "metering") -> T:
    """Return what `work` returns, which may wait in C. Raise TimeoutError, the wait for a thread included."""

    def in_a_thread() -> T:
        found: T = _pool(kind).submit(work).result()
        return found

    if _is_under_gevent():
        # Around `submit` too, which waits without a limit for a thread that is free.
        return in_time(in_a_thread, longest_s)
    return _alone(work).result(longest_s)


def in_time(work: Callable[[], T], longest_s: float) -> T:
    """Return what `work` returns, which yields to others by itself. Raise TimeoutError."""
    if not _is_under_gevent():
        return aside(work, longest_s)
    limit = Timeout(
        longest_s
    )  # no Exception: what it breaks off does not go on with a connection in the middle of a message
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


def _alone(work: Callable[[], T]) -> Future[T]:
    """Run it in a thread that the process does not wait for at its end."""
    found: Future[T] = Future()
    found.set_running_or_notify_cancel()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:  # whatever it is, it belongs to whoever waits
            found.set_exception(error)

    threading.Thread(target=run, name="aside", daemon=True).start()
    return found
