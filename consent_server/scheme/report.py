"""A report: what a business used and emitted in whole months, what is missing from it, and what the figures are based on.

`make()` is the only place where the figures of a report are calculated. The emissions API, the page, the PDF and the tables
show its value and calculate nothing; rounding is always the last step. Instants are seconds, quantities are kWh, cubic metres
and kilograms.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final

from consent_server.scheme import instant
from consent_server.scheme.emissions import GASES, MonthEmissions, add
from consent_server.scheme.factors import (
    INTENSITY_LICENSE,
    INTENSITY_ORIGIN,
    INTENSITY_TITLE,
    FactorPeriod,
    FactorRule,
    FactorSet,
    basis,
    used,
)
from consent_server.scheme.licenses import ELECTRICITY, GAS

#: The order in which fuels are shown.
FUELS: Final = (ELECTRICITY, GAS)

KILOGRAMS_PER_TONNE: Final = 1000
#: A milligram, or a milliwatt-hour. Below it is floating-point dust. Figures are rounded here and nowhere else, so that
#: whatever shows fewer decimals rounds the same number.
DECIMALS: Final = 6
#: What the total over fuels is, which adds two different quantities.
WHOLE_MEANING: Final = (
    "CO2 of electricity and CO2e of gas added together. The grid's intensity counts carbon dioxide alone, so for electricity "
    "methane and nitrous oxide are not in the sum."
)
#: Why a report has one origin for each factor source, and no figure of its own origin.
WHOLE_BASIS: Final = (
    "Every figure rests on all readings of its fuel together with all factors that are listed for that fuel. No single figure "
    "is tied to a single factor: a month may have several sets, and a fuel several regions."
)


class GapReason(StrEnum):
    """Why a month of a fuel is left out."""

    NO_READINGS = "no readings"
    SOME_READINGS = "some half-hours have no reading"
    NO_FACTOR = "some half-hours have no published figure to multiply the reading by"
    OTHER_FACTOR = "a factor has changed, and the month is being worked out again"
    DOUBLED = "two providers gave the readings of one meter"


@dataclass(frozen=True, slots=True)
class ReportParty:
    """Who a report is by, about or for. `url` is a member's URL in the Directory, empty for the business that the report is
    about; `id` is what the party is known by here: a business's account, a bank's application."""

    name: str
    url: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class ReportSource:
    """A connection to an energy data provider: its member URL, our permission's id and grant, when readings last came, and
    from how many meters."""

    member: str
    connection: str
    granted: int
    collected: int
    meters: int


@dataclass(frozen=True, slots=True)
class MonthOfMeter:
    """A month of one meter as it was worked out at `at`; at `revised` later readings changed it, if they did."""

    emissions: MonthEmissions
    at: int
    revised: int | None = None


@dataclass(frozen=True, slots=True)
class ReportedMeter:
    """A meter that is connected, and its months. `meter` is unique in the report; `site` is the outcode of the meter, and
    `connection` the id of the ReportSource that it came through.

    `region` names, for electricity, the parts of the grid whose intensity was used. One `stands_in` where it was not found by
    the outcode.
    """

    meter: str
    fuel: str
    site: str
    months: Mapping[int, MonthOfMeter]
    region: str = ""
    stands_in: bool = False
    connection: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """Energy and emissions of one fuel over whole months, each to DECIMALS.

    `kwh` of gas is by gross calorific value, from the volume by the ratio of the factor set's two figures; `m3` is None for
    electricity. `kilograms` are of what `gas` says: CO2 for electricity, CO2e for gas.
    """

    fuel: str
    kwh: float
    m3: float | None
    kilograms: float

    @property
    def gas(self) -> str:
        return GASES[self.fuel]

    @property
    def unit(self) -> str:
        return f"kg {self.gas}"

    @property
    def tonnes(self) -> float:
        return self.kilograms / KILOGRAMS_PER_TONNE


@dataclass(frozen=True, slots=True)
class ReportedMonth:
    """One whole month of one fuel, over all meters. `filled` of its half-hours are estimates; `taken_at` is when the newest
    part of it was worked out, `revised` when later readings last changed it."""

    start: int
    end: int
    figure: Figure
    filled: int
    taken_at: int
    revised: int | None

    @property
    def fuel(self) -> str:
        return self.figure.fuel


@dataclass(frozen=True, slots=True)
class SiteFigure:
    """The part of one site in a fuel's reported months: its meters and their sum. The sites of a fuel add up to its total."""

    site: str
    meters: int
    figure: Figure


@dataclass(frozen=True, slots=True)
class Total:
    """A fuel's reported months, of which there are `months`, added before anything is rounded."""

    months: int
    figure: Figure

    @property
    def fuel(self) -> str:
        return self.figure.fuel


@dataclass(frozen=True, slots=True)
class ReportGap:
    """A month of a fuel that is left out; `half_hours` lack a reading or a factor, over all meters of `sites`."""

    fuel: str
    start: int
    reason: GapReason
    half_hours: int
    sites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UsedFactor:
    """A factor that is in the figures of one fuel, from `start` to `end`: a source of its own in the provenance record.

    `value` is per unit of `unit`. For electricity it is the mean over the site's use, `site` its outcode, `region` and
    `stands_in` those of the meters (ReportedMeter); for gas it is the published figure, and `set` the whole set. `amount` is
    how much it was applied to, in kWh or m3.
    """

    fuel: str
    title: str
    source: str
    license: str
    start: int
    end: int
    value: float
    unit: str
    amount: float
    site: str = ""
    region: str = ""
    stands_in: bool = False
    set: FactorSet | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """How figures are made: the rule that picks gas factors, and whether gaps are filled."""

    factor_rule: FactorRule
    fill_gaps: bool


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a business from `start` to before `end`, both first instants of months, as of `at`.

    `to` is the bank that it is made out to, None for the business's own copy. `fuels` are those with a connected meter.
    `months` has whole months alone, `gaps` the others that are over; both by fuel, electricity first, and then by time.
    `totals` has one entry for each fuel with a month in it. `factors` names every factor that is in the figures
    and no other.
    """

    by: ReportParty
    about: ReportParty
    to: ReportParty | None
    start: int
    end: int
    at: int
    fuels: tuple[str, ...]
    months: tuple[ReportedMonth, ...]
    sites: tuple[SiteFigure, ...]
    totals: tuple[Total, ...]
    gaps: tuple[ReportGap, ...]
    method: Method
    factors: tuple[UsedFactor, ...]
    sources: tuple[ReportSource, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """Return the first instants of all months from start to end, whole or not."""
        return instant.months(self.start, self.end)

    @property
    def kilograms(self) -> float:
        """Return the total over fuels, which is WHOLE_MEANING and has to be told with it."""
        return round(math.fsum(total.figure.kilograms for total in self.totals), DECIMALS)

    @property
    def filled(self) -> int:
        """Return how many half-hours in the reported months are estimates, over all meters."""
        return sum(month.filled for month in self.months)

    def month(self, fuel: str, start: int) -> ReportedMonth | None:
        """Return a fuel's month, None where it is not whole."""
        return next((each for each in self.months if (each.fuel, each.start) == (fuel, start)), None)

    def total(self, fuel: str) -> Total | None:
        return next((each for each in self.totals if each.fuel == fuel), None)


def make(
    *,
    by: ReportParty,
    about: ReportParty,
    to: ReportParty | None,
    start: int,
    end: int,
    at: int,
    meters: Sequence[ReportedMeter],
    sources: Sequence[ReportSource],
    periods: Sequence[FactorPeriod],
    method: Method,
    fuels: Collection[str] = FUELS,
) -> Report:
    """Return the report on `meters` over the months from `start` to before `end` that are over at `at`, in `fuels` alone.

    A month is reported only when every connected meter of the fuel has all of it, and none of them is there twice. periods:
    `factors.in_force()`: a month of gas that was worked out from other figures than these is left out until it has been worked
    out again.
    """
    parts = [
        _OfFuel(
            fuel, [meter for meter in meters if meter.fuel == fuel], start, min(end, instant.month_start(at)), periods
        )
        for fuel in FUELS
        if fuel in fuels and any(meter.fuel == fuel for meter in meters)
    ]
    reported = [part for part in parts if part.months]
    return Report(
        by=by,
        about=about,
        to=to,
        start=start,
        end=end,
        at=at,
        fuels=tuple(part.fuel for part in parts),
        months=tuple(chain.from_iterable(part.months for part in parts)),
        sites=tuple(chain.from_iterable(part.sites() for part in reported)),
        totals=tuple(Total(len(part.months), part.figure(part.sums.values())) for part in reported),
        gaps=tuple(chain.from_iterable(part.gaps for part in parts)),
        method=method,
        factors=tuple(chain.from_iterable(part.factors() for part in reported)),
        sources=tuple(sources),
    )


class _OfFuel:
    """The part of one fuel: its whole months from `start` to before `end`, and what they are made of."""

    def __init__(
        self, fuel: str, meters: Sequence[ReportedMeter], start: int, end: int, periods: Sequence[FactorPeriod]
    ) -> None:
        self.fuel = fuel
        self._meters = meters
        self._periods = periods
        self._sets = {each.factor.year: each.factor for each in periods}
        self._every_site = tuple(sorted({meter.site for meter in meters}))
        summed = add(fuel, [{at: month.emissions for at, month in meter.months.items()} for meter in meters])
        #: The whole months, by their first instant.
        self.sums: dict[int, MonthEmissions] = {}
        self.gaps: list[ReportGap] = []
        for month in instant.months(start, end):
            found = summed.get(month)
            if found is None or not found.complete or not self._is_current(month):
                self.gaps.append(self._gap(month, found))
            elif doubled := self._doubled(month):
                self.gaps.append(ReportGap(self.fuel, month, GapReason.DOUBLED, 0, doubled))
            else:
                self.sums[month] = found
        self.months = [self._reported(month) for month in self.sums.values()]

    def _is_current(self, start: int) -> bool:
        if self.fuel == ELECTRICITY:
            return True
        now = basis(self._periods, start, instant.next_month(start))
        return all(meter.months[start].emissions.basis == now for meter in self._meters)

    def _doubled(self, start: int) -> tuple[str, ...]:
        """Return the sites of meters that came through two connections: a provider's ids say nothing to another, but no two
        meters of a district use the same to the watt-hour and litre in a month, weighted by the grid's intensity as well."""
        through: dict[tuple[str, float, float], set[str]] = {}
        for meter in self._meters:
            month = meter.months[start].emissions
            if month.amount:
                figures = meter.site, round(month.amount, 3), round(month.kilograms, 3)
                through.setdefault(figures, set()).add(meter.connection)
        return tuple(sorted({site for (site, _, _), connections in through.items() if len(connections) > 1}))

    def _gap(self, start: int, found: MonthEmissions | None) -> ReportGap:
        if found is None:
            half_hours = (instant.next_month(start) - start) // instant.HALF_HOUR * len(self._meters)
            return ReportGap(self.fuel, start, GapReason.NO_READINGS, half_hours, self._every_site)
        if found.missing:
            reason = GapReason.SOME_READINGS
        else:
            reason = GapReason.NO_FACTOR if found.unknown else GapReason.OTHER_FACTOR
        there = ((meter.site, meter.months.get(start)) for meter in self._meters)
        lacking = {site for site, month in there if month is None or not month.emissions.complete}
        sites = tuple(sorted(lacking)) or self._every_site
        return ReportGap(self.fuel, start, reason, found.missing + found.unknown, sites)

    def figure(self, months: Iterable[MonthEmissions]) -> Figure:
        """Return the sum of months of this fuel."""
        found = list(months)
        amount = round(math.fsum(month.amount for month in found), DECIMALS)
        kilograms = round(math.fsum(month.kilograms for month in found), DECIMALS)
        if self.fuel == ELECTRICITY:
            return Figure(self.fuel, amount, None, kilograms)
        by_set = [(self._sets[year], m3) for month in found for year, m3 in month.by_set.items()]
        kwh = round(math.fsum(m3 * each.kwh_per_m3 for each, m3 in by_set), DECIMALS)
        return Figure(self.fuel, kwh, amount, kilograms)

    def sites(self) -> list[SiteFigure]:
        by_site: dict[str, list[ReportedMeter]] = {}
        for meter in self._meters:
            by_site.setdefault(meter.site, []).append(meter)
        return [
            SiteFigure(site, len(there), self.figure(self._whole_months_of(there)))
            for site, there in sorted(by_site.items())
        ]

    def factors(self) -> list[UsedFactor]:
        first, last = min(self.sums), max(month.end for month in self.sums.values())
        if self.fuel == ELECTRICITY:
            places = sorted({_place(meter) for meter in self._meters})
            return [self._intensity(place, first, last) for place in places]
        found = []
        for period in self._periods:
            # From the months themselves: a set whose stretch lies in months that are left out is in no figure.
            under = [month for month in self.sums.values() if period.factor.year in month.by_set]
            for use in used([period], min(m.start for m in under), max(m.end for m in under)) if under else ():
                m3 = math.fsum(month.by_set[period.factor.year] for month in under)
                found.append(_gas_factor(use, round(m3, DECIMALS)))
        return found

    def _intensity(self, place: tuple[str, str, bool], start: int, end: int) -> UsedFactor:
        here = [meter for meter in self._meters if _place(meter) == place]
        figure = self.figure(self._whole_months_of(here))
        mean = round(figure.kilograms * 1000 / figure.kwh, DECIMALS) if figure.kwh else 0.0
        return UsedFactor(
            self.fuel,
            INTENSITY_TITLE,
            INTENSITY_ORIGIN,
            INTENSITY_LICENSE,
            start,
            end,
            mean,
            "gCO2/kWh",
            figure.kwh,
            site=place[0],
            region=place[1],
            stands_in=place[2],
        )

    def _whole_months_of(self, meters: Iterable[ReportedMeter]) -> list[MonthEmissions]:
        return [meter.months[start].emissions for meter in meters for start in self.sums]

    def _reported(self, summed: MonthEmissions) -> ReportedMonth:
        parts = [meter.months[summed.start] for meter in self._meters]
        return ReportedMonth(
            summed.start,
            summed.end,
            self.figure([summed]),
            summed.filled,
            max(part.at for part in parts),
            max((part.revised for part in parts if part.revised is not None), default=None),
        )


def _place(meter: ReportedMeter) -> tuple[str, str, bool]:
    return meter.site, meter.region, meter.stands_in


def _gas_factor(use: FactorPeriod, m3: float) -> UsedFactor:
    factor = use.factor
    return UsedFactor(
        GAS,
        factor.title,
        factor.source,
        factor.license,
        use.start,
        use.end,
        factor.kg_per_m3,
        "kgCO2e/m3",
        m3,
        set=factor,
    )
