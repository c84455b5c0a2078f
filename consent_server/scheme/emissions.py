"""Readings times factors, summed to whole months: the two calculations that the scheme registers, and no other.

Electricity (process electricity-emissions-calculation/2026-03-12): half-hourly watt-hours times the regional carbon
intensity of that half-hour, in gCO2/kWh: kilograms of CO2. Gas (gas-emissions-calculation/2026-03-12): half-hourly cubic
metres times the conversion factor that the rule picks for that half-hour (factors.py), in kgCO2e/m3: kilograms of CO2e. The
two are different quantities, and nothing here adds them.

Months run from 00:00Z to 00:00Z, so that a month has 48 half-hours for each day, even when clocks change. Only a month in
which every half-hour has a reading and a factor is `complete`, and only such months may be reported. A gap stays a gap
unless `filled()` is asked to fill it.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, repeat
from operator import itemgetter, lt, mul
from typing import NamedTuple

from consent_server.scheme import instant
from consent_server.scheme.factors import FactorPeriod, basis
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.licenses import ELECTRICITY, GAS

#: What a kilogram is of. The intensity of the grid counts carbon dioxide alone; a factor for gas counts methane and nitrous
#: oxide too, as equivalents.
GASES: Mapping[str, str] = {ELECTRICITY: "CO2", GAS: "CO2e"}
#: A month of one meter is filled only when this many half-hours are missing, or fewer: a day.
MOST_FILLED = 48

_WEEK = 7 * DAY
_WHR = 1000.0  # in a kWh, and grams in a kilogram


class EmissionsError(ValueError):
    """Readings that cannot be summed: one off the half-hour, or the same half-hour twice."""


class Amounts(NamedTuple):
    """Half-hours of one meter with a reading, as columns, in order of time: where each begins, and its WHR or MTQ."""

    start: Sequence[int]
    value: Sequence[float]

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, float]]) -> "Amounts":
        """Return pairs, in any order, as columns."""
        ordered = sorted(pairs, key=itemgetter(0))
        return cls([at for at, _ in ordered], [value for _, value in ordered])


@dataclass(frozen=True, slots=True)
class MonthEmissions:
    """One fuel's month, from `start` to `end`, the first instants of months.

    `amount` is what the kilograms rest on: kWh of electricity, cubic metres of gas. `kilograms` are of CO2 for electricity
    and of CO2e for gas. Half-hours are counted in three ways: `missing` have no reading, `unknown` have one and no factor,
    `filled` have an estimate in place of a reading. Where any is missing or unknown, amount and kilograms are those of the
    rest. `by_set` has, for gas, the cubic metres to which each year's set of factors was applied, and `basis` what sets those
    were (`factors.basis()`).
    """

    fuel: str
    start: int
    end: int
    amount: float
    kilograms: float
    missing: int = 0
    unknown: int = 0
    filled: int = 0
    by_set: Mapping[int, float] = field(default_factory=dict)
    basis: str = ""

    @property
    def complete(self) -> bool:
        return not self.missing and not self.unknown


@dataclass(frozen=True, slots=True)
class _Sum:
    amount: float
    kilograms: float
    known: int
    by_set: Mapping[int, float]


def electricity(
    readings: Amounts, intensity: Mapping[int, float], filled: Collection[int] = ()
) -> dict[int, MonthEmissions]:
    """Return the months of one meter, keyed by their first instant, in order.

    intensity: start of the half-hour -> gCO2/kWh in that meter's region. filled:
    the half-hours that `filled()` has added. Raise EmissionsError.
    """

    def total(starts: Sequence[int], amounts: Sequence[float]) -> _Sum:
        grid = [*map(intensity.get, starts)]
        if None in grid:
            there = [each is not None for each in grid]
            amounts, grid = list(compress(amounts, there)), list(compress(grid, there))
        grams = math.fsum(map(mul, amounts, grid)) / _WHR
        return _Sum(math.fsum(amounts) / _WHR, grams / _WHR, len(grid), {})

    return _months(ELECTRICITY, readings, filled, total)


def gas(readings: Amounts, periods: Sequence[FactorPeriod], filled: Collection[int] = ()) -> dict[int, MonthEmissions]:
    """Return the months of one meter, keyed by their first instant, in order.

    periods: `factors.in_force()`. filled: the half-hours that `filled()` has added.
    Raise EmissionsError.
    """

    def total(starts: Sequence[int], amounts: Sequence[float]) -> _Sum:
        parts: list[float] = []
        by_set: dict[int, float] = {}
        known = 0
        for period in periods:
            first, last = bisect_left(starts, period.start), bisect_left(starts, period.end)
            if first < last:
                under = amounts[first:last]
                parts.extend(map(mul, under, repeat(period.factor.kg_per_m3)))
                by_set[period.factor.year] = math.fsum(under)
                known += last - first
        return _Sum(math.fsum(by_set.values()), math.fsum(parts), known, by_set)

    months = _months(GAS, readings, filled, total)
    return {at: replace(month, basis=basis(periods, at, month.end)) for at, month in months.items()}


def filled(readings: Amounts) -> tuple[Amounts, frozenset[int]]:
    """Return one month's readings of one meter with estimates for gaps, and the half-hours that are estimates.

    An estimate is the mean of the readings a week before and a week after the half-hour, or the one of them that is there.
    A month that lacks more than MOST_FILLED half-hours is left as it is, and so is one that lacks its first or its last one: a
    tenancy or a meter may begin or end in it. Raise EmissionsError.
    """
    known = dict(zip(*readings, strict=True))
    if len(known) < len(readings.start):
        raise EmissionsError("a half-hour has two readings")
    if not known:
        return readings, frozenset()
    month = instant.month_start(readings.start[0])
    end = instant.next_month(month)
    lacking = [at for at in range(month, end, HALF_HOUR) if at not in known]
    if len(lacking) > MOST_FILLED or {month, end - HALF_HOUR} & {*lacking}:
        return readings, frozenset()
    added: dict[int, float] = {}
    for at in lacking:
        beside = [known[near] for near in (at - _WEEK, at + _WEEK) if near in known]
        if beside:
            added[at] = math.fsum(beside) / len(beside)
    return Amounts.of((known | added).items()), frozenset(added)


def add(fuel: str, meters: Sequence[Mapping[int, MonthEmissions]]) -> dict[int, MonthEmissions]:
    """Return the sum over several meters of one fuel, month by month, in order.

    A month is complete only when it is complete for every meter: a meter without any reading in it lacks all half-hours of
    it. Raise EmissionsError for a month of another fuel.
    """
    if any(month.fuel != fuel for months in meters for month in months.values()):
        raise EmissionsError("electricity and gas are reported separately, never added")
    return {
        start: _added(fuel, start, [months.get(start) for months in meters])
        for start in sorted({start for months in meters for start in months})
    }


def _added(fuel: str, start: int, meters: Sequence[MonthEmissions | None]) -> MonthEmissions:
    there = [each for each in meters if each is not None]
    end = instant.next_month(start)
    sets = sorted({year for each in there for year in each.by_set})
    return MonthEmissions(
        fuel,
        start,
        end,
        math.fsum(each.amount for each in there),
        math.fsum(each.kilograms for each in there),
        missing=sum(each.missing for each in there) + (len(meters) - len(there)) * ((end - start) // HALF_HOUR),
        unknown=sum(each.unknown for each in there),
        filled=sum(each.filled for each in there),
        by_set={year: math.fsum(each.by_set.get(year, 0.0) for each in there) for year in sets},
    )


def _months(
    fuel: str,
    readings: Amounts,
    filled: Collection[int],
    total: Callable[[Sequence[int], Sequence[float]], _Sum],
) -> dict[int, MonthEmissions]:
    starts, amounts = readings
    months = {}
    first = 0
    while first < len(starts):
        start, end = instant.month_start(starts[first]), instant.next_month(starts[first])
        last = bisect_left(starts, end, first)
        slots = starts[first:last]
        expected = range(start, end, HALF_HOUR)
        # A month without a gap is exactly its half-hours, each once: the usual case, and the fast one.
        if list(slots) != list(expected):
            _refuse_misfits(slots)
        of = total(slots, amounts[first:last])
        months[start] = MonthEmissions(
            fuel,
            start,
            end,
            of.amount,
            of.kilograms,
            missing=len(expected) - len(slots),
            unknown=len(slots) - of.known,
            filled=sum(start <= at < end for at in filled),
            by_set=of.by_set,
        )
        first = last
    return months


def _refuse_misfits(starts: Sequence[int]) -> None:
    if any(at % HALF_HOUR for at in starts):
        raise EmissionsError("a reading does not begin on a half-hour")
    if not all(map(lt, starts, starts[1:])):
        raise EmissionsError("a half-hour has two readings")
