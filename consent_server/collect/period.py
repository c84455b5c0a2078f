"""Which months a CAP collects from a provider, and when each is asked for again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from consent_server.collect import figures
from consent_server.deployment import current
from consent_server.scheme.factors import FactorPeriod
from consent_server.scheme.instant import DAY, HALF_HOUR, month_start, months_later, next_month
from consent_server.store.tables.collecting import MeterMonth

#: When a connection is collected through again, and a month that lacks half-hours is asked for again.
NEXT_S: Final = DAY
#: How often a complete month is asked for again while it may be revised.
REVISIT_S: Final = 7 * DAY
#: The most months in one window: 366 days.
MOST_MONTHS: Final = 12


def first_month(at: int) -> int:
    """Return the first instant of the earliest month of a collection that begins at `at`."""
    return months_later(month_start(at), -current().settings.collection.months)


def revision_s() -> int:
    """Return for how long after its end a month is open to revision."""
    return current().settings.collection.revision_days * DAY


def wanted(known: Mapping[int, MeterMonth], periods: Sequence[FactorPeriod], at: int) -> Iterator[list[int]]:
    """Yield runs of whole months that are missing or may be revised, by their first instants: each run is one window.

    A month that is open to revision is a window of its own, which its next collection replaces.
    """
    run: list[int] = []
    month = first_month(at)
    while month < month_start(at):
        is_open = at < next_month(month) + revision_s()
        if run and (is_open or len(run) == MOST_MONTHS or next_month(run[-1]) != month):
            yield run
            run = []
        if _is_wanted(known.get(month), periods, is_open, at):
            run.append(month)
        if run and is_open:
            yield run
            run = []
        month = next_month(month)
    if run:
        yield run


def _is_wanted(month: MeterMonth | None, periods: Sequence[FactorPeriod], is_open: bool, at: int) -> bool:
    """Return whether a month is to be fetched. One that lacks half-hours is open as long as if it had just ended."""
    if month is None or month.fetched > at or not figures.is_current(month.fuel, month.start, month.basis, periods):
        return True
    lacking = month.half_hours < _slots(month.start)
    if at - month.fetched < (NEXT_S if lacking and is_open else REVISIT_S):
        return False
    return is_open or (lacking and at < month.first + revision_s())


def is_closed(month: MeterMonth, at: int) -> bool:
    """Return whether nothing is expected any more of a month."""
    return at >= next_month(month.start) + revision_s() and (month.complete or at >= month.first + revision_s())


def _slots(month: int) -> int:
    return (next_month(month) - month) // HALF_HOUR
