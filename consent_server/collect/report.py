"""What a CAP reports: whole months of an account's emissions over all its live connections, with their provenance."""

from collections.abc import Collection
from dataclasses import dataclass

import orjson

from consent_server import clock, store
from consent_server.collect.period import first_month
from consent_server.deployment import current
from consent_server.scheme import emissions
from consent_server.scheme.instant import next_month
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.provenance.container import SignedRecord
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
)
from consent_server.store import collecting, connections
from consent_server.store.collecting import GridRegion
from consent_server.store.tables import CollectedWindow, EmissionsMonth, ProviderConnection

FUELS = (ELECTRICITY, GAS)
SOON_S = 5


@dataclass(frozen=True)
class ReportedMonth:
    """One whole month of one fuel: kilograms of CO2 (electricity) or CO2e (gas), worked out at `taken_at`.

    `amount` is the readings' sum in WHR or MTQ, and `revised` when the figure last replaced another whole one.
    """

    fuel: str
    start: int
    end: int
    taken_at: int
    kilograms: float
    amount: float | None = None
    revised: int | None = None


class NothingYet(Exception):
    """A connection has not been collected, or its electricity not been worked out yet; try again after `retry_after` seconds.

    `trouble` is for its SME.
    """

    def __init__(self, retry_after: int, trouble: str = "") -> None:
        super().__init__(trouble)
        self.retry_after = retry_after
        self.trouble = trouble


@dataclass(frozen=True)
class Report:
    """The months of an account and the live connections that they rest on."""

    months: list[ReportedMonth]
    rests_on: list[ProviderConnection]


def report(account: str, start: int, end: int, fuels: tuple[str, ...] = FUELS) -> Report:
    """Return the whole months from `start` to before `end` (first instants of months), electricity first.

    A month is there only when every connection that supplies its fuel has all of it: nothing is filled in. Raise NothingYet
    while a live connection waits for its first collection, or electricity for being worked out; not when that has failed.
    """
    at = clock.now()
    with store.reading() as c:
        live = connections.live(c, account, at)
        rows = [row for each in live for row in connections.months(c, each.id, start, end)]
        supplied = [connections.fuels(c, each.id) for each in live]
        weighing = any(collecting.is_weighing(c, each.id, start, end) for each in live)
    waiting = next((each for each in live if each.collected is None), None)
    if waiting is not None:
        raise NothingYet(max(SOON_S, (waiting.collect_due or at) - at), waiting.trouble or "")
    if weighing and ELECTRICITY in fuels:
        raise NothingYet(SOON_S)
    months = []
    for fuel in fuels:
        of_fuel = [row for row in rows if row.fuel == fuel]
        # Asked of what each connection covers: one without any reading in these months leaves the sums short as well.
        suppliers = sum(fuel in fuels_there for fuels_there in supplied)
        for month in sorted({row.start for row in of_fuel}):
            parts = [row for row in of_fuel if row.start == month]
            if len(parts) == suppliers and all(row.complete for row in parts):
                months.append(_added(fuel, month, parts))
    return Report(months, live)


def _added(fuel: str, month: int, parts: list[EmissionsMonth]) -> ReportedMonth:
    amounts = [row.amount for row in parts if row.amount is not None]
    return ReportedMonth(
        fuel=fuel,
        start=month,
        end=next_month(month),
        taken_at=max(row.at for row in parts),
        kilograms=sum(row.kilograms for row in parts),
        amount=sum(amounts) if len(amounts) == len(parts) else None,
        revised=max((row.revised for row in parts if row.revised is not None), default=None),
    )


def available_from(account: str, fuels: Collection[str], at: int) -> int:
    """Return the first instant of the earliest month that a report has at `at`; while it has none, of the first month that is
    asked of providers."""
    try:
        months = report(account, 0, at, tuple(fuels)).months
    except NothingYet:
        months = []
    return min((month.start for month in months), default=first_month(at))


def provenance(found: Report, grant: GrantedPermission, to: str, start: int, end: int) -> SignedRecord | None:
    """Return the signed record of one response of the emissions API; None when there is nothing that it could be about.

    `to` is the member that gets it. Raise NothingYet when what the response rests on was withdrawn or
    renewed after it was read.
    """
    here = current()
    at = clock.now()
    with store.reading() as c:
        collected = [row for each in found.rests_on for row in connections.collected(c, each.id)]
        regions = [each for row in found.rests_on for each in collecting.grid_regions(c, row.id, start, end)]
    fuels = []
    for fuel in (fuel for fuel in FUELS if any(month.fuel == fuel for month in found.months)):
        windows = [row for row in collected if row.fuel == fuel and row.window_start < end and row.window_end > start]
        if not windows:
            raise NothingYet(SOON_S)
        fuels.append(
            FuelEmissions(
                fuel=fuel,
                received=[orjson.loads(row.record) for row in windows],
                factors=_intensities(windows, regions) if fuel == ELECTRICITY else _gas_factors(windows),
                missing_data=COMPLETE if all(row.complete for row in windows) else MISSING,
                at=max(row.at for row in windows),
            )
        )
    if not fuels:
        return None
    release = EmissionsRelease(
        registry=here.settings.scheme.registry,
        grant=grant,
        license=grant.license,
        to=to,
        service=here.settings.member.data_service,
        start=start,
        end=end,
        fuels=fuels,
        at=at,
    )
    return cap_record(release, here.valid_signer(at))


def _intensities(windows: list[CollectedWindow], regions: list[GridRegion]) -> list[IntensityUse]:
    """Return one origin for each outcode: its region's series over the period that its meters cover.

    Where the API does not know the outcode, figures of another place stand in: the origin says Substituted.
    """
    stood_in = {each.outcode for each in regions if each.by != "outcode"}
    uses = []
    for outcode in sorted({row.outcode for row in windows}):
        of_outcode = [row for row in windows if row.outcode == outcode]
        uses.append(
            IntensityUse(
                outcode=outcode,
                start=min(row.window_start for row in of_outcode),
                end=max(row.window_end for row in of_outcode),
                missing_data=SUBSTITUTED if outcode in stood_in else COMPLETE,
                at=max(row.at for row in of_outcode),
            )
        )
    return uses


def _gas_factors(windows: list[CollectedWindow]) -> list[GasFactorUse]:
    start = min(row.window_start for row in windows)
    end = max(row.window_end for row in windows)
    at = max(row.at for row in windows)
    return [
        GasFactorUse(source=use.factor.source, start=use.start, end=use.end, at=at)
        for use in emissions.factors_used(start, end)
    ]
