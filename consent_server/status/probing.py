"""Ask the parts that are due, keep what was found, and sum up the days that are over."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Final

from consent_server import clock, store
from consent_server.outbound.probes import Probes
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.status import measured
from consent_server.status.measured import Span
from consent_server.store import notices, outbox, probes
from consent_server.store.tables.status import Probe, StatusNotice

#: Every part on the status page, in its order.
PARTS: Final = ("issuer", "data", "messages", "directory", "registry")
#: Seconds after which a message that was not tried is late: a withdrawal is to reach its client within the hour.
LATE_S: Final = 900
#: Seconds for which the newest probes are looked at: five in a row are in it, however far apart.
_BACK_S: Final = 600
_LONGEST_WHY: Final = 32


def ask_due(calls: Probes) -> None:
    """Ask each part that is due, all at the same time, and keep what was found."""
    at = clock.now()
    with store.reading() as c:
        latest = probes.between(c, at - _BACK_S, at + 1)
    due = [part for part in PARTS if measured.is_due(latest.get(part, [])[::-1], at)]
    if not due:
        return
    found = [_messages(at)] if "messages" in due else []
    outside = [part for part in calls.parts if part in due]
    with ThreadPoolExecutor(len(PARTS)) as pool:
        running = {part: pool.submit(copy_context().run, calls.ask, part) for part in outside}
        for part, answer in running.items():
            asked = answer.result()
            found.append(Probe(part, at, not asked.why, asked.ms, asked.why[:_LONGEST_WHY]))
    with store.writing() as c:
        for probe in found:
            probes.add(c, probe)


def sum_up() -> None:
    """Keep the sums of each day that has been over for a day, and delete its probes."""
    today = instant.day_start(clock.now())
    with store.reading() as c:
        first = probes.oldest(c)
    if first is None or first >= today - DAY:
        return
    start = instant.day_start(first)
    with store.writing() as c:
        near = probes.between(c, start, start + DAY + _BACK_S)
        planned = planned_spans(notices.since(c, start))
        probes.put_days(c, [measured.day(part, start, near[part], planned.get(part, ()), today) for part in near])
        probes.forget(c, start + DAY)


def planned_spans(announced: list[StatusNotice]) -> dict[str, list[Span]]:
    """Return the time for which each part was to be down by what was announced in time."""
    found: dict[str, list[Span]] = {}
    for notice in announced:
        if notice.kind == "downtime" and notice.in_time and notice.cancelled is None and notice.ends is not None:
            for part in notice.parts:
                found.setdefault(part, []).append(Span(notice.begins, notice.ends))
    return found


def _messages(at: int) -> Probe:
    with store.reading() as c:
        oldest = outbox.oldest_untried(c)
    age = 0 if oldest is None else max(0, at - oldest)
    return Probe("messages", at, age <= LATE_S, age, "" if age <= LATE_S else "late")
