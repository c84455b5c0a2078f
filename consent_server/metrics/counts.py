"""What is counted as it happens: requests, how long they took, and audit events."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from consent_server import audit

disable_created_metrics()  # type: ignore[no-untyped-call]

#: Clients that a process tells apart; later ones are counted together.
MOST_CLIENTS: Final = 300
NOBODY: Final = "-"
OTHERS: Final = "other"
#: Seconds. A data API of Perseus is to answer within 1 s, and a page within 2 s.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
#: Audit event -> its field that is counted apart: each has few values, all of them ours.
DETAILS: Final = {
    "refused": "refusal",
    "budget_used_up": "budget",
    "server_fault": "kind",
}
# `<any('a','b'):code>` and `<path:name>`: what may stand there is of no interest, and may be long.
_CONVERTER: Final = re.compile(r"<[^<>]*:(\w+)>")


class Counts:
    """The counters of one process. Several processes of a door write theirs into files (`serving.worker_counts`)."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._requests = Counter(
            "consent_requests",
            "Requests that were answered.",
            ("door", "endpoint", "client", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "consent_request_seconds",
            "Seconds from a request's head to its answer, without the time that the client took to read it.",
            ("door", "endpoint"),
            buckets=BUCKETS,
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

    def request(self, door: str, rule: str | None, client: str, status: int, seconds: float) -> None:
        """Count a request. `rule` is its URL rule, None where there is none; `client` an application URL or NOBODY."""
        requests, times = self._of(door, rule, self._bounded(client), status // 100)
        requests.inc()
        times.observe(seconds)

    def event(self, line: Mapping[str, Any]) -> None:
        """Count an audit event."""
        name = line["event"]
        self._of_event(name, line[DETAILS[name]] if name in DETAILS else NOBODY).inc()

    def _bounded(self, client: str) -> str:
        if client == NOBODY or client in self._clients:
            return client
        if len(self._clients) >= MOST_CLIENTS:
            return OTHERS
        self._clients.add(client)
        return client

    def _series(self, door: str, rule: str | None, client: str, outcome: int) -> tuple[Counter, Histogram]:
        endpoint = NOBODY if rule is None else _CONVERTER.sub(r"<\1>", rule)
        return self._requests.labels(door, endpoint, client, f"{outcome}xx"), self._seconds.labels(door, endpoint)
