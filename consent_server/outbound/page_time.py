"""How long one page waits for other servers, over all calls to each: `Session` asks here before every call."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic  # durations only: see deadline
from typing import Final

from consent_server.outbound.errors import Unreachable

#: Seconds for which a page waits for a member's server, and for a host that our own settings name.
PAGE_S: Final = 2.0
PAGE_CONFIGURED_S: Final = 5.0

#: The name under which calls of this context count, where several servers share one wait.
_together: ContextVar[str | None] = ContextVar("together", default=None)
#: The seconds that the page of this context has waited, by server; None outside of pages.
_waited: ContextVar[dict[str, float] | None] = ContextVar("waited", default=None)


def begin_page() -> None:
    """Limit the calls of this context from here on to what a page may wait."""
    _waited.set({})


def end_page() -> None:
    """Let each call of this context from here on take as long as its session allows."""
    _waited.set(None)


@contextmanager
def one_wait(name: str) -> Iterator[None]:
    """Let a page wait for all calls of this block together as long as for one member's server.

    The endpoints of one issuer may be on several hosts.
    """
    before = _together.set(name)
    try:
        yield
    finally:
        _together.reset(before)


@contextmanager
def call_time(server: str, configured: bool, longest_s: float) -> Iterator[float]:
    """Yield the seconds that a call may take, and count those that it took. Raise Unreachable when a page has none left."""
    waited = _waited.get()
    if waited is None:
        yield longest_s
        return
    shared = _together.get()
    if shared is not None:
        server, configured = shared, False
    left = (PAGE_CONFIGURED_S if configured else PAGE_S) - waited.get(server, 0.0)
    if left <= 0:
        raise Unreachable("time", server)
    began = monotonic()
    try:
        yield min(left, longest_s)
    finally:
        waited[server] = waited.get(server, 0.0) + monotonic() - began
