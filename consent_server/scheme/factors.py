"""Where factors come from. A dated table has the government's for natural gas, and a rule picks a set for each half-hour.

A set is one year's publication (UK Government GHG Conversion Factors for Company Reporting). `PUBLISHED` has the sets of this
release; an operator adds or replaces sets from the government's flat file (collect/factor_sets.py). Registry and
government word the choice of a set differently, so it is a setting:

    latest-published   the set most recently published at the time of consumption (the Registry's process definition)
    calendar-year      the set of a year for consumption in that calendar year, UTC (the publication's own advice)

A half-hour without a set has no factor, and its month is left out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from consent_server.scheme import instant
from consent_server.scheme.instant import HALF_HOUR

FactorRule = Literal["latest-published", "calendar-year"]
LATEST_PUBLISHED: Final = "latest-published"
CALENDAR_YEAR: Final = "calendar-year"

INTENSITY_TITLE: Final = "Carbon Intensity API, National Energy System Operator, regional forecast"
INTENSITY_ORIGIN: Final = "https://api.carbonintensity.org.uk/"
INTENSITY_LICENSE: Final = "https://creativecommons.org/licenses/by/4.0/"
OPEN_GOVERNMENT_LICENCE: Final = "https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/"
#: A period without an end.
FOR_EVER: Final = 253402300800  # the first instant of the year 10000
#: Every set since 2020 lies between 2.01 and 2.07 kg/m3 and between 0.182 and 0.184 kg/kWh (gross), and no two neighbours
#: differ by more than 2 %. By net calorific value they are some 0.203 kg/kWh, which is refused. A cubic metre of mains gas has
#: 37.5 to 43.0 MJ, as National Gas states it: 10.4 to 11.9 kWh.
_KG_PER_M3: Final = (1.8, 2.3)
_KG_PER_KWH: Final = (0.17, 0.195)
_KWH_PER_M3: Final = (10.0, 12.5)
_MOST_CHANGE: Final = 0.1
#: Months after which the next set is overdue: they have come 11 to 13 months apart.
_OVERDUE_MONTHS: Final = 14


class FactorError(ValueError):
    """Sets that cannot be a table. The sentence says which one is wrong, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorSet:
    """One year's factors for natural gas, in kgCO2e.

    `published` is the instant of the set's first publication. `kg_per_kwh` counts energy by gross calorific value.
    `mineral_kg_per_m3` is the factor of the same gas without biomethane, where the file has it. `source` is the
    publication's page, `file_sha256` the digest of the file that the set was read from: empty for a set of `PUBLISHED`.
    `region` is empty for Great Britain as a whole; the scheme has decided on no other, so rules look at no other.
    """

    year: int
    published: int
    kg_per_m3: float
    kg_per_kwh: float
    title: str
    source: str
    license: str = OPEN_GOVERNMENT_LICENCE
    mineral_kg_per_m3: float | None = None
    region: str = ""
    file_sha256: str = ""

    @property
    def kwh_per_m3(self) -> float:
        """Return the energy of a cubic metre, by gross calorific value, that the set's two factors imply."""
        return self.kg_per_m3 / self.kg_per_kwh

    @property
    def biomethane_share(self) -> float | None:
        """Return by which part the factor is below that of gas without biomethane. No calculation uses it."""
        return None if self.mineral_kg_per_m3 is None else 1 - self.kg_per_m3 / self.mineral_kg_per_m3


@dataclass(frozen=True, slots=True)
class FactorPeriod:
    """The half-hours, from `start` to before `end`, to which one set applies."""

    factor: FactorSet
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FactorChange:
    """A stretch whose factor changes from one table to another; None where a table has no set for it."""

    start: int
    end: int
    before: FactorSet | None
    after: FactorSet | None


def publication(year: int) -> tuple[str, str]:
    """Return title and page of a year's publication."""
    return (
        f"Greenhouse gas reporting: conversion factors {year}",
        f"https://www.gov.uk/government/publications/greenhouse-gas-reporting-conversion-factors-{year}",
    )


def _set(year: int, published: str, kg_per_m3: float, kg_per_kwh: float) -> FactorSet:
    title, source = publication(year)
    return FactorSet(
        year=year,
        published=instant.parse(published),
        kg_per_m3=kg_per_m3,
        kg_per_kwh=kg_per_kwh,
        title=title,
        source=source,
    )


PUBLISHED: Final = (
    _set(2024, "2024-07-08T00:00:00+01:00", 2.04542, 0.18290),
    _set(2025, "2025-06-10T09:30:03+01:00", 2.06672, 0.18296),
    _set(2026, "2026-06-11T09:30:00+01:00", 2.02633, 0.18231),
)
"""Natural gas by volume and by energy, from the flat file of each year's publication, dated by gov.uk."""


def merged(sets: Iterable[FactorSet], newer: Iterable[FactorSet]) -> tuple[FactorSet, ...]:
    """Return the sets in order of year, a newer one in place of that of its year and region."""
    table = {(each.region, each.year): each for each in (*sets, *newer)}
    return tuple(table[key] for key in sorted(table))


def check(sets: Sequence[FactorSet]) -> None:
    """Raise FactorError for a value beyond what gas can be, and for national sets that overlap or leave a year out."""
    for each in sets:
        _check_values(each)
    national = sorted((each for each in sets if not each.region), key=lambda each: each.year)
    for older, newer in pairwise(national):
        if newer.year == older.year:
            raise FactorError(f"{newer.year}: two sets of one year overlap")
        if newer.year != older.year + 1:
            raise FactorError(f"{older.year + 1}: the set is missing, between {older.year} and {newer.year}")
        if newer.published <= older.published:
            raise FactorError(f"{newer.year}: published before the set of {older.year}, so that the two overlap")
        if abs(newer.kg_per_m3 / older.kg_per_m3 - 1) > _MOST_CHANGE:
            raise FactorError(f"{newer.year}: differs by more than {_MOST_CHANGE:.0%} from the set of {older.year}")


def _check_values(each: FactorSet) -> None:
    named = (
        ("kg CO2e per cubic metre", each.kg_per_m3, _KG_PER_M3),
        ("kg CO2e per kWh", each.kg_per_kwh, _KG_PER_KWH),
        ("kg CO2e per cubic metre, without biomethane", each.mineral_kg_per_m3, _KG_PER_M3),
    )
    for name, value, (least, most) in named:
        if value is not None and not least <= value <= most:  # not a number compares as false
            raise FactorError(f"{each.year}: {value} {name} is not between {least} and {most}")
    if not _KWH_PER_M3[0] <= each.kwh_per_m3 <= _KWH_PER_M3[1]:
        raise FactorError(f"{each.year}: the two factors imply {each.kwh_per_m3:.2f} kWh in a cubic metre")
    if each.mineral_kg_per_m3 is not None and each.mineral_kg_per_m3 < each.kg_per_m3:
        raise FactorError(f"{each.year}: gas without biomethane cannot have the smaller factor")
    if not instant.year_start(each.year) <= each.published < instant.year_start(each.year + 1):
        raise FactorError(f"{each.year}: a set is published in its own year")


def in_force(sets: Iterable[FactorSet], rule: FactorRule) -> list[FactorPeriod]:
    """Return, in order, to which half-hours each national set applies.

    A set that is published within a half-hour applies from the next one on.
    """
    national = sorted((each for each in sets if not each.region), key=lambda each: each.year)
    if rule == CALENDAR_YEAR:
        return [
            FactorPeriod(each, instant.year_start(each.year), instant.year_start(each.year + 1)) for each in national
        ]
    starts = [_half_hour_at_or_after(each.published) for each in national]
    return [
        FactorPeriod(each, start, end)
        for each, start, end in zip(national, starts, [*starts[1:], FOR_EVER], strict=True)
    ]


def used(periods: Sequence[FactorPeriod], start: int, end: int) -> list[FactorPeriod]:
    """Return the parts of periods that lie between two instants."""
    return [
        FactorPeriod(each.factor, max(start, each.start), min(end, each.end))
        for each in periods
        if max(start, each.start) < min(end, each.end)
    ]


def basis(periods: Sequence[FactorPeriod], start: int, end: int) -> str:
    """Return which figures apply from when between two instants, as text: what differs was worked out from other figures."""
    return "; ".join(
        f"{each.start} {each.factor.year} {each.factor.kg_per_m3} {each.factor.kg_per_kwh}"
        for each in used(periods, start, end)
    )


def changes(before: Sequence[FactorPeriod], after: Sequence[FactorPeriod]) -> list[FactorChange]:
    """Return, in order, the stretches to which another factor applies than before; only these need to be worked out again."""
    edges = sorted({edge for each in (*before, *after) for edge in (each.start, each.end)})
    found: list[FactorChange] = []
    for start, end in pairwise(edges):
        old, new = _at(before, start), _at(after, start)
        if _figures(old) != _figures(new):
            found.append(FactorChange(start, end, old, new))
    return found


def is_overdue(period: FactorPeriod, at: int) -> bool:
    """Return whether a set that has no end should have been followed by another one."""
    return period.end == FOR_EVER and instant.months_later(period.factor.published, _OVERDUE_MONTHS) <= at


def _figures(each: FactorSet | None) -> tuple[float, float, str] | None:
    return None if each is None else (each.kg_per_m3, each.kg_per_kwh, each.source)


def _at(periods: Sequence[FactorPeriod], at: int) -> FactorSet | None:
    return next((each.factor for each in periods if each.start <= at < each.end), None)


def _half_hour_at_or_after(at: int) -> int:
    return -(-at // HALF_HOUR) * HALF_HOUR
