"""The result that an SME reads: the report on its last twelve whole months, addressed to nobody else."""

from dataclasses import dataclass

from consent_server import clock, store
from consent_server.collect import report
from consent_server.scheme import instant
from consent_server.scheme.report import Report


def last_year() -> tuple[int, int]:
    """Return the last twelve whole months: the first instant of the first, and that of this month."""
    end = instant.month_start(clock.now())
    return instant.months_later(end, -12), end


def result(c: store.Connection, account: str) -> Report | None:
    """Return the report of this moment, None without a live connection. Raise NothingYet while readings are fetched."""
    found = report.report(c, account, *last_year())
    return found if found.sources else None


@dataclass(frozen=True)
class AlikeGaps:
    """Months that are left out of some fuels for one reason, a name of GapReason, at the same sites."""

    fuels: tuple[str, ...]
    starts: tuple[int, ...]
    reason: str
    sites: tuple[str, ...]


def alike(found: Report) -> list[AlikeGaps]:
    """Return what is left out, fuels that lack the same months for the same reason together."""
    lacking: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}
    for gap in found.gaps:
        lacking.setdefault((gap.fuel, gap.reason.name, gap.sites), []).append(gap.start)
    together: dict[tuple[tuple[int, ...], str, tuple[str, ...]], list[str]] = {}
    for (fuel, reason, sites), starts in lacking.items():
        together.setdefault((tuple(starts), reason, sites), []).append(fuel)
    return [AlikeGaps(tuple(fuels), starts, reason, sites) for (starts, reason, sites), fuels in together.items()]
