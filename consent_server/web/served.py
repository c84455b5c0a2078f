"""Keep what a door has counted (`web/tally.py`) for service levels: by hour, endpoint and client.

It is written once a minute, outside requests. What a process has counted since is lost when it ends, which does not affect a
service level, a share of many requests.
"""

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

from flask import Flask, current_app

from consent_server import store
from consent_server.refusal import Refusal
from consent_server.store import served
from consent_server.store.tables.status import ServedHour
from consent_server.web import tally
from consent_server.web.tally import TIMES, ResponseTimes

log = logging.getLogger("consent_server.web")

WRITE_S: Final = 60
#: The upper bound of each column in milliseconds; the last column has none.
BOUNDS: Final = (100, 250, 500, 1000, 1500, 4000, 6000)
#: The column of each count of `ResponseTimes`.
_COLUMNS: Final = (*(next((f"ms_{most}" for most in BOUNDS if 1000 * s <= most), "slower") for s in TIMES), "slower")
_COUNTS: Final = "served"

Endpoint = tuple[int, str, str]


class ServedCounts:
    """What one process has counted and not written yet, by hour, endpoint and client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Endpoint, Counter[str]] = {}

    def take(self, counted: Mapping[tally.Key, ResponseTimes]) -> None:
        """Add what was counted of requests that have an endpoint."""
        for (hour, method, rule, client, outcome), times in counted.items():
            if rule is None:
                continue
            columns = Counter(asked=sum(times.counts))
            for column, count in zip(_COLUMNS, times.counts, strict=True):
                columns["failed" if outcome == 5 else column] += count
            self.add((hour, f"{method} {rule}", client), columns)

    def add(self, key: Endpoint, counted: Counter[str]) -> None:
        """Add counts, by the names of their columns, to those of an hour, an endpoint and a client."""
        with self._lock:
            self._held.setdefault(key, Counter()).update(counted)

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
    """Count each request of `app`, and keep what service levels need."""
    tally.install(app)
    app.extensions[_COUNTS] = counts = ServedCounts()
    tally.tally_of(app).takers.append(counts.take)


def write(app: Flask) -> None:
    """Write what an application, the current one, has counted."""
    tally.tally_of(app).settle()
    counts: ServedCounts = app.extensions[_COUNTS]
    counts.write()


def write_each_minute(app: Flask) -> None:
    """Write what `app` counts, once a minute, for as long as the process runs."""
    threading.Thread(target=_write_on, args=(app,), name="counts of requests", daemon=True).start()


def _write_on(app: Flask) -> None:
    never = threading.Event()
    with app.app_context():
        while not never.wait(WRITE_S):
            try:
                write(current_app)
            except Exception:  # a fault in one write must not end those after it
                log.exception("counts of requests")
