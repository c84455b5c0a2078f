"""The one count of a door's requests: by hour, endpoint, client and outcome, with the time that each answer took.

A request costs one look-up and three additions in memory. Outside requests, two take the count and keep what they need of it:
service levels in the store (`web/served.py`), and what Prometheus reads (`metrics/counts.py`).
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from consent_server import clock
from consent_server.caller.identify import identified

#: Seconds: the upper bound of each count of answers, the last of which has none. A data API of Perseus is to answer within 1 s,
#: and a page within 2 s; service levels need 0.1, 0.25, 0.5, 1, 1.5, 4 and 6 s.
TIMES: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 4.0, 6.0, 10.0)
HOUR: Final = 3600
NOBODY: Final = "-"
_TALLY: Final = "tally"

#: The hour in which a request ended, its method and URL rule (None where there is no rule), the application that was identified
#: or NOBODY, and the class of its status.
Key = tuple[int, str, str | None, str, int]
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ResponseTimes:
    """How many answers took how long, by TIMES, and the sum of their seconds."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(TIMES) + 1)
        self.seconds = 0.0


class RequestTally:
    """What one application has counted since it was last taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[Key, ResponseTimes] = {}
        #: Called with what was counted since they were called before.
        self.takers: list[Callable[[Mapping[Key, ResponseTimes]], None]] = []

    def count(self, key: Key, seconds: float) -> None:
        """Count one request."""
        with self._lock:
            times = self._counted.get(key)
            if times is None:
                times = self._counted[key] = ResponseTimes()
            times.counts[bisect_left(TIMES, seconds)] += 1
            times.seconds += seconds

    def settle(self) -> None:
        """Give what was counted to those who take it."""
        with self._lock:
            counted, self._counted = self._counted, {}
        if counted:
            for take in self.takers:
                take(counted)


def install(app: Any) -> None:
    """Count each request of a WSGI application that has `wsgi_app` and `extensions`, as Flask's have."""
    app.extensions[_TALLY] = tally = RequestTally()
    app.wsgi_app = _counted(app.wsgi_app, tally)


def tally_of(app: Any) -> RequestTally:
    """Return the count of an application."""
    found: RequestTally = app.extensions[_TALLY]
    return found


def rule_of(environ: Mapping[str, Any]) -> Any:
    """Return the URL rule of a request, or None: known when its response starts, before Flask takes it out again."""
    return getattr(environ.get("werkzeug.request"), "url_rule", None)


def _counted(application: Application, tally: RequestTally) -> Application:
    def counting(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        began = clock.ticks()
        # A connection's requests are of one greenlet, which remembers what the one before has set.
        identified.set(NOBODY)
        answered, rule = 500, None

        def noting(status: str, *more: Any) -> Any:
            nonlocal answered, rule
            answered = int(status[:3])
            rule = rule_of(environ)
            return start_response(status, *more)

        try:
            return application(environ, noting)
        finally:
            # Without a rule, the method may be any text of the caller's.
            method, path = (NOBODY, None) if rule is None else (environ["REQUEST_METHOD"], rule.rule)
            key = (clock.now() // HOUR * HOUR, method, path, identified.get(), answered // 100)
            tally.count(key, clock.ticks() - began)

    return counting
