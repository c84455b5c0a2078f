"""A total time limit for calls to an EDP's own databases and files, and a thread for drivers that wait in C.

A driver that waits in C would hold up every other request of a gevent worker, so it runs in a real thread. Either way the
caller waits no longer than the limit; a thread that hangs is abandoned.
"""

from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from threading import Thread
from typing import Final, TypeVar

from gevent import Timeout, monkey
from gevent.threadpool import ThreadPoolExecutor

#: Threads for it in each worker. What hangs holds one until it ends; when all hang, more of it fails in time.
_THREADS: Final = 8

T = TypeVar("T")


def aside(work: Callable[[], T], longest_s: float) -> T:
    """Return what `work` returns, which may wait in C. Raise TimeoutError, the wait for a thread included."""
    waiting: Future[T] = _pool().submit(work) if _is_under_gevent() else _alone(work)
    try:
        return waiting.result(longest_s)
    except TimeoutError:
        waiting.cancel()
        raise


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
def _pool() -> ThreadPoolExecutor:
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

    Thread(target=run, name="aside", daemon=True).start()
    return found
