"""Collect through one connection: every meter's readings, held to their provenance, and the months worked out from them.

All calls out come first. What they gave is then kept in one transaction, and only if the SME has not withdrawn meanwhile:
a withdrawal that overtakes a collection leaves nothing behind.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Final

import orjson

from consent_server import audit, clock, store
from consent_server.collect import provider
from consent_server.collect.period import first_month
from consent_server.deployment import current
from consent_server.outbound.data import DataSource, FetchedWindow, readings_address
from consent_server.outbound.directory import DataService
from consent_server.outbound.errors import NotReady, OAuthRefused, Unreachable
from consent_server.outbound.fair_pool import FairPool, Tally
from consent_server.outbound.intensity import RegionUnknown
from consent_server.scheme import emissions, instant, plausible, readings
from consent_server.scheme.emissions import EmissionsError, MonthEmissions
from consent_server.scheme.instant import DAY, day_start
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.provenance.container import ProvenanceError
from consent_server.scheme.provenance.deployed import WHOLE_DATA_CALLED_MISSING, transfer_forms
from consent_server.scheme.provenance.duties import ExpectedTransfer, Received, checked_receipt
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    CONSUMPTION_PATH,
    MISSING,
    scheme_url,
    trust_framework_url,
    window_parameters,
    worst_missing_data,
)
from consent_server.scheme.readings import Reading, ReadingError
from consent_server.store import connections
from consent_server.store import readings as day_blocks
from consent_server.store.tables import CollectedWindow, EmissionsMonth, ProviderConnection

log = logging.getLogger("consent_server.collect")

LEASE_S = 600
RUN_S: Final = 30
# More than an access token can name, so that no provider can occupy a collection without end.
MOST_SOURCES = 400
NEXT_S = DAY
IMPORT = "import"  # export is not consumption: no emissions are worked out from it


class NotUsable(Exception):
    """What was fetched may not be used; the message says why, without any reading or meter in it."""


@dataclass
class _Harvest:
    """What one collection brings in, before any of it is kept; day blocks by the provider's id of the meter."""

    windows: list[CollectedWindow] = field(default_factory=list)
    days: dict[str, dict[int, bytes]] = field(default_factory=dict)
    months: dict[str, list[dict[int, MonthEmissions]]] = field(default_factory=dict)
    count: int = 0


def pool() -> FairPool:
    """Return the pool of a collector. A collection may be 32 MiB for each window, so there are few of them at once."""
    return FairPool(most=12, most_unreliable=4, each=2, slow_s=60)


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
    """Collect through one connection; return whether its readings and months are there.

    A failure is kept as the connection's `trouble`.
    """
    retry_s = current().settings.collection.retry_s
    try:
        harvest = _gather(row)
    except NotReady as wait:
        _settle(row, due=clock.now() + wait.retry_after, trouble="The provider is still collecting the readings.")
    except Unreachable as fault:
        log.warning("connection %s: %s", row.id, fault)
        _settle(row, due=clock.now() + provider.pause_s(row, fault), trouble=provider.trouble(fault))
        # Only after a second refusal: during a renewal the issuer has ended the old permission before we have.
        ended = isinstance(fault, OAuthRefused) and fault.error == "invalid_grant"
        if ended and row.trouble == provider.REFUSED:
            provider.end_if_revoked(row)
    except (NotUsable, RegionUnknown) as fault:
        log.warning("connection %s: not usable: %s", row.id, fault)
        _settle(row, due=clock.now() + retry_s, trouble=f"What the provider sent cannot be used: {fault}")
    else:
        return _keep(row, harvest)
    return False


def _settle(row: ProviderConnection, *, due: int, trouble: str) -> None:
    with store.writing() as c:
        connections.settle(c, row.id, due=due, collected=None, trouble=trouble)


def _gather(row: ProviderConnection) -> _Harvest:
    at = clock.now()
    # Whole months back, and whole days up to the last midnight (UTC).
    start, end = first_month(at), day_start(at)
    token = provider.access_token(row)
    service = provider.service_of(row)
    api = provider.consumption_data(service)
    harvest = _Harvest()
    for source in _told_apart(api.datasources(token)):
        if IMPORT in source.measures and source.type in (ELECTRICITY, GAS):
            windows = api.readings(token, source.id, IMPORT, start, end)
            found = _gather_meter(row, service, source, windows, harvest)
            harvest.months.setdefault(source.type, []).append(_months(source, found, start, end))
    return harvest


def _told_apart(sources: list[DataSource]) -> list[DataSource]:
    """Return the sources. Raise NotUsable for too many of them, and for one that is listed twice and would count twice."""
    if len(sources) > MOST_SOURCES:
        raise NotUsable(f"data sources: more than {MOST_SOURCES}")
    if len({source.id for source in sources}) < len(sources):
        raise NotUsable("data sources: one is listed twice")
    return sources


def _gather_meter(
    row: ProviderConnection,
    service: DataService,
    source: DataSource,
    windows: Iterable[FetchedWindow],
    harvest: _Harvest,
) -> list[Reading]:
    found: list[Reading] = []
    for window in windows:
        at = clock.now()
        received = _received(row, service, source, window, at)
        missing = worst_missing_data(received.steps)
        sent = _readings(source, window)
        counted = _plausible(row, source, sent)
        found += counted
        deployed = {*received.deployed}
        if missing == MISSING and len(sent) == (window.end - window.start) // instant.HALF_HOUR:
            deployed.add(WHOLE_DATA_CALLED_MISSING)
        harvest.windows.append(
            CollectedWindow(
                connection=row.id,
                datasource=source.id,
                measure=IMPORT,
                window_start=window.start,
                window_end=window.end,
                fuel=source.type,
                outcode=source.outcode or "",
                at=at,
                complete=missing == COMPLETE and len(counted) == len(sent),
                record=orjson.dumps(received.record),
                deployed_forms=sorted(deployed),
            )
        )
    harvest.days[source.id] = _by_day(source.type, found)
    harvest.count += len(found)
    return found


def _received(
    row: ProviderConnection, service: DataService, source: DataSource, window: FetchedWindow, at: int
) -> Received:
    """Return the provider's record with our receipt around it. Raise NotUsable when it is not what we called for."""
    here = current()
    scheme, signer = here.settings.scheme, here.signer
    parameters = window_parameters(window.start, window.end, IMPORT)
    address = readings_address(service.endpoint, source.id, IMPORT)
    for role in scheme.edp_roles:
        expected = ExpectedTransfer(
            recipients={signer.member},
            signer_member=row.member,
            signer_application=row.application,
            signer_role=role,
            scheme=scheme_url(scheme.registry),
            standard=scheme.consumption_standard,
            license=row.license,
            service=service.id,
            path=CONSUMPTION_PATH,
            parameters=parameters,
            at=at,
            deployed=transfer_forms(
                application=signer.application, license=row.license, address=address, parameters=parameters
            ),
        )
        try:
            return checked_receipt(
                window.body["provenance"], expected, trust_framework_url(scheme.registry), here.signing_root, signer
            )
        except ProvenanceError as error:
            fault = str(error)
    raise NotUsable(f"provenance: {fault}")


def _readings(source: DataSource, window: FetchedWindow) -> list[Reading]:
    try:
        found = readings.parse(window.body["data"])
    except ReadingError as error:
        raise NotUsable(f"readings: {error}") from None
    for reading in found:
        if reading.fuel != source.type or not window.start <= reading.start < window.end:
            raise NotUsable("readings: another fuel, or outside the window that was asked for")
    return found


def _plausible(row: ProviderConnection, source: DataSource, sent: list[Reading]) -> list[Reading]:
    """Return the readings that a meter can have counted. The others are missing: their month is then not complete."""
    most = plausible.most_in_half_an_hour(source.type)
    counted = [each for each in sent if plausible.implausible(source.type, each.value, most) is None]
    if len(counted) < len(sent):
        log.warning("connection %s: %d half-hours that no meter can have counted", row.id, len(sent) - len(counted))
    return counted


def _by_day(fuel: str, found: list[Reading]) -> dict[int, bytes]:
    """Return readings as the day blocks that the store keeps, by the first instant of their day."""
    days: dict[int, bytes] = {}
    total = 0.0
    for day, group in groupby(sorted(found, key=lambda each: each.start), key=lambda each: day_start(each.start)):
        values: list[float | None] = [None] * readings.HALF_HOURS_A_DAY
        for reading in group:
            values[(reading.start - day) // instant.HALF_HOUR] = reading.value
        days[day] = readings.day_block(fuel, day, values, total)
        total += sum(value for value in values if value is not None)
    return days


def _months(source: DataSource, found: list[Reading], start: int, end: int) -> dict[int, MonthEmissions]:
    amounts = [(reading.start, reading.value) for reading in found]
    try:
        if source.type == GAS:
            return emissions.gas(amounts)
        return emissions.electricity(amounts, current().intensity.series(start, end, outcode=source.outcode))
    except EmissionsError as error:
        raise NotUsable(f"readings: {error}") from None


def _keep(row: ProviderConnection, harvest: _Harvest) -> bool:
    at = clock.now()
    months = [
        EmissionsMonth(row.id, fuel, month.start, month.kilograms, month.complete, at)
        for fuel, meters in harvest.months.items()
        for month in emissions.add(meters).values()
    ]
    with store.writing() as c:
        newest = connections.hold(c, row.id)
        if newest is None or newest.ended is not None:
            return False  # withdrawn while we were fetching
        connections.forget_data(c, row.id)
        for window in harvest.windows:
            connections.put_collected(c, window)
        for datasource, days in harvest.days.items():
            day_blocks.put_days(c, row.id, datasource, IMPORT, days)
        connections.put_months(c, row.id, months)
        connections.settle(c, row.id, due=at + NEXT_S, collected=at, trouble=None)
    forms = {name for window in harvest.windows for name in window.deployed_forms or ()}
    audit.event("readings_collected", connection=row.id, readings=harvest.count, deployed_forms=sorted(forms))
    return True
