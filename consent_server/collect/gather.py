"""Collect through one connection: every meter's readings, held to their provenance, and the months worked out from them.

All calls out come first. What they gave is then kept in one transaction, and only if the SME has not withdrawn meanwhile:
a withdrawal that overtakes a collection leaves nothing behind.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import orjson
from cryptography import x509

from consent_server import audit, clock, store
from consent_server.outbound.data import ConsumptionData, DataSource, Window
from consent_server.outbound.directory import DataService
from consent_server.outbound.errors import NotReady, OAuthRefused, Unreachable
from consent_server.outbound.intensity import RegionUnknown
from consent_server.scheme import emissions, instant, readings
from consent_server.scheme.emissions import EmissionsError, MonthEmissions
from consent_server.scheme.instant import DAY, day_start, month_start
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.provenance.container import ProvenanceError, SignedRecord, Signer
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    CONSUMPTION_PATH,
    ExpectedTransfer,
    checked_receipt,
    scheme_url,
    window_parameters,
    worst_missing_data,
)
from consent_server.scheme.readings import Reading, ReadingError
from consent_server.store import connections
from consent_server.store import readings as day_blocks

log = logging.getLogger("consent_server.collect")

LEASE_S = 600
# More than an access token can name; no provider keeps us at it without end.
MOST_SOURCES = 400
NEXT_S = DAY
REFUSED = "The provider no longer accepts our permission."
IMPORT = "import"  # export is not consumption: no emissions are worked out from it


@dataclass(frozen=True)
class CollectParts:
    """What collecting needs from outside.

    `access_token(connection row)` refreshes and raises OAuthRefused (invalid_grant: the permission has ended) or
    Unreachable; `service_of(connection row)` is the Directory's catalogue entry of its resource; `api(endpoint)` is the
    consumption API there; `intensity(start, end, outcode)` answers {half-hour: gCO2/kWh}; `ended(connection row)` looks at
    the permission record and ends the connection when its issuer says that it was withdrawn.
    """

    access_token: Callable[[Any], str]
    service_of: Callable[[Any], DataService]
    api: Callable[[str], ConsumptionData]
    intensity: Callable[[int, int, str | None], dict[int, float]]
    ended: Callable[[Any], None]
    signer: Signer
    signing_root: x509.Certificate
    registry: str
    trust_framework: str
    edp_roles: Collection[str]
    standard: str
    months: int
    retry_s: int


class NotUsable(Exception):
    """What was fetched may not be used; the message says why, without any reading or meter in it."""


@dataclass
class _Harvest:
    """What one collection brings in, before any of it is kept."""

    windows: list[dict[str, Any]] = field(default_factory=list)
    days: dict[str, dict[int, bytes]] = field(default_factory=dict)
    months: dict[str, list[dict[int, MonthEmissions]]] = field(default_factory=dict)
    count: int = 0


def collect_due(parts: CollectParts) -> int:
    """Collect through every connection that is due; answers how many went through."""
    done = 0
    while True:
        with store.writing() as c:
            row = connections.lease_due(c, clock.now(), LEASE_S)
        if row is None:
            return done
        done += collect(parts, row)


def collect(parts: CollectParts, row: Any) -> bool:
    """Collect through one connection; True when its readings and months are there. A failure is kept as its `trouble`."""
    try:
        harvest = _gather(parts, row)
    except NotReady as wait:
        _settle(row, due=clock.now() + wait.retry_after, trouble="The provider is still collecting the readings.")
    except OAuthRefused as refused:
        log.warning("connection %s: its issuer answers %s", row.id, refused.error)
        _settle(row, due=clock.now() + parts.retry_s, trouble=REFUSED)
        # Asked for twice: in the instant of a renewal the issuer knows of it before we do.
        if refused.error == "invalid_grant" and row.trouble == REFUSED:
            parts.ended(row)
    except Unreachable as fault:
        log.warning("connection %s: %s", row.id, fault)
        _settle(row, due=clock.now() + parts.retry_s, trouble="The provider could not be reached.")
    except (NotUsable, RegionUnknown) as fault:
        log.warning("connection %s: not usable: %s", row.id, fault)
        _settle(row, due=clock.now() + parts.retry_s, trouble=f"What the provider sent cannot be used: {fault}")
    else:
        return _keep(row, harvest)
    return False


def _settle(row: Any, *, due: int, trouble: str) -> None:
    with store.writing() as c:
        connections.settle(c, row.id, due=due, collected=None, trouble=trouble)


def _span(months: int, at: int) -> tuple[int, int]:
    """From the first instant of the month `months` before this one to the last midnight: whole days, UTC."""
    start = month_start(at)
    for _ in range(months):
        start = month_start(start - 1)
    return start, day_start(at)


def _gather(parts: CollectParts, row: Any) -> _Harvest:
    start, end = _span(parts.months, clock.now())
    token = parts.access_token(row)
    service = parts.service_of(row)
    api = parts.api(service.endpoint)
    harvest = _Harvest()
    for source in _told_apart(api.datasources(token)):
        if IMPORT in source.measures and source.type in (ELECTRICITY, GAS):
            _gather_meter(parts, row, service, api, token, source, start, end, harvest)
    return harvest


def _told_apart(sources: list[DataSource]) -> list[DataSource]:
    """The same, once no meter is listed twice: its readings would count twice."""
    if len(sources) > MOST_SOURCES:
        raise NotUsable(f"data sources: more than {MOST_SOURCES}")
    if len({source.id for source in sources}) < len(sources):
        raise NotUsable("data sources: one is listed twice")
    return sources


def _gather_meter(
    parts: CollectParts,
    row: Any,
    service: DataService,
    api: ConsumptionData,
    token: str,
    source: DataSource,
    start: int,
    end: int,
    harvest: _Harvest,
) -> None:
    found: list[Reading] = []
    for window in api.readings(token, source.id, IMPORT, start, end):
        at = clock.now()
        record, missing = _received(parts, row, service, source, window, at)
        found += _readings(source, window)
        harvest.windows.append(
            {
                "connection": row.id,
                "datasource": source.id,
                "measure": IMPORT,
                "window_start": window.start,
                "window_end": window.end,
                "fuel": source.type,
                "outcode": source.outcode or "",
                "at": at,
                "complete": missing == COMPLETE,
                "record": orjson.dumps(record),
            }
        )
    harvest.count += len(found)
    harvest.days[source.id] = _by_day(source.type, found)
    harvest.months.setdefault(source.type, []).append(_months(parts, source, found, start, end))


def _received(
    parts: CollectParts, row: Any, service: DataService, source: DataSource, window: Window, at: int
) -> tuple[SignedRecord, str]:
    """The provider's record with our receipt around it, and what it says of missing data (brief 7.6: all or nothing)."""
    for role in parts.edp_roles:
        expected = ExpectedTransfer(
            recipients={parts.signer.member, parts.signer.application},
            signer_member=row.member,
            signer_application=row.application,
            signer_role=role,
            scheme=scheme_url(parts.registry),
            standard=parts.standard,
            license=row.license,
            service=service.id,
            path=CONSUMPTION_PATH,
            parameters=window_parameters(window.start, window.end, IMPORT),
            at=at,
        )
        try:
            received = checked_receipt(
                window.body["provenance"], expected, parts.trust_framework, parts.signing_root, parts.signer
            )
        except ProvenanceError as error:
            fault = str(error)
        else:
            return received.record, worst_missing_data(received.steps)
    raise NotUsable(f"provenance: {fault}")


def _readings(source: DataSource, window: Window) -> list[Reading]:
    try:
        found = readings.parse(window.body["data"])
    except ReadingError as error:
        raise NotUsable(f"readings: {error}") from None
    for reading in found:
        if reading.fuel != source.type or not window.start <= reading.start < window.end:
            raise NotUsable("readings: another fuel, or outside the window that was asked for")
    return found


def _by_day(fuel: str, found: list[Reading]) -> dict[int, bytes]:
    """Day blocks of readings, as the store keeps them everywhere."""
    days: dict[int, bytes] = {}
    total = 0.0
    for day, group in groupby(sorted(found, key=lambda each: each.start), key=lambda each: day_start(each.start)):
        values: list[float | None] = [None] * readings.HALF_HOURS_A_DAY
        for reading in group:
            values[(reading.start - day) // instant.HALF_HOUR] = reading.value
        days[day] = readings.day_block(fuel, day, values, total)
        total += sum(value for value in values if value is not None)
    return days


def _months(
    parts: CollectParts, source: DataSource, found: list[Reading], start: int, end: int
) -> dict[int, MonthEmissions]:
    amounts = [(reading.start, reading.value) for reading in found]
    try:
        if source.type == GAS:
            return emissions.gas(amounts)
        return emissions.electricity(amounts, parts.intensity(start, end, source.outcode))
    except EmissionsError as error:
        raise NotUsable(f"readings: {error}") from None


def _keep(row: Any, harvest: _Harvest) -> bool:
    at = clock.now()
    months = [
        {
            "fuel": fuel,
            "start": month.start,
            "kilograms": month.kilograms,
            "complete": month.complete,
            "at": at,
        }
        for fuel, meters in harvest.months.items()
        for month in emissions.add(meters).values()
    ]
    with store.writing() as c:
        now_there = connections.find(c, row.id)
        if now_there is None or now_there.ended is not None:
            return False  # withdrawn while we were fetching
        connections.forget_data(c, row.id)
        for window in harvest.windows:
            connections.put_collected(c, **window)
        for datasource, days in harvest.days.items():
            day_blocks.put_days(c, row.id, datasource, IMPORT, days)
        connections.put_months(c, row.id, months)
        connections.settle(c, row.id, due=at + NEXT_S, collected=at, trouble=None)
    audit.event("readings_collected", connection=row.id, readings=harvest.count)
    return True
