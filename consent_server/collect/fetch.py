"""Fetch months of one meter, check each response against its provenance, and keep what counts."""

import logging
from collections.abc import Sequence
from itertools import compress

import orjson

from consent_server import clock, store
from consent_server.collect import factor_sets, months
from consent_server.collect.calls import IMPORT, NotUsable, ProviderCalls, hold
from consent_server.deployment import current
from consent_server.outbound.data import FetchedWindow, readings_address
from consent_server.outbound.errors import BadAnswer, NotReady, TokenRefused
from consent_server.scheme import plausible, readings
from consent_server.scheme.instant import HALF_HOUR, next_month
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
from consent_server.store import collecting
from consent_server.store.tables.collecting import CollectedMeter, CollectedWindow

log = logging.getLogger("consent_server.collect")


def collect_run(calls: ProviderCalls, meter: CollectedMeter, run: Sequence[int]) -> int:
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


def _fetch_and_keep(calls: ProviderCalls, meter: CollectedMeter, run: Sequence[int]) -> int:
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
        hold(c, calls.row)
        found = list(months.of_run(meter, run, starts, values, factor_sets.periods(c)))
        known = collecting.months_of(c, meter.connection, meter.datasource)
        for each in windows:
            collecting.put_window(c, each)
        collecting.put_months(c, [months.revised(known.get(month.start), month) for month in found])
    return len(starts)


def _received(
    calls: ProviderCalls, meter: CollectedMeter, window: FetchedWindow, record: SignedRecord, at: int
) -> Received:
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
