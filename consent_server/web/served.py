"""Count what a door serves: by hour, endpoint and client, with the time that each answer took.

A request costs one addition in memory. The counts are written once a minute, outside requests; what a process has counted
since is lost when it ends, which does not affect a service level, a share of many requests. What Prometheus reads
is counted in `metrics/counts.py`.
"""

import logging
import threading
from bisect import bisect_left
from collections import Counter
from typing import Final

from flask import Flask, Response, current_app

from consent_server import clock, store
from consent_server.caller.identify import identified
from consent_server.refusal import Refusal
from consent_server.store import served
from consent_server.store.tables import ServedHour
from consent_server.web.application import in_hand

log = logging.getLogger("consent_server.web")

HOUR: Final = 3600
WRITE_S: Final = 60
#: The upper bound of each column in milliseconds; the last column has none.
BOUNDS: Final = (100, 250, 500, 1000, 1500, 4000, 6000)
_COLUMNS: Final = (*(f"ms_{most}" for most in BOUNDS), "slower")
_COUNTS: Final = "served"
#: In a request's environment: when it began.
_BEGAN: Final = "consent_server.began"

Key = tuple[int, str, str]


class ServedCounts:
    """What one process has counted and not written yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Key, Counter[str]] = {}

    def add(self, key: Key, counted: Counter[str]) -> None:
        """Add counts, by the names of their columns, to those of an hour, an endpoint and a client."""
        with self._lock:
            self._held.setdefault(key, Counter()).update(counted)

    def asked(self, key: Key, column: str) -> None:
        """Count one request, and in which column its answer falls."""
        with self._lock:
            held = self._held.get(key)
            if held is None:
                held = self._held[key] = Counter()
            held["asked"] += 1
            held[column] += 1

    def write(self) -> None:
        """Write what was counted, in the current application; what cannot be written is kept for the next time.

        Where it is not known whether a transaction was committed, its counts may be kept twice: none are lost.
        """
        with self._lock:
            held, self._held = self._held, {}
        if not held:
            return
        try:
            with store.writing() as c:
                served.add(c, [ServedHour(*key, *(held[key][name] for name in served.COUNTS)) for key in held])
        except Refusal as refusal:
            log.warning("counts of requests are not written yet: %s", refusal.private)
            for key, counted in held.items():
                self.add(key, counted)


def install(app: Flask) -> None:
    """Count each request of `app` that has an endpoint."""
    counts = app.extensions[_COUNTS] = ServedCounts()

    @app.before_request
    def _begin() -> None:
        in_hand().environ[_BEGAN] = clock.ticks()
        identified.set("-")

    @app.after_request
    def _count(response: Response) -> Response:
        asked = in_hand()
        began = asked.environ.get(_BEGAN)
        if asked.url_rule is not None and began is not None:
            column = "failed" if response.status_code >= 500 else _column(clock.ticks() - began)
            key = (clock.now() // HOUR * HOUR, f"{asked.method} {asked.url_rule.rule}", identified.get())
            counts.asked(key, column)
        return response


def counts_of(app: Flask) -> ServedCounts:
    """Return what an application has counted."""
    found: ServedCounts = app.extensions[_COUNTS]
    return found


def write_each_minute(app: Flask) -> None:
    """Write what `app` counts, once a minute, for as long as the process runs."""
    threading.Thread(target=_write_on, args=(app,), name="counts of requests", daemon=True).start()


def _write_on(app: Flask) -> None:
    never = threading.Event()
    with app.app_context():
        while not never.wait(WRITE_S):
            try:
                counts_of(current_app).write()
            except Exception:  # a fault in one write must not end those after it
                log.exception("counts of requests")


def _column(seconds: float) -> str:
    return _COLUMNS[bisect_left(BOUNDS, seconds * 1000)]
