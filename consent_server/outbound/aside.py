"""Work that waits in C, where it would hold up every other request of a gevent worker: it runs in a thread of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final, TypeVar

from gevent import monkey, threadpool

#: Threads for it in each process. What hangs holds one until it ends; when all hang, more of it fails in time.
_THREADS: Final = 8

T = TypeVar("T")


def aside(work: Callable[[], T], longest_s: float) -> T:
    """Return what `work` returns. Raise TimeoutError when that takes longer, the wait for a thread included."""
    waiting = _threads().submit(work)
    try:
        found: T = waiting.result(longest_s)
    except TimeoutError:
        waiting.cancel()
        raise
    return found


@cache
def _threads() -> Any:
    patched = monkey.is_module_patched("threading")
    return (threadpool.ThreadPoolExecutor if patched else ThreadPoolExecutor)(_THREADS)
