"""Collect through one connection: meter by meter and month by month, what is missing or may still be revised.

Each response is checked against its provenance and stored in its own transaction, and only if the SME has not withdrawn
meanwhile. An interrupted collection therefore continues where it stopped, and a failure of one meter or month does not affect
the others. Gas is worked out here; electricity waits for the grid's figures (collect.weigh), which another party has.
"""

import logging
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import Final

import orjson

from consent_server import audit, clock, store
from consent_server.collect import factor_sets, figures, provider
from consent_server.collect.period import first_month
from consent_server.deployment import SigningCertificateNotValid, current
from consent_server.outbound.back_off import back_off
from consent_server.outbound.data import ConsumptionData, DataSource, FetchedWindow, readings_address
from consent_server.outbound.directory import DataService
from consent_server.outbound.errors import BadAnswer, NotReady, OAuthRefused, TokenRefused, Unreachable
from consent_server.outbound.fair_pool import FairPool, Tally
from consent_server.scheme import plausible, readings
from consent_server.scheme.emissions import Amounts, EmissionsError
from consent_server.scheme.factors import FactorPeriod
from consent_server.scheme.instant import DAY, HALF_HOUR, month_start, next_month
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.month_readings import digest_of, packed, unpacked
from consent_server.scheme.provenance.container import SignedRecord
from consent_server.scheme.provenance.deployed import WHOLE_DATA_CALLED_MISSING, transfer_forms
from consent_server.scheme.provenance.duties import ExpectedTransfer, Received, checked_receipt
from consent_server.scheme.provenance.step import ProvenanceError
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    CONSUMPTION_PATH,
    MISSING,
    scheme_url,
    trust_framework_url,
    window_parameters,
    worst_missing_data,
)
from consent_server.scheme.readings import MeterReadings, ReadingError
from consent_server.store import collecting, connections
from consent_server.store.tables.collecting import CollectedMeter, CollectedWindow, MeterMonth, ProviderConnection
from consent_server.web.language import N_

log = logging.getLogger("consent_server.collect")

LEASE_S: Final = 600
RUN_S: Final = 30
#: Seconds after which a turn begins no further meter: other customers of the provider have the next one.
TURN_S: Final = 40
#: Meters of one connection, as many as our own access tokens can name. It bounds what a provider can make us keep.
MOST_METERS: Final = 10_000
NEXT_S: Final = DAY
#: How often a complete month is asked for again while it may be revised.
REVISIT_S: Final = 7 * DAY
LONGEST_RETRY_S: Final = 21600
#: The most months in one window: 366 days.
MOST_MONTHS: Final = 12
#: Meters in a row that cannot be reached before the provider as a whole counts as unreachable.
STRIKES: Final = 2
NOT_READY: Final = N_("The provider is still collecting the readings.")
UNSIGNED: Final = N_("We cannot sign for what we receive until our own certificate is renewed.")
IMPORT = "import"  # export is not consumption: no emissions are worked out from it


class NotUsable(Exception):
    """What was fetched may not be used; the message says why, without any reading or meter in it."""


class ConnectionEnded(Exception):
    """The SME has withdrawn while we were fetching, or another worker has begun this collection anew."""


@dataclass(frozen=True)
class _Calls:
    """How the provider of one connection is asked, for one turn."""

    row: ProviderConnection
    token: str
    service: DataService
    api: ConsumptionData


def pool() -> FairPool:
    """Return the pool of a collector. A window may be 32 MiB, and several times that in memory, so there are few at once."""
    return FairPool(most=4, most_unreliable=2, each=2, slow_s=60)


def collect_due(shared: FairPool | None = None) -> Tally:
    """Collect through connections that are due, for RUN_S seconds at most; return for how many it succeeded and failed."""
    tally = Tally()
    (shared or pool()).serve(_issuers, partial(_turn, tally), RUN_S)
    return tally


def _issuers() -> list[str]:
    with store.reading() as c:
        return connections.issuers_due(c, clock.now())


def _turn(tally: Tally, issuer: str, _failures: int) -> int:
    """Collect through one connection to an issuer. Return 0 always: each connection has its own next attempt."""
    with store.writing() as c:
        row = connections.lease_due(c, issuer, clock.now(), LEASE_S)
    if row is None:
        return 0
    succeeded = False
    try:
        succeeded = collect(row)
    finally:
        tally.add(succeeded)
    return 0


def collect(row: ProviderConnection) -> bool:
    """Collect through one connection what is due; return whether nothing failed.

    What fails is kept as the connection's `trouble`, or as that of a meter, and tried again after a while of its own.
    """
    try:
        calls = _calls(row)
        if row.listed is None or not 0 <= clock.now() - row.listed < NEXT_S:
            _list(calls)
        return _settle(row, *_collect_meters(calls))
    except ConnectionEnded:
        return False
    except (Unreachable, NotUsable, SigningCertificateNotValid) as fault:
        return _fail(row, fault)


def _calls(row: ProviderConnection) -> _Calls:
    current().valid_signer(clock.now())  # what we cannot sign for is not asked for
    token = provider.access_token(row)
    service = provider.service_of(row)
    return _Calls(row, token, service, provider.consumption_data(service))


def trouble_of(fault: Exception) -> str:
    """Return what the SME reads of a provider's failure; the log says more."""
    if isinstance(fault, NotReady):
        return NOT_READY
    if isinstance(fault, SigningCertificateNotValid):
        return UNSIGNED
    return provider.trouble(fault) if isinstance(fault, Unreachable) else provider.WRONG


def _wait_s(fault: Exception, failures: int) -> int:
    """Return the seconds before the next attempt."""
    if isinstance(fault, NotReady):
        return fault.retry_after
    asked = fault.retry_after if isinstance(fault, Unreachable) else 0
    return max(asked, back_off(failures, current().settings.collection.retry_s, LONGEST_RETRY_S))


def _fail(row: ProviderConnection, fault: Exception) -> bool:
    trouble, wait_s = trouble_of(fault), _wait_s(fault, row.failures)
    log.warning("connection %s: %s (%s) We try again in %s s.", row.id, trouble, fault, wait_s)
    with store.writing() as c:
        due = clock.now() + wait_s
        connections.settle(c, row, due=due, trouble=trouble, failures=row.failures + 1)
    # Only after a second refusal: during a renewal the issuer has ended the old permission before we have.
    if isinstance(fault, OAuthRefused) and fault.error == "invalid_grant" and row.trouble == provider.REFUSED:
        provider.end_if_revoked(row)
    return False


def _settle(row: ProviderConnection, read: int, finished: bool) -> bool:
    """Keep what has become of a turn. Meters that failed are due again by themselves, and the others in a day."""
    at = clock.now()
    with store.writing() as c:
        meters = collecting.meters(c, row.id)
        troubles = [meter.trouble for meter in meters if meter.trouble]
        due = at if not finished else min([meter.due for meter in meters] + [at + NEXT_S])
        came = read or len(troubles) < len(meters) or not meters
        collected = at if finished and came else None
        trouble = troubles[0] if troubles else None
        if not connections.settle(c, row, due=due, collected=collected, trouble=trouble, failures=0):
            raise ConnectionEnded
        forms = connections.deployed_forms(c, row.id)
    if read:
        audit.event("readings_collected", connection=row.id, readings=read, deployed_forms=forms)
    return not troubles


# Which meters there are


def _list(calls: _Calls) -> None:
    """Bring the connection's meters in line with its provider's list. Raise NotUsable, Unreachable, ConnectionEnded."""
    at, row = clock.now(), calls.row
    wanted = {
        each.id: each
        for each in _told_apart(calls.api.datasources(calls.token))
        if IMPORT in each.measures and each.type in (ELECTRICITY, GAS)
    }
    with store.writing() as c:
        _hold(c, row)
        if row.listed is None:
            connections.begin(c, row.id)
        known = {meter.datasource: meter for meter in collecting.meters(c, row.id)}
        changed = [
            CollectedMeter(row.id, each.id, each.type, each.outcode or "", at)
            for each in wanted.values()
            if each.id not in known or (known[each.id].fuel, known[each.id].outcode) != (each.type, each.outcode or "")
        ]
        gone = known.keys() - wanted.keys()
        if changed or gone:
            collecting.drop_meters(c, row.id, gone | {meter.datasource for meter in changed})
            collecting.put_meters(c, *changed)
        collecting.forget_before(c, row.id, first_month(at))
        connections.listed(c, row.id, at)


def _told_apart(sources: list[DataSource]) -> list[DataSource]:
    """Return the sources. Raise NotUsable for too many of them, and for one that is listed twice and would count twice."""
    if len(sources) > MOST_METERS:
        raise NotUsable(f"data sources: more than {MOST_METERS}")
    if len({source.id for source in sources}) < len(sources):
        raise NotUsable("data sources: one is listed twice")
    return sources


def _hold(c: store.Connection, row: ProviderConnection) -> None:
    """Lock the business of a connection. Raise ConnectionEnded."""
    newest = connections.hold(c, row.id)
    if newest is None or newest.ended is not None or newest.leased != row.leased:
        raise ConnectionEnded


# Which months of a meter


def revision_s() -> int:
    """Return for how long after its end a month is open to revision."""
    return current().settings.collection.revision_days * DAY


def _wanted(known: Mapping[int, MeterMonth], periods: Sequence[FactorPeriod], at: int) -> Iterator[list[int]]:
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


def is_closed(month: int, first: int, complete: bool, at: int) -> bool:
    """Return whether nothing is expected any more of a month that was collected first at `first`."""
    return at >= next_month(month) + revision_s() and (complete or at >= first + revision_s())


def _slots(month: int) -> int:
    return (next_month(month) - month) // HALF_HOUR


# Readings


def _collect_meters(calls: _Calls) -> tuple[int, bool]:
    """Collect the meters that are due, for TURN_S seconds; return how many readings came, and whether no meter is left.

    Raise Unreachable when several meters in a row say that the provider is.
    """
    began = clock.now()
    with store.reading() as c:
        due = [meter for meter in collecting.meters(c, calls.row.id) if meter.due <= began]
    read = strikes = 0
    for meter in due:
        if clock.now() - began >= TURN_S:
            return read, False
        fault, count = _collect_meter(calls, meter)
        read += count
        strikes = strikes + 1 if isinstance(fault, Unreachable) and not isinstance(fault, BadAnswer) else 0
        if fault is not None and (strikes == STRIKES or isinstance(fault, TokenRefused)):
            raise fault
    return read, True


def _collect_meter(calls: _Calls, meter: CollectedMeter) -> tuple[Exception | None, int]:
    """Collect the months of one meter that are wanted; return what failed last, and how many readings came."""
    at, read = clock.now(), 0
    with store.reading() as c:
        known = collecting.months_of(c, meter.connection, meter.datasource)
        periods = factor_sets.periods(c)
    known |= _worked_out_again(calls, known, periods, at)
    fault: Exception | None = None
    for run in _wanted(known, periods, at):
        try:
            read += _collect_run(calls, meter, run)
        except NotUsable as unusable:
            fault = unusable
        except Unreachable as unreachable:
            fault = unreachable
            if not isinstance(fault, BadAnswer) or isinstance(fault, NotReady | TokenRefused):
                break  # it is not about these months
    if fault is None:
        settled = meter._replace(due=at + NEXT_S, failures=0, trouble=None)
    else:
        trouble, wait_s = trouble_of(fault), _wait_s(fault, meter.failures)
        log.warning("connection %s: a meter: %s (%s) We try again in %s s.", meter.connection, trouble, fault, wait_s)
        settled = meter._replace(due=clock.now() + wait_s, failures=meter.failures + 1, trouble=trouble)
    with store.writing() as c:
        collecting.settle_meter(c, settled)
    return fault, read


def _worked_out_again(
    calls: _Calls, known: Mapping[int, MeterMonth], periods: Sequence[FactorPeriod], at: int
) -> dict[int, MeterMonth]:
    """Keep and return the months that rest on other factors than those in force, and whose readings are still there."""
    found = {}
    for month in known.values():
        if month.readings is not None and not figures.is_current(month.fuel, month.start, month.basis, periods):
            again = figures.gas(month, unpacked(month.start, month.readings), periods, at)
            found[month.start] = _without_readings_if_closed(again, at)
    if found:
        with store.writing() as c:
            _hold(c, calls.row)
            collecting.put_months(c, list(found.values()))
    return found


def _collect_run(calls: _Calls, meter: CollectedMeter, run: Sequence[int]) -> int:
    """Fetch and keep a run of months; return how many readings came. Raise NotUsable, Unreachable, ConnectionEnded.

    A run that cannot be used is asked for again month by month: its other months are not lost with one.
    """
    try:
        return _fetch_and_keep(calls, meter, run)
    except (NotUsable, BadAnswer) as fault:
        if len(run) == 1 or isinstance(fault, NotReady | TokenRefused):
            raise
        read, last = 0, fault
        for month in run:
            try:
                read += _fetch_and_keep(calls, meter, [month])
            except (NotUsable, BadAnswer) as again:
                last = again
        if not read:
            raise last from None
        log.warning("connection %s: a meter: %s months came one by one: %s", meter.connection, len(run), fault)
        if last is not fault:
            raise last from None
        return read


def _fetch_and_keep(calls: _Calls, meter: CollectedMeter, run: Sequence[int]) -> int:
    windows: list[CollectedWindow] = []
    starts: list[int] = []
    values: list[float] = []
    for window in calls.api.readings(calls.token, meter.datasource, IMPORT, run[0], next_month(run[-1])):
        at = clock.now()
        sent, record = _answer(meter, window)
        received = _received(calls, meter, window, record, at)
        missing = worst_missing_data(received.steps)
        counted = _plausible(meter, sent)
        starts += counted.start
        values += counted.value
        deployed = {*received.deployed}
        if missing == MISSING and len(sent.start) == (window.end - window.start) // HALF_HOUR:
            deployed.add(WHOLE_DATA_CALLED_MISSING)
        windows.append(
            CollectedWindow(
                connection=meter.connection,
                datasource=meter.datasource,
                measure=IMPORT,
                window_start=window.start,
                window_end=window.end,
                fuel=meter.fuel,
                outcode=meter.outcode,
                at=at,
                complete=missing == COMPLETE and len(counted.start) == len(sent.start),
                record=orjson.dumps(received.record),
                deployed_forms=sorted(deployed),
            )
        )
    with store.writing() as c:
        _hold(c, calls.row)
        months = list(_months(meter, run, starts, values, factor_sets.periods(c)))
        known = collecting.months_of(c, meter.connection, meter.datasource)
        for each in windows:
            collecting.put_window(c, each)
        collecting.put_months(c, [_revised(known.get(month.start), month) for month in months])
    return len(starts)


def _received(calls: _Calls, meter: CollectedMeter, window: FetchedWindow, record: SignedRecord, at: int) -> Received:
    """Return the provider's record with our receipt around it.

    Raise NotUsable when it is not what we called for, SigningCertificateNotValid: a receipt would spoil it for good.
    """
    here, row = current(), calls.row
    scheme, signer = here.settings.scheme, here.valid_signer(at)
    parameters = window_parameters(window.start, window.end, IMPORT)
    address = readings_address(calls.service.endpoint, meter.datasource, IMPORT)
    for role in scheme.edp_roles:
        expected = ExpectedTransfer(
            recipients={signer.member},
            signer_member=row.member,
            signer_application=row.application,
            signer_role=role,
            scheme=scheme_url(scheme.registry),
            standard=scheme.consumption_standard,
            license=row.license,
            service=calls.service.id,
            path=CONSUMPTION_PATH,
            parameters=parameters,
            at=at,
            deployed=transfer_forms(
                application=signer.application, license=row.license, address=address, parameters=parameters
            ),
        )
        try:
            return checked_receipt(record, expected, trust_framework_url(scheme.registry), here.signing_root, signer)
        except ProvenanceError as error:
            fault = str(error)
    raise NotUsable(f"provenance: {fault}")


def _answer(meter: CollectedMeter, window: FetchedWindow) -> tuple[MeterReadings, SignedRecord]:
    """Return the readings of a response, and its record, which is not verified yet. Raise NotUsable."""
    try:
        found, record = readings.answer(window.body)
    except ReadingError as error:
        raise NotUsable(f"readings: {error}") from None
    if found.start and (found.fuel != meter.fuel or not window.start <= found.start[0] <= found.start[-1] < window.end):
        raise NotUsable("readings: another fuel, or outside the window that was asked for")
    return found, record


def _plausible(meter: CollectedMeter, sent: MeterReadings) -> MeterReadings:
    """Return the readings that a meter can have counted. The others are missing: their month is then not complete."""
    most = plausible.most_in_half_an_hour(meter.fuel)
    if plausible.all_plausible(meter.fuel, sent.value, most):
        return sent
    kept = [plausible.implausible(meter.fuel, each, most) is None for each in sent.value]
    if not all(kept):
        log.warning("connection %s: %d half-hours that no meter can have counted", meter.connection, kept.count(False))
    start, taken_at = list(compress(sent.start, kept)), list(compress(sent.taken_at, kept))
    return MeterReadings(sent.fuel, start, taken_at, list(compress(sent.value, kept)))


def _months(
    meter: CollectedMeter,
    run: Iterable[int],
    starts: Sequence[int],
    values: Sequence[float],
    periods: Sequence[FactorPeriod],
) -> Iterator[MeterMonth]:
    at = clock.now()
    for start in run:
        of_month = slice(bisect_left(starts, start), bisect_left(starts, next_month(start)))
        yield _month(meter, start, Amounts(starts[of_month], values[of_month]), periods, at)


def _month(meter: CollectedMeter, start: int, amounts: Amounts, periods: Sequence[FactorPeriod], at: int) -> MeterMonth:
    body = packed(start, next_month(start), amounts)
    month = MeterMonth(
        connection=meter.connection,
        datasource=meter.datasource,
        start=start,
        fuel=meter.fuel,
        outcode=meter.outcode,
        readings=body,
        digest=digest_of(body),
        half_hours=len(amounts.start),
        amount=0.0,
        kilograms=0.0,
        complete=False,
        first=at,
        fetched=at,
        at=at,
        weigh_due=at if meter.fuel == ELECTRICITY and amounts.start else None,
        unknown=len(amounts.start),
    )
    if meter.fuel == ELECTRICITY:
        return month
    try:
        return _without_readings_if_closed(figures.gas(month, amounts, periods, at), at)
    except EmissionsError as error:
        raise NotUsable(f"readings: {error}") from None


def _without_readings_if_closed(month: MeterMonth, at: int) -> MeterMonth:
    closed = month.complete and is_closed(month.start, month.first, month.complete, at)
    return month._replace(readings=None) if closed else month


def _revised(before: MeterMonth | None, month: MeterMonth) -> MeterMonth:
    """Return what a month that was collected before becomes: what it was, when its readings and factors are the same."""
    if before is None:
        return month
    if month.digest == before.digest:
        again = before if month.basis == before.basis else month
        return again._replace(first=before.first, revised=before.revised, fetched=month.fetched)
    return month._replace(first=before.first, revised=month.at if before.complete else before.revised)
