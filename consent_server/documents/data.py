"""The data of a report that is handed over: what its page, PDF and tables say, and a bank loads as JSON.

Instants are RFC 3339 in UTC, and a period's end is the first instant after it. Energy is in kWh and m3, emissions in
kilograms of what `unit` says. Numbers have six decimals, as in the answer of the emissions API.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from consent_server.scheme import instant, pcaf, report
from consent_server.scheme.emissions import GASES
from consent_server.scheme.factors import PUBLISHED, FactorRule, in_force
from consent_server.scheme.instant import DAY
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.provenance.steps import GrantedPermission
from consent_server.scheme.report import (
    DECIMALS,
    FUELS,
    Figure,
    GapReason,
    Report,
    ReportedMonth,
    ReportSource,
    UsedFactor,
)

#: Bounds of what a stranger's file may say; no report of ours is near them.
MOST_MONTHS: Final = 120
MOST_ROWS: Final = 2_000
GRAMS_PER_KILOGRAM: Final = 1000
#: For so long after a set of factors was published a report may be made without it.
LATE_S: Final = 92 * DAY

#: The columns of the CSV.
COLUMNS: Final = (
    *("fuel", "from", "to", "kwh", "m3", "kilograms", "unit"),
    *("half_hours_estimated", "half_hours_missing", "left_out_because"),
)

Fuel = Annotated[str, StringConstraints(pattern=r"\A(electricity|gas)\z")]
Text = Annotated[str, StringConstraints(max_length=2_000)]
When = Annotated[str, StringConstraints(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\z")]
Amount = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=1_000_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PartyData(_Part):
    """A member, by name, member URL and application URL; `service` is the id of the maker's entry in the catalogue, and `id`
    the account of the business that is reported on."""

    name: Text
    url: Text = ""
    application: Text = ""
    service: Text = ""
    id: Text = ""


class PermissionData(_Part):
    """The permission under which the report goes to the bank; `account` is its opaque account in the provenance record."""

    account: Text
    license: Text
    granted: When
    expires: When


class Energy(_Part):
    fuel: Fuel
    kwh: Amount
    m3: Amount | None
    kilograms: Amount
    unit: Text


class MonthData(Energy):
    start: When
    end: When
    filled: Count
    worked_out: When
    revised: When | None


class SiteData(Energy):
    site: Text
    meters: Count


class TotalData(Energy):
    months: Count


class WholeData(_Part):
    """The total over fuels, and what it means."""

    kilograms: Amount
    meaning: Text


class WholePeriod(_Part):
    """The months that a divided report is about, and the totals to which its parts add up. The record of a part has nothing of
    the other months."""

    start: When
    end: When
    totals: Annotated[tuple[TotalData, ...], Field(max_length=2)]


class GapData(_Part):
    fuel: Fuel
    start: When
    reason: GapReason
    half_hours: Count


class FactorData(_Part):
    fuel: Fuel
    title: Text
    source: Text
    license: Text
    start: When
    end: When
    value: Amount
    unit: Text
    amount: Amount
    site: Text
    region: Text
    stands_in: bool
    digest: Text


class QualityData(_Part):
    """A PCAF data-quality score; `fuel` is empty for the whole."""

    fuel: Text
    option: Text
    score: Annotated[int, Field(ge=1, le=5)]
    reason: Text


class SourceData(_Part):
    member: Text
    connection: Text
    granted: When
    collected: When
    meters: Count


class TimestampState(StrEnum):
    """Whether the signature of a PDF has a timestamp by an authority. Data that are in no PDF yet say that one is asked for."""

    NONE = "no authority is asked"
    ASKED = "asked for when a PDF is signed"
    GIVEN = "given"
    MISSING = "not given"


class TimestampData(_Part):
    """What there is of a timestamp; `authority` is the https URL of the authority, empty where none is asked."""

    authority: Annotated[str, StringConstraints(pattern=r"\A(https://[!-~]{1,500})?\z")] = ""
    state: TimestampState = TimestampState.NONE


class ReportData(_Part):
    """A report in one value. `months`, `sites`, `totals` and `gaps` are in the order in which they are shown.

    `part_of` is set where the report is a part of a longer one, since no record could hold the whole.
    """

    version: Literal[1] = 1
    sandbox: bool
    by: PartyData
    about: PartyData
    to: PartyData
    permission: PermissionData
    start: When
    end: When
    at: When
    part_of: WholePeriod | None = None
    months: Annotated[tuple[MonthData, ...], Field(max_length=MOST_MONTHS)]
    totals: Annotated[tuple[TotalData, ...], Field(max_length=2)]
    whole: WholeData
    sites: Annotated[tuple[SiteData, ...], Field(max_length=MOST_ROWS)]
    gaps: Annotated[tuple[GapData, ...], Field(max_length=2 * MOST_MONTHS)]
    factor_rule: FactorRule
    fill_gaps: bool
    basis: Text
    factors: Annotated[tuple[FactorData, ...], Field(max_length=MOST_ROWS)]
    quality: Annotated[tuple[QualityData, ...], Field(max_length=3)]
    sources: Annotated[tuple[SourceData, ...], Field(max_length=MOST_ROWS)]
    timestamp: TimestampData

    def of(self, fuel: str) -> tuple[MonthData, ...]:
        """Return the whole months of a fuel."""
        return tuple(each for each in self.months if each.fuel == fuel)

    @property
    def fuels(self) -> tuple[str, ...]:
        """Return the fuels to show: those with a month, or with one that is left out."""
        there = {each.fuel for each in self.months} | {each.fuel for each in self.gaps}
        return tuple(fuel for fuel in FUELS if fuel in there)


def of(
    found: Report,
    grant: GrantedPermission,
    missing_data: Mapping[str, str],
    *,
    application: str,
    service: str,
    sandbox: bool,
    authority: str = "",
    whole: Report | None = None,
) -> ReportData:
    """Return the data of a report that is made out to a bank under `grant`, by our `application` and catalogue entry.

    `missing_data` is what its record says of each fuel with a total. `authority` is the URL of who is asked for a timestamp,
    empty where nobody is. `whole` is the report that this one is a part of.
    """
    assert found.to is not None
    scores = [pcaf.of_fuel(total.fuel, missing_data[total.fuel]) for total in found.totals]
    overall = pcaf.of_all(scores)
    return ReportData(
        sandbox=sandbox,
        by=PartyData(name=found.by.name, url=found.by.url, application=application, service=service),
        about=PartyData(name=found.about.name, id=found.about.id),
        to=PartyData(name=found.to.name, url=found.to.url, application=found.to.id),
        permission=PermissionData(
            account=grant.account,
            license=grant.license,
            granted=instant.text(grant.granted),
            expires=instant.text(grant.expires),
        ),
        start=instant.text(found.start),
        end=instant.text(found.end),
        at=instant.text(found.at),
        part_of=None if whole is None else _whole(whole),
        months=tuple(_month(each) for each in found.months),
        totals=_totals(found),
        whole=WholeData(kilograms=found.kilograms, meaning=report.WHOLE_MEANING),
        sites=tuple(SiteData(site=each.site, meters=each.meters, **_energy(each.figure)) for each in found.sites),
        gaps=tuple(
            GapData(fuel=each.fuel, start=instant.text(each.start), reason=each.reason, half_hours=each.half_hours)
            for each in found.gaps
        ),
        factor_rule=found.method.factor_rule,
        fill_gaps=found.method.fill_gaps,
        basis=report.WHOLE_BASIS,
        factors=tuple(_factor(each) for each in found.factors),
        quality=tuple(
            QualityData(fuel=each.fuel, option=each.option, score=each.score, reason=each.reason)
            for each in (*scores, *([overall] if overall else []))
        ),
        sources=tuple(_source(each) for each in found.sources),
        timestamp=TimestampData(authority=authority, state=TimestampState.ASKED) if authority else TimestampData(),
    )


def read(text: bytes) -> ReportData:
    """Return the data that `text` is, in the one spelling that `as_json()` gives. Raise ValueError."""
    found = ReportData.model_validate_json(text)
    if as_json(found) != text:
        raise ValueError("the data are not spelled as they are handed over")
    return found


def as_json(data: ReportData) -> bytes:
    """Return the data as they are handed over. Only a part names what it is a part of."""
    return data.model_dump_json(indent=1, exclude=None if data.part_of else {"part_of"}).encode()


def as_csv(data: ReportData) -> bytes:
    """Return one row for each month of each fuel, left out or not. No cell has words of others in it."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(COLUMNS)
    for fuel in data.fuels:
        told = [
            (m.start, m.end, m.kwh, "" if m.m3 is None else m.m3, m.kilograms, m.unit, m.filled, "", "")
            for m in data.of(fuel)
        ]
        left_out = [
            (gap.start, _month_end(gap.start), "", "", "", "", "", gap.half_hours, gap.reason)
            for gap in data.gaps
            if gap.fuel == fuel
        ]
        rows.writerows((fuel, *row) for row in sorted([*told, *left_out], key=lambda row: row[0]))
    return out.getvalue().encode()


def faults(data: ReportData) -> Iterator[str]:
    """Yield what in the data contradicts itself, sums, units, months and gaps, or the factors that were published."""
    for fuel in FUELS:
        yield from _faults_of(data, fuel)
    if any(month.end != _month_end(month.start) for month in data.months):
        yield "a month is no whole month"
    whole = data.part_of
    if whole:
        yield from _faults_of_whole(data, whole)
    figures = (*data.months, *data.totals, *data.sites, *(whole.totals if whole else ()))
    if any(each.unit != f"kg {GASES[each.fuel]}" for each in figures):
        yield "a unit is not that of its fuel"
    if any((each.m3 is None) != (each.fuel == ELECTRICITY) for each in figures):
        yield "gas has cubic metres, and electricity has none"
    if (data.timestamp.state == TimestampState.NONE) != (data.timestamp.authority == ""):
        yield "a timestamp has an authority, and there is none without one"
    if not _near(data.whole.kilograms, [each.kilograms for each in data.totals]):
        yield "the fuels do not add up to the total over both"
    if not all(_is_result(total, [each for each in data.factors if each.fuel == total.fuel]) for total in data.totals):
        yield "the figures are not what the factors make of the energy"
    if not all(_applies(each, data) for each in data.factors if each.fuel == GAS and not each.digest):
        yield "a factor for gas is not the published one of its time"


def _faults_of_whole(data: ReportData, whole: WholePeriod) -> Iterator[str]:
    months = data.start, data.end
    if not (whole.start <= data.start < data.end <= whole.end and months != (whole.start, whole.end)):
        yield "it is not a part of what it says that it is a part of"
    if len({each.fuel for each in whole.totals}) < len(whole.totals):
        yield "it names the total of a fuel twice"


def _faults_of(data: ReportData, fuel: str) -> Iterator[str]:
    months, totals = data.of(fuel), [each for each in data.totals if each.fuel == fuel]
    if [each.months for each in totals] != ([len(months)] if months else []):
        yield f"the total of {fuel} does not have as many months as there are"
    sites = [each for each in data.sites if each.fuel == fuel]
    if not all(adds_up(months, each) and adds_up(sites, each) for each in totals):
        yield f"months and sites of {fuel} do not add up to its total"
    starts = [each.start for each in months] + [each.start for each in data.gaps if each.fuel == fuel]
    if starts and sorted(starts) != _starts(data.start, data.end):
        yield f"{fuel} does not have each month once, told or left out"


def _starts(start: str, end: str) -> list[str]:
    """Return the first instants of the months of a window."""
    found = [start]
    while (following := _month_end(found[-1])) < end and len(found) <= MOST_MONTHS:
        found.append(following)
    return found


def _month_end(start: str) -> str:
    return instant.text(instant.next_month(instant.parse(start)))


def count_months(period: ReportData | WholePeriod) -> int:
    """Return how many months a period has, told or left out."""
    return len(instant.months(instant.parse(period.start), instant.parse(period.end)))


def adds_up(parts: Sequence[Energy], total: Energy) -> bool:
    """Return whether parts, each of them rounded by itself, add up to a total."""
    return (
        _near(total.kilograms, [each.kilograms for each in parts])
        and _near(total.kwh, [each.kwh for each in parts])
        and _near(total.m3 or 0, [each.m3 or 0 for each in parts])
    )


def _is_result(total: TotalData, factors: Sequence[FactorData]) -> bool:
    """Return whether a fuel's energy times its factors is its total, to a gram and to the last decimal of the factors:
    electricity's mean is rounded."""
    amount = total.kwh if total.m3 is None else total.m3
    per_kilogram = GRAMS_PER_KILOGRAM if total.fuel == ELECTRICITY else 1
    made = math.fsum(each.amount * each.value for each in factors) / per_kilogram
    rounded = amount * 10**-DECIMALS / per_kilogram
    return _near(amount, [each.amount for each in factors]) and abs(made - total.kilograms) <= 1e-3 + rounded


def _applies(each: FactorData, data: ReportData) -> bool:
    """Return whether a set that was read from no file has the value that was published, and was used when the rule says.

    A report may lack a set that was published shortly before it.
    """
    at, start, end = (instant.parse(when) for when in (data.at, each.start, each.end))
    known = [s for s in PUBLISHED if s.source == each.source or s.published < at - LATE_S]
    return any(
        (period.factor.source, period.factor.kg_per_m3) == (each.source, each.value)
        and period.start <= start < end <= period.end
        for period in in_force(known, data.factor_rule)
    )


def _near(total: float, parts: Sequence[float]) -> bool:
    """Return whether parts add up to a total, each of them rounded by itself."""
    return math.isclose(total, math.fsum(parts), rel_tol=1e-12, abs_tol=(len(parts) + 1) * 10**-DECIMALS)


def _whole(found: Report) -> WholePeriod:
    return WholePeriod(start=instant.text(found.start), end=instant.text(found.end), totals=_totals(found))


def _source(each: ReportSource) -> SourceData:
    return SourceData(
        member=each.member,
        connection=each.connection,
        granted=instant.text(each.granted),
        collected=instant.text(each.collected),
        meters=each.meters,
    )


def _totals(found: Report) -> tuple[TotalData, ...]:
    return tuple(TotalData(months=each.months, **_energy(each.figure)) for each in found.totals)


def _month(each: ReportedMonth) -> MonthData:
    return MonthData(
        **_energy(each.figure),
        start=instant.text(each.start),
        end=instant.text(each.end),
        filled=each.filled,
        worked_out=instant.text(each.taken_at),
        revised=None if each.revised is None else instant.text(each.revised),
    )


def _factor(each: UsedFactor) -> FactorData:
    return FactorData(
        fuel=each.fuel,
        title=each.title,
        source=each.source,
        license=each.license,
        start=instant.text(each.start),
        end=instant.text(each.end),
        value=each.value,
        unit=each.unit,
        amount=each.amount,
        site=each.site,
        region=each.region,
        stands_in=each.stands_in,
        digest=each.set.file_sha256 if each.set else "",
    )


def _energy(figure: Figure) -> dict[str, Any]:
    return {
        "fuel": figure.fuel,
        "kwh": figure.kwh,
        "m3": figure.m3,
        "kilograms": figure.kilograms,
        "unit": figure.unit,
    }
