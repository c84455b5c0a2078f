"""A small document that a daemon thread loads at intervals, in each process that needs it.

The thread starts on first use, never before: a server forks after its modules are loaded, and a thread does not survive
a fork.
"""

import logging
import os
import threading
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Generic, TypeVar

from consent_server import audit, clock, traces
from consent_server.outbound.errors import Unreachable
from consent_server.pki.crl import NotTrusted
from consent_server.refusal import Refusal

log = logging.getLogger("consent_server.outbound")

T = TypeVar("T")

_RETRY_S = 5.0
_FIRST_S = 2.0


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """The last good value, and when its loading began."""

    value: T
    at: int


class Poller(Generic[T]):
    """Calls `load` at once, then every `interval_s` seconds, and sooner after a failure.

    `load` raises Unreachable, ValueError or a Refusal when it fails.
    """

    def __init__(self, name: str, load: Callable[[], T], interval_s: float) -> None:
        self._name = name
        self._load = load
        self._interval_s = interval_s
        self._process: int | None = None
        self._starting = threading.Lock()
        self._asking = threading.Lock()
        self._stopped = threading.Event()
        self._tried = threading.Event()
        self._asked: int | None = None
        self._latest: Loaded[T] | None = None
        self._failing = False

    def latest(self) -> Loaded[T] | None:
        """Return the last good value with its age, or None if there never was one.

        The first call starts the thread. Until that has tried once, callers wait for it, a little: its server may be slow.
        """
        if self._process != os.getpid():
            with self._starting:
                if self._process != os.getpid():
                    self._stopped, self._tried = threading.Event(), threading.Event()
                    work = (self._stopped, self._tried)
                    threading.Thread(target=self._run, args=work, name=self._name, daemon=True).start()
                    self._process = os.getpid()
        self._tried.wait(_FIRST_S)
        return self._latest

    def again(self, at_most_every_s: int) -> bool:
        """Load now, in this thread, unless that was done within `at_most_every_s`. Return whether anything was loaded."""
        now = clock.now()
        with self._asking:
            if self._asked is not None and 0 <= now - self._asked < at_most_every_s:
                return False
            self._asked = now
        return self._once()

    def stop(self) -> None:
        """End the thread; the next use starts another."""
        self._stopped.set()
        self._process = None

    def _run(self, stopped: threading.Event, tried: threading.Event) -> None:
        self._traced()
        tried.set()
        while not stopped.wait(min(self._interval_s, _RETRY_S) if self._failing else self._interval_s):
            self._traced()

    def _traced(self) -> None:
        with traces.span(f"load {self._name}", "CONSUMER"):
            self._once()

    def _once(self) -> bool:
        at = clock.now()
        try:
            value = self._load()
        except Exception as error:  # one unexpected error must not end the thread
            if not self._failing:
                report_failure(self._name, error)
            if not isinstance(error, Unreachable | ValueError | Refusal):
                log.exception("%s could not be loaded", self._name)
            self._failing = True
            return False
        if self._failing or self._latest is None:
            audit.event("list_refreshed", list=self._name, entries=len(value) if isinstance(value, Sized) else None)
        self._failing = False
        self._latest = Loaded(value, at)
        return True


def report_failure(name: str, error: Exception) -> None:
    """Write the audit line of a list that could not be loaded: what was wrong with it, or with which host."""
    if isinstance(error, Unreachable):
        audit.event("list_refresh_failed", list=name, error=error.kind, host=error.host)
    else:
        said = str(error) if isinstance(error, NotTrusted) else type(error).__name__
        audit.event("list_refresh_failed", list=name, error=said)
