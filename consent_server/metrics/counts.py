"""What Prometheus reads of requests, how long they took, and audit events."""

import re
from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from consent_server import audit
from consent_server.web.tally import NOBODY, TIMES, Key, ResponseTimes

disable_created_metrics()  # type: ignore[no-untyped-call]

#: Clients that a process tells apart; later ones are counted together.
MOST_CLIENTS: Final = 300
OTHERS: Final = "other"
#: Audit event -> its field that is counted apart: each has few values, all of them ours.
DETAILS: Final = {
    "refused": "refusal",
    "budget_used_up": "budget",
    "server_fault": "kind",
}
# `<any('a','b'):code>` and `<path:name>`: what may stand there is of no interest, and may be long.
_CONVERTER: Final = re.compile(r"<[^<>]*:(\w+)>")


class _Seconds(Histogram):
    """A histogram of what was counted by its own buckets already."""

    def add(self, counts: Sequence[int], seconds: float) -> None:
        self._sum.inc(seconds)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


def _event_of(line: Mapping[str, Any]) -> tuple[str, str]:
    event = line["event"]
    return event, line[DETAILS[event]] if event in DETAILS else NOBODY


class Counts:
    """The counters of one process. Several processes of a door write theirs into files (`serving.worker_counts`)."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._requests = Counter(
            "consent_requests",
            "Requests that were answered.",
            ("door", "endpoint", "client", "outcome"),
            registry=registry,
        )
        self._seconds = _Seconds(
            "consent_request_seconds",
            "Seconds from a request's head to its answer, without the time that the client took to read it.",
            ("door", "endpoint"),
            buckets=TIMES,
            registry=registry,
        )
        self._events = Counter(
            "consent_events",
            "Audit events, by name; detail is a refusal's code, a limit's name, or another closed list.",
            ("event", "detail"),
            registry=registry,
        )
        # To find a series by its labels takes longer than to count.
        self._of, self._of_event = cache(self._series), cache(self._events.labels)
        for event in audit.EVENTS.keys() - DETAILS.keys():
            self._of_event(event, NOBODY)  # from 0 on: a first one that begins at 1 is no increase to Prometheus
        self._clients: set[str] = set()

    def requests(self, door: str, counted: Mapping[Key, ResponseTimes]) -> None:
        """Add requests that a door has counted."""
        for (_, _, rule, client, outcome), times in counted.items():
            requests, seconds = self._of(door, rule, self._bounded(client), outcome)
            requests.inc(sum(times.counts))
            seconds.add(times.counts, times.seconds)

    def events(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Count audit events."""
        for (event, detail), count in Tally(map(_event_of, lines)).items():
            self._of_event(event, detail).inc(count)

    def _bounded(self, client: str) -> str:
        if client == NOBODY or client in self._clients:
            return client
        if len(self._clients) >= MOST_CLIENTS:
            return OTHERS
        self._clients.add(client)
        return client

    def _series(self, door: str, rule: str | None, client: str, outcome: int) -> tuple[Counter, _Seconds]:
        endpoint = NOBODY if rule is None else _CONVERTER.sub(r"<\1>", rule)
        return self._requests.labels(door, endpoint, client, f"{outcome}xx"), self._seconds.labels(door, endpoint)
