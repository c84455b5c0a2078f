"""What a CAP reports: whole months of an account over all its live connections, with their provenance.

`report()` is the one place from which the emissions API, the page and every document get their figures.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import orjson

from consent_server import clock, store
from consent_server.collect import factor_sets, figures
from consent_server.collect.period import first_month
from consent_server.deployment import current
from consent_server.refusal import Refusal
from consent_server.scheme import instant, regions
from consent_server.scheme import report as reports
from consent_server.scheme.licenses import ELECTRICITY
from consent_server.scheme.provenance.container import MAX_SIGNATURES, RecordTooLong, SignedRecord, require_readable
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    MISSING,
    SUBSTITUTED,
    EmissionsRelease,
    FuelEmissions,
    GasFactorUse,
    GrantedPermission,
    IntensityUse,
    cap_record,
    trust_framework_url,
    unverified_missing_data,
)
from consent_server.scheme.report import (
    FUELS,
    Method,
    MonthOfMeter,
    Report,
    ReportedMeter,
    ReportParty,
    ReportSource,
    UsedFactor,
)
from consent_server.store import accounts, collecting, connections, links
from consent_server.store.connections import WindowCount
from consent_server.store.tables.collecting import CollectedMeter, MeterMonth, ProviderConnection
from consent_server.store.tables.permissions import Permission

SOON_S = 5
#: Seconds after which a report waits no more for electricity to be worked out: what is not done has its gap then.
LONGEST_WEIGHING_S = 2 * 3600
#: Responses of providers behind one report. Each has two signatures in its record, the provider's and that of our receipt, and
#: ours is around them all.
MOST_RESPONSES: Final = (MAX_SIGNATURES - 1) // 2


class NothingYet(Exception):
    """A connection has not been collected, or its electricity not been worked out yet; try again after `retry_after` seconds.

    `trouble` is for its SME.
    """

    def __init__(self, retry_after: int, trouble: str = "") -> None:
        super().__init__(trouble)
        self.retry_after = retry_after
        self.trouble = trouble


class ReportTooLong(Refusal):
    """So many responses of providers stand behind the months that no receiver would read their record."""

    code = "report_too_long"
    error = "invalid_request"
    status = 422
    public = "There are more meters and months than one report can hold. Ask for fewer months at a time."
    help = (
        "Ask for fewer months at a time, with `from` and `to`. Each response of an energy data provider adds two signatures "
        f"to a report's provenance record, which has at most {MAX_SIGNATURES:,}: a month of a thousand meters, or a year of "
        "90. The business finds its report divided into such parts on its result page."
    )
    clause = "Provenance Records 1.0"

    def __init__(self, private: str = "") -> None:
        """The `type` in the registered API's `detail` tells this 422 from that of a window which no fewer months mend."""
        super().__init__(private, detail=[{"loc": ["query", "from"], "msg": self.public, "type": self.code}])


class NoMonthToReport(Refusal):
    """The months that are asked for have no figures of the fuels that a bank may have."""

    code = "no_month_to_report"
    error = "invalid_request"
    status = 409
    public = (
        "There is no report on these months yet, because none of them has complete figures for what the bank may have."
    )
    help = "The business's result page lists each month that is left out, and why. A report is made once one month has figures."
    clause = "RFC 9110 15.5.10"


def report(
    c: store.Connection,
    account: str,
    start: int,
    end: int,
    fuels: tuple[str, ...] = FUELS,
    to: ReportParty | None = None,
    *,
    of: Collection[str] | None = None,
) -> Report:
    """Return the report on an account from `start` to before `end`, first instants of months; `to` is the bank it is for.

    Of its live connections those whose ids are in `of`, if that is given, have a part in it.

    Raise NothingYet while a live connection waits for its first collection, or electricity for being worked out; not when that
    has failed, nor when it takes longer than LONGEST_WEIGHING_S.
    """
    settings = current().settings
    at = clock.now()
    known = accounts.find(c, account)
    live = _live(c, account, of)
    meters = {each.id: collecting.meters(c, each.id) for each in live}
    months = {each.id: collecting.figures(c, each.id, start, end) for each in live}
    weighing = any(is_weighing(c, each.id, start, end, at) for each in live)
    periods = factor_sets.periods(c)
    for each in live:
        if not _has_come(each):
            raise NothingYet(max(SOON_S, (each.collect_due or at) - at), each.trouble or "")
    if weighing and ELECTRICITY in fuels:
        raise NothingYet(SOON_S)
    return reports.make(
        by=ReportParty(settings.brand, settings.member.url),
        about=ReportParty(known.business if known else "", id=account),
        to=to,
        start=start,
        end=end,
        at=at,
        meters=[meter for each in live for meter in _meters(meters[each.id], months[each.id])],
        sources=[_source(each, len(meters[each.id])) for each in live],
        periods=periods,
        method=Method(settings.collection.gas_factors, settings.collection.fill_gaps),
        fuels=fuels,
    )


def is_weighing(c: store.Connection, connection: str, start: int, end: int, at: int) -> bool:
    """Return whether electricity of a connection is about to be worked out for months from `start` to before `end`."""
    return collecting.is_weighing(c, connection, start, end, at - LONGEST_WEIGHING_S)


def resting_on(c: store.Connection, permission: Permission) -> set[str]:
    """Return the ids of the connections that a bank's permission is about: those to the providers that its text names.

    A provider that was connected later is in no text that was agreed to (Perseus policy data-license). The combined license
    allows what came under itself, and nothing that another permission gave.
    """
    found = [connections.find(c, each) for each in links.supports(c, permission.id)]
    combined = current().is_combined(permission.license)
    return {row.id for row in found if row is not None and (not combined or row.license == permission.license)}


def parts(c: store.Connection, found: Report) -> list[tuple[int, int]]:
    """Return the windows into which a report to a bank is divided: as few as there may be, so that each has a month that is
    reported, and a record that receivers read. None where no month is."""
    came = connections.windows(c, [each.connection for each in found.sources], found.fuels)
    first: list[int] = []  # the first reported month of each part
    for month in sorted({each.start for each in found.months}):
        if not first or _behind(came, first[-1], instant.next_month(month)) > MOST_RESPONSES:
            first.append(month)
    return list(pairwise([found.start, *first[1:], found.end])) if first else []


def _behind(came: Iterable[WindowCount], start: int, end: int) -> int:
    """Return how many responses have a part of `start` to before `end`."""
    return sum(each.responses for each in came if each.start < end and each.end > start)


def available_from(
    c: store.Connection, account: str, fuels: Collection[str], at: int, of: Collection[str] | None = None
) -> int:
    """Return the first instant of the earliest month that a report has at `at`; while it has none, of the first month that is
    asked of providers. `of` as in `report`. It reads no figure."""
    over = instant.month_start(at)
    live = _live(c, account, of)
    names, periods = [each.id for each in live], factor_sets.periods(c)
    whole = [(fuel, *month) for fuel in fuels for month in collecting.whole_months(c, names, fuel)]
    waiting = ELECTRICITY in fuels and any(is_weighing(c, each, 0, over, clock.now()) for each in names)
    if waiting or not all(map(_has_come, live)):
        return first_month(at)
    current_months = (start for fuel, start, basis in whole if figures.is_current(fuel, start, basis, periods))
    return min((start for start in current_months if start < over), default=first_month(at))


def _live(c: store.Connection, account: str, of: Collection[str] | None) -> list[ProviderConnection]:
    """Return the live connections of an account, of those whose ids are in `of`, if that is given."""
    return [row for row in connections.live(c, account, clock.now()) if of is None or row.id in of]


def _has_come(each: ProviderConnection) -> bool:
    """Return whether a connection was collected. One that was never listed was by a version that kept no months of meters."""
    return each.collected is not None and each.listed is not None


def _source(each: ProviderConnection, meters: int) -> ReportSource:
    assert each.collected is not None
    return ReportSource(each.member, each.id, each.granted, each.collected, meters)


def _meters(meters: list[CollectedMeter], months: list[MeterMonth]) -> list[ReportedMeter]:
    """Return every meter of a connection: one without any reading leaves the sums short as well."""
    of_meter: dict[str, list[MeterMonth]] = {}
    for month in months:
        of_meter.setdefault(month.datasource, []).append(month)
    return [_meter(meter, of_meter.get(meter.datasource, [])) for meter in meters]


def _meter(meter: CollectedMeter, months: list[MeterMonth]) -> ReportedMeter:
    used = {month.region for month in months if month.region is not None}
    return ReportedMeter(
        f"{meter.connection} {meter.datasource}",
        meter.fuel,
        meter.outcode,
        {month.start: MonthOfMeter(figures.kept(month), month.at, month.revised) for month in months},
        region=", ".join(regions.name_of(region) for region in sorted(used)),
        stands_in=any(month.region_by not in (None, "outcode") for month in months),
        connection=meter.connection,
    )


@dataclass(frozen=True)
class Proven:
    """The signed record of a report, and what it says of missing data for each fuel."""

    record: SignedRecord
    missing_data: Mapping[str, str]


def provenance(
    found: Report, readings: Sequence[Sequence[SignedRecord]], grant: GrantedPermission, to: str
) -> Proven | None:
    """Return the signed record of a report that is handed over; None when there is nothing that it could be about.

    It has the records of all `readings` behind the reported months, an origin for each factor that is in the figures, and for
    each fuel one process and one transfer. `to` is the member that gets it. Raise ReportTooLong.
    """
    here = current()
    fuels = []
    for total, records in zip(found.totals, readings, strict=True):
        worked_out = max(month.taken_at for month in found.months if month.fuel == total.fuel)
        fuels.append(
            FuelEmissions(
                fuel=total.fuel,
                received=records,
                factors=[_origin(each, worked_out) for each in found.factors if each.fuel == total.fuel],
                missing_data=_missing_data(found, total.fuel, records),
                at=worked_out,
            )
        )
    if not fuels:
        return None
    release = EmissionsRelease(
        registry=here.settings.scheme.registry,
        # Under the combined license the energy data providers' own permission steps allow this transfer as well.
        grant=None if here.is_combined(grant.license) else grant,
        license=grant.license,
        to=to,
        service=here.settings.member.data_service,
        start=found.start,
        end=found.end,
        fuels=fuels,
        at=found.at,
    )
    record = cap_record(release, here.valid_signer(found.at))
    try:
        require_readable(record, trust_framework_url(here.settings.scheme.registry))
    except RecordTooLong as error:
        raise ReportTooLong(str(error)) from None
    return Proven(record, {each.fuel: each.missing_data for each in fuels})


def records(c: store.Connection, found: Report) -> list[list[SignedRecord]]:
    """Return, for each fuel with a total, the records of all readings behind its months.

    Raise ReportTooLong, and NothingYet when what the report rests on was withdrawn or renewed after it was read.
    """
    names = [each.connection for each in found.sources]
    months = {total.fuel: [each for each in found.months if each.fuel == total.fuel] for total in found.totals}
    stretches = [(fuel, of_fuel[0].start, of_fuel[-1].end) for fuel, of_fuel in months.items()]
    count = sum(_behind(connections.windows(c, names, [fuel]), start, end) for fuel, start, end in stretches)
    if count > MOST_RESPONSES:  # before any is read
        raise ReportTooLong(f"{count} responses")
    kept = [[orjson.loads(each) for each in connections.records(c, names, *stretch)] for stretch in stretches]
    if not all(kept):
        raise NothingYet(SOON_S)
    return kept


def _missing_data(found: Report, fuel: str, records: Sequence[SignedRecord]) -> str:
    """Return what is missing from a fuel's figures: months that are left out, half-hours that are estimates, or nothing."""
    framework = trust_framework_url(current().settings.scheme.registry)
    said = {unverified_missing_data(record, framework) for record in records}
    if any(gap.fuel == fuel for gap in found.gaps):
        return MISSING
    if SUBSTITUTED in said or any(month.filled for month in found.months if month.fuel == fuel):
        return SUBSTITUTED
    return MISSING if MISSING in said else COMPLETE


def _origin(each: UsedFactor, at: int) -> IntensityUse | GasFactorUse:
    if each.fuel == ELECTRICITY:
        # Where the API has no region for the outcode, figures of a larger area are used.
        missing = SUBSTITUTED if each.stands_in else COMPLETE
        return IntensityUse(outcode=each.site, start=each.start, end=each.end, missing_data=missing, at=at)
    return GasFactorUse(source=each.source, license=each.license, start=each.start, end=each.end, at=at)
