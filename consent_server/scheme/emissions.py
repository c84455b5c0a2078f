"""Readings times factors, summed to whole months: the two calculations that the scheme registers, and no other.

Electricity (process electricity-emissions-calculation/2026-03-12): half-hourly watt-hours times the regional carbon
intensity of that half-hour, in gCO2/kWh. Gas (gas-emissions-calculation/2026-03-12): half-hourly cubic metres times
the conversion factor most recently published at the time of consumption, in kgCO2e/m3.

Months run from 00:00Z to 00:00Z. No gap is filled: only a month in which every half-hour has a reading and a factor
is `complete`, and only such months may be reported.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from operator import itemgetter, mul

from consent_server.scheme import instant
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.licenses import ELECTRICITY, GAS

# WHR times gCO2/kWh is a millionth of a kilogram.
_MICRO = 1e-6


class EmissionsError(ValueError):
    """Readings that cannot be summed: one off the half-hour, or the same half-hour twice."""


@dataclass(frozen=True, slots=True)
class MonthEmissions:
    """One fuel's emissions from `start` to `end` (first instants of months), in kilograms: CO2 for electricity, CO2e
    for gas. `complete` is false when a half-hour is missing; `kilograms` is then only the part that is known."""

    fuel: str
    start: int
    end: int
    kilograms: float
    complete: bool


@dataclass(frozen=True, slots=True)
class GasFactor:
    """A published set: the instant from which it is the most recent one, its kgCO2e per cubic metre, and its page."""

    published: int
    kg_per_m3: float
    title: str
    source: str


@dataclass(frozen=True, slots=True)
class FactorUse:
    """The stretch of a period to which one set applies."""

    factor: GasFactor
    start: int
    end: int


GAS_FACTORS = (
    GasFactor(
        instant.parse("2024-07-08T00:00:00+01:00"),
        2.04542,
        "Greenhouse gas reporting: conversion factors 2024",
        "https://www.gov.uk/government/publications/greenhouse-gas-reporting-conversion-factors-2024",
    ),
    GasFactor(
        instant.parse("2025-06-10T09:30:03+01:00"),
        2.06672,
        "Greenhouse gas reporting: conversion factors 2025",
        "https://www.gov.uk/government/publications/greenhouse-gas-reporting-conversion-factors-2025",
    ),
    GasFactor(
        instant.parse("2026-06-11T09:30:00+01:00"),
        2.02633,
        "Greenhouse gas reporting: conversion factors 2026",
        "https://www.gov.uk/government/publications/greenhouse-gas-reporting-conversion-factors-2026",
    ),
)
"""Natural gas by volume, from the flat file of each year's publication, dated by gov.uk. The next set is one more row."""


def electricity(readings: Iterable[tuple[int, float]], intensity: Mapping[int, float]) -> dict[int, MonthEmissions]:
    """Return the months of one meter, keyed by their first instant, in order.

    readings: (start of the half-hour, WHR). intensity: start of the half-hour -> gCO2/kWh in that meter's region.
    Raise EmissionsError.
    """

    def kilograms(starts: list[int], amounts: Sequence[float]) -> tuple[float, bool]:
        try:
            return math.fsum(map(mul, amounts, map(intensity.__getitem__, starts))) * _MICRO, True
        except KeyError:
            known = [amount * intensity[at] for at, amount in zip(starts, amounts, strict=True) if at in intensity]
            return math.fsum(known) * _MICRO, False

    return _months(ELECTRICITY, readings, kilograms)


def gas(readings: Iterable[tuple[int, float]], factors: Sequence[GasFactor] = GAS_FACTORS) -> dict[int, MonthEmissions]:
    """Return the months of one meter, keyed by their first instant, in order.

    readings: (start of the half-hour, MTQ). factors: in order of publication; a half-hour takes the last one published
    at or before its start, and one before the first has no factor. Raise EmissionsError.
    """
    changes = [factor.published for factor in factors]

    def kilograms(starts: list[int], amounts: Sequence[float]) -> tuple[float, bool]:
        cuts = [bisect_left(starts, change) for change in changes] + [len(starts)]
        parts: list[float] = []
        for factor, (first, last) in zip(factors, pairwise(cuts), strict=True):
            parts.extend(map(mul, amounts[first:last], repeat(factor.kg_per_m3)))
        return math.fsum(parts), len(parts) == len(amounts)

    return _months(GAS, readings, kilograms)


def factors_used(start: int, end: int, factors: Sequence[GasFactor] = GAS_FACTORS) -> list[FactorUse]:
    """Return which sets gas() uses between two instants: each is a separate origin in the provenance record."""
    edges = [factor.published for factor in factors[1:]] + [end]
    uses = []
    for factor, until in zip(factors, edges, strict=True):
        first, last = max(start, _slot_at_or_after(factor.published)), min(end, _slot_at_or_after(until))
        if first < last:
            uses.append(FactorUse(factor, first, last))
    return uses


def add(meters: Sequence[Mapping[int, MonthEmissions]]) -> dict[int, MonthEmissions]:
    """Return the sum over several meters of one fuel, month by month, in order.

    A month is complete only when it is complete for every meter: a meter without any reading in it leaves the sum
    short by an unknown amount. Raise EmissionsError when the fuels differ.
    """
    fuels = {month.fuel for months in meters for month in months.values()}
    if len(fuels) > 1:
        raise EmissionsError("electricity and gas are reported separately, never added")
    total = {}
    for start in sorted({start for months in meters for start in months}):
        present = [months[start] for months in meters if start in months]
        complete = len(present) == len(meters) and all(month.complete for month in present)
        kilograms = math.fsum(month.kilograms for month in present)
        total[start] = MonthEmissions(present[0].fuel, start, present[0].end, kilograms, complete)
    return total


def _months(
    fuel: str,
    readings: Iterable[tuple[int, float]],
    kilograms: Callable[[list[int], Sequence[float]], tuple[float, bool]],
) -> dict[int, MonthEmissions]:
    ordered = sorted(readings, key=itemgetter(0))
    starts = [at for at, _ in ordered]
    amounts = [amount for _, amount in ordered]
    months = {}
    first = 0
    while first < len(starts):
        start, end = instant.month_start(starts[first]), instant.next_month(starts[first])
        last = bisect_left(starts, end, first)
        slots = starts[first:last]
        # A month without a gap is exactly its half-hours, each once: the usual case, and the fast one.
        whole = slots == list(range(start, end, HALF_HOUR))
        if not whole:
            _refuse_misfits(slots)
        sum_known, all_known = kilograms(slots, amounts[first:last])
        months[start] = MonthEmissions(fuel, start, end, sum_known, whole and all_known)
        first = last
    return months


def _refuse_misfits(starts: Sequence[int]) -> None:
    if any(at % HALF_HOUR for at in starts):
        raise EmissionsError("a reading does not begin on a half-hour")
    if len(set(starts)) != len(starts):
        raise EmissionsError("a half-hour has two readings")


def _slot_at_or_after(at: int) -> int:
    return -(-at // HALF_HOUR) * HALF_HOUR
