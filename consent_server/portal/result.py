"""The result that an SME reads: its last twelve whole months, what is missing from them and why, and what they rest on."""

import math
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
class Row:
    """One month: its first instant, and tonnes by fuel, None where the month of that fuel is not whole."""

    start: int
    tonnes: dict[str, float | None]


@dataclass(frozen=True)
class Missing:
    """Months of one fuel that are left out: `partial` ones lack some half-hours, `empty` ones have none at all."""

    fuel: str
    partial: tuple[int, ...]
    empty: tuple[int, ...]


@dataclass(frozen=True)
class Source:
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
    rows: tuple[Row, ...]
    totals: dict[str, float]
    missing: tuple[Missing, ...]
    sources: tuple[Source, ...]
    factors: tuple[FactorUse, ...]

    @property
    def most(self) -> float:
        """The tonnes of the month with the most, all fuels together: the height of the chart."""
        return max((sum(t for t in row.tonnes.values() if t) for row in self.rows), default=0.0)


def result(account: str) -> Result | None:
    """The result as it stands now, None without a live connection. Raises report.NothingYet while readings are fetched."""
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
        rows=tuple(Row(month, {fuel: _tonnes(kilograms.get((fuel, month))) for fuel in fuels}) for month in starts),
        totals={
            fuel: math.fsum(kilograms.get((fuel, month), 0.0) for month in starts) / KILOGRAMS_PER_TONNE
            for fuel in fuels
        },
        missing=tuple(_missing(fuel, starts, kilograms, begun) for fuel in fuels),
        sources=tuple(
            Source(
                each.member, each.id, each.granted, each.collected, len({row.datasource for row in windows[each.id]})
            )
            for each in found.rests_on
        ),
        factors=tuple(emissions.factors_used(start, end)) if GAS in fuels else (),
    )


def _tonnes(kilograms: float | None) -> float | None:
    return None if kilograms is None else kilograms / KILOGRAMS_PER_TONNE


def _missing(
    fuel: str, starts: list[int], kilograms: dict[tuple[str, int], float], begun: set[tuple[str, int]]
) -> Missing:
    absent = [month for month in starts if (fuel, month) not in kilograms]
    return Missing(
        fuel,
        partial=tuple(month for month in absent if (fuel, month) in begun),
        empty=tuple(month for month in absent if (fuel, month) not in begun),
    )
