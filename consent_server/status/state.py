"""How each part is now and was on each day, and what was announced: the one source of page, feed and heartbeat."""

import threading
from collections.abc import Sequence
from typing import ClassVar, Final, Literal, NamedTuple

from consent_server import clock, store
from consent_server.refusal import Unavailable
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.status import measured, probing
from consent_server.status.measured import HOLDS_S, IN_A_ROW
from consent_server.store import notices, probes
from consent_server.store.tables.status import Probe, ProbeDay, StatusNotice

#: Of a part now: "planned" is downtime that was announced; "unknown" says that nobody has asked lately.
State = Literal["ok", "degraded", "down", "planned", "unknown"]

#: Days that the status page shows.
DAYS: Final = 90
#: Seconds for which a door shows what it has worked out.
KEPT_S: Final = 10


class DeclaredDown(Unavailable):
    code = "declared_down"
    public = "This service is down at present, as its status page says."
    help = "See /status at the public door, and try again after the time in Retry-After."
    headers: ClassVar[dict[str, str]] = {"Retry-After": "300"}  # while an incident lasts, whose end nobody knows


class Day(NamedTuple):
    """A day of one part."""

    sums: ProbeDay

    @property
    def state(self) -> State:
        sums = self.sums
        if sums.down_s:
            return "down"
        if sums.planned_s:
            return "planned"
        if sums.answered < sums.asked:
            return "degraded"
        return "ok" if sums.asked else "unknown"


class Part(NamedTuple):
    """A part now, and day by day, oldest first."""

    name: str
    state: State
    days: Sequence[Day]

    @property
    def availability(self) -> float | None:
        """Return the share of the measured time for which it was not down, None where nothing was measured."""
        counted = sum(day.sums.measured_s for day in self.days)
        return None if not counted else 1 - sum(day.sums.down_s for day in self.days) / counted


class ServiceStatus(NamedTuple):
    """The content of the status page. `notices` are of the last 90 days and of the future, newest first."""

    at: int
    parts: Sequence[Part]
    notices: Sequence[StatusNotice]

    @property
    def state(self) -> State:
        """Return the state of the part that is worst."""
        ranked: tuple[State, ...] = ("down", "planned", "degraded", "unknown", "ok")
        return min((part.state for part in self.parts), key=ranked.index)


def now() -> ServiceStatus:
    """Return how we are. Raise StoreUnavailable."""
    at = clock.now()
    today = instant.day_start(at)
    first = today - (DAYS - 1) * DAY
    with store.reading() as c:
        announced = notices.since(c, first)
        summed = {(each.part, each.day): each for each in probes.days(c, first, at)}
        latest = probes.between(c, today - DAY, at + 1)
    planned = probing.planned_spans(announced)
    parts = []
    for name in probing.PARTS:
        probed = latest.get(name, [])
        for start in (today - DAY, today):
            summed.setdefault((name, start), measured.day(name, start, probed, planned.get(name, ()), at))
        days = [Day(summed.get((name, start)) or nothing(name, start)) for start in range(first, at + 1, DAY)]
        parts.append(Part(name, state_at(name, probed[::-1], announced, at), days))
    return ServiceStatus(at, parts, announced)


class Recent:
    """How we are, worked out from some days of probes at most once in each KEPT_S, however many strangers ask.

    Who asks while it is worked out anew gets what was worked out before; at the first time, what is worked out for the first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looks = 0
        self._found: ServiceStatus | None = None
        self._fault: Exception | None = None

    def now(self) -> ServiceStatus:
        """Return what `now` returned a moment ago. Raise StoreUnavailable."""
        found, looks = self._found, self._looks
        if found is not None and 0 <= clock.now() - found.at < KEPT_S:
            return found
        if not self._lock.acquire(blocking=found is None):
            assert found is not None
            return found
        try:
            if self._looks == looks:
                self._look()
            if self._fault is not None:
                raise self._fault.with_traceback(None)
            assert self._found is not None
            return self._found
        finally:
            self._lock.release()

    def _look(self) -> None:
        try:
            self._found, self._fault = now(), None
        except Exception as fault:
            # Kept for those who waited: one after the other, each would wait as long for a store that hangs.
            self._fault = fault
        self._looks += 1


def nothing(part: str, day: int) -> ProbeDay:
    """Return the sums of a day on which nobody asked."""
    return ProbeDay(part, day, asked=0, answered=0, measured_s=0, down_s=0, planned_s=0)


def require_serving(part: str, at: int) -> None:
    """Raise DeclaredDown while an operator says that a part is down, by an incident or by downtime that was planned.

    What probes measured does not count: they ask the heartbeat, which asks here.
    """
    with store.reading() as c:
        announced = notices.since(c, at)
    for notice in in_force(part, announced, at):
        if notice.effect == "down":
            raise DeclaredDown(
                notice.id, headers=None if notice.ends is None else {"Retry-After": str(notice.ends - at)}
            )


def in_force(part: str, announced: Sequence[StatusNotice], at: int) -> list[StatusNotice]:
    """Return the notices about a part that hold at an instant."""
    return [
        notice
        for notice in announced
        if part in notice.parts
        and notice.cancelled is None
        and notice.begins <= at
        and (notice.ends is None or at < notice.ends)
    ]


def state_at(part: str, newest_first: Sequence[Probe], announced: Sequence[StatusNotice], at: int) -> State:
    """Return the state of a part: what an operator says of it first, then what probes say."""
    current = in_force(part, announced, at)
    if any(notice.kind == "downtime" for notice in current):
        return "planned"
    if any(notice.effect == "down" for notice in current):
        return "down"
    if not newest_first or at - newest_first[0].at >= HOLDS_S:
        return "unknown"
    failed = measured.failures(newest_first)
    if failed >= IN_A_ROW:
        return "down"
    return "degraded" if current or failed else "ok"
