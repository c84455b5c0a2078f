"""Calls that wait in C (to an EDP's own databases and files, an HSM, a disk), in a thread and mostly with a total time limit.

A driver that waits in C would hold up every other request of a gevent worker, so it runs in a real thread. The caller waits no
longer than the limit; a thread that hangs is abandoned.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import Final, Literal, TypeVar

from gevent import Timeout, monkey
from gevent.threadpool import ThreadPoolExecutor

#: Threads for each kind in each worker. What hangs holds one until it ends; when all hang, more of its kind fails in time.
_THREADS: Final = 8
Kind = Literal["metering", "hsm", "journal", "commit"]

T = TypeVar("T")


def to_the_end(work: Callable[[], T], kind: Kind) -> T:
    """Return or raise what `work` does, which waits in C. Whatever breaks the caller off meanwhile is raised after that."""
    if not _is_under_gevent():
        return work()
    found: Future[T] = Future()
    running = _pool(kind).submit(_run, work, found)
    broken_off: BaseException | None = None
    while not found.done():
        try:
            running.wait()  # and not `result`, which makes a TimeoutError of any Timeout of gevent's
        except BaseException as error:
            broken_off = error
    ended = found.result()
    if broken_off is not None:
        raise broken_off
    return ended


def aside(work: Callable[[], T], longest_s: float, kind: Kind) -> T:
    """Return what `work` returns, which may wait in C. Raise TimeoutError, the wait for a thread included."""
    found: Future[T] = Future()
    if _is_under_gevent():
        # `submit` included, which waits for a free thread without a limit
        in_time(lambda: _pool(kind).submit(_run, work, found).result(), longest_s)
        return found.result()
    threading.Thread(target=_run, args=(work, found), name="aside", daemon=True).start()
    return found.result(longest_s)


def _run(work: Callable[[], T], found: Future[T]) -> None:
    """Keep what `work` returns or raises: gevent's pool would print a fault that left here, as if nobody waited for it."""
    try:
        found.set_result(work())
    except BaseException as error:  # whatever it is, it belongs to whoever waits
        found.set_exception(error)


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


# Threads stay with the parent: a child's calls would wait for ever.
os.register_at_fork(after_in_child=_pool.cache_clear)
