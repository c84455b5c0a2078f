"""The result that an SME reads: its last twelve whole months, what is missing from them and why, and what they rest on."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from consent_server import clock, store
from consent_server.collect import report
from consent_server.collect.report import FUELS
from consent_server.scheme import emissions, instant
from consent_server.scheme.emissions import FactorUse
from consent_server.scheme.licenses import GAS
from consent_server.store import connections

MONTHS = 12
KILOGRAMS_PER_TONNE = 1000


@dataclass(frozen=True)
class MonthRow:
    """One month: its first instant, and tonnes by fuel, None where the month of that fuel is not whole."""

    start: int
    tonnes: dict[str, float | None]


@dataclass(frozen=True)
class Gap:
    """Months that are left out for one reason: `empty` ones have no reading at all, the others lack some half-hours."""

    fuels: tuple[str, ...]
    starts: tuple[int, ...]
    empty: bool


@dataclass(frozen=True)
class ResultSource:
    """One provider: its member URL, our connection's id, when its readings came, and from how many meters."""

    member: str
    connection: str
    granted: int
    collected: int
    meters: int


@dataclass(frozen=True)
class Result:
    """`start` to `end` are first instants of months. Totals are added before they are rounded."""

    start: int
    end: int
    at: int
    fuels: tuple[str, ...]
    rows: tuple[MonthRow, ...]
    totals: dict[str, float]
    gaps: tuple[Gap, ...]
    sources: tuple[ResultSource, ...]
    factors: tuple[FactorUse, ...]

    def months_of(self, fuel: str) -> int:
        """Return how many of the months are whole for a fuel."""
        return sum(row.tonnes[fuel] is not None for row in self.rows)

    @property
    def most(self) -> float:
        """Return the tonnes of the month with the most, all fuels together: the height of the chart."""
        return max((sum(t for t in row.tonnes.values() if t) for row in self.rows), default=0.0)


def result(account: str) -> Result | None:
    """Return the result of this moment, None without a live connection. Raise NothingYet while readings are fetched."""
    at = clock.now()
    end = instant.month_start(at)
    start = instant.months_later(end, -MONTHS)
    found = report.report(account, start, end)
    if not found.rests_on:
        return None
    starts = [instant.months_later(start, number) for number in range(MONTHS)]
    kilograms = {(month.fuel, month.start): month.kilograms for month in found.months}
    with store.reading() as c:
        windows = {each.id: connections.collected(c, each.id) for each in found.rests_on}
        begun = {(row.fuel, row.start) for each in found.rests_on for row in connections.months(c, each.id, start, end)}
    fuels = tuple(fuel for fuel in FUELS if any(row.fuel == fuel for rows in windows.values() for row in rows))
    return Result(
        start=start,
        end=end,
        at=at,
        fuels=fuels,
        rows=tuple(
            MonthRow(month, {fuel: _tonnes(kilograms.get((fuel, month))) for fuel in fuels}) for month in starts
        ),
        totals={
            fuel: math.fsum(kilograms.get((fuel, month), 0.0) for month in starts) / KILOGRAMS_PER_TONNE
            for fuel in fuels
        },
        gaps=_gaps(fuels, starts, kilograms, begun),
        sources=tuple(
            ResultSource(
                each.member, each.id, each.granted, each.collected, len({row.datasource for row in windows[each.id]})
            )
            for each in found.rests_on
            if each.collected is not None
        ),
        factors=tuple(emissions.factors_used(start, end)) if GAS in fuels else (),
    )


def _tonnes(kilograms: float | None) -> float | None:
    return None if kilograms is None else kilograms / KILOGRAMS_PER_TONNE


def _gaps(
    fuels: tuple[str, ...],
    starts: list[int],
    kilograms: Mapping[tuple[str, int], float],
    begun: Collection[tuple[str, int]],
) -> tuple[Gap, ...]:
    """Return what is left out, fuels that lack the same months for the same reason together."""
    alike: dict[tuple[tuple[int, ...], bool], list[str]] = {}
    for fuel in fuels:
        for empty in (False, True):
            lacking = tuple(
                month for month in starts if (fuel, month) not in kilograms and ((fuel, month) in begun) is not empty
            )
            if lacking:
                alike.setdefault((lacking, empty), []).append(fuel)
    return tuple(Gap(tuple(same), lacking, empty) for (lacking, empty), same in alike.items())
