"""A CAP's connections to providers, what it has collected through them, and the figures of grid and gas."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, NamedTuple

import sqlalchemy as sa

from consent_server.store.rows import INDEXED, KEY, UNIQUE, References, table
from consent_server.store.tables.columns import Count, Digest, EndedAs, Fuel, Id, Instant, Measure, Outcode, SourceId

#: Live connections, by issuer (store.due).
_LIVE: Final = sa.text("ended IS NULL")


@table(
    "connection",
    sa.Index("ix_connection_by_issuer", "issuer", "collect_due", sqlite_where=_LIVE, postgresql_where=_LIVE),
)
class ProviderConnection(NamedTuple):
    """A permission that we hold as a client: a CAP's connection to one EDP for one SME.

    `listed` is when its meters were listed last, `collected` when readings came last. `trouble` says what fails now, and
    `failures` counts how often in a row its provider as a whole did.
    """

    id: Annotated[Id, KEY]
    account: Annotated[Id, References("account.id"), INDEXED]
    issuer: str
    resource: str
    member: str
    application: str
    license: str
    refresh_sealed: bytes
    refresh_mac: Annotated[Digest, UNIQUE]
    granted: Annotated[Instant, INDEXED]
    expires: Annotated[Instant, INDEXED]
    fsp: str | None = None
    collect_due: Annotated[Instant | None, INDEXED] = None
    ended: Instant | None = None
    ended_as: EndedAs | None = None
    ended_by: str | None = None
    ended_why: str | None = None
    leased: Instant | None = None
    collected: Instant | None = None
    trouble: str | None = None
    listed: Instant | None = None
    failures: Count = 0

    def is_live(self, at: int) -> bool:
        """Return whether it is in force at an instant: it has neither been ended nor expired."""
        return self.ended is None and self.expires > at


ConnectionId = Annotated[Id, References("connection.id"), KEY]


@table("collected")
class CollectedWindow(NamedTuple):
    """One fetched window of one data source: the EDP's signed record with our receipt, the facts that our calculation uses,
    and the names of the deployed forms that were accepted in the record (None: kept before they were named)."""

    connection: ConnectionId
    datasource: Annotated[SourceId, KEY]
    measure: Annotated[Measure, KEY]
    window_start: Annotated[Instant, KEY]
    window_end: Instant
    fuel: Fuel
    outcode: Outcode
    at: Annotated[Instant, INDEXED]
    complete: bool
    record: bytes
    deployed_forms: Sequence[str] | None = None


@table("collected_meter")
class CollectedMeter(NamedTuple):
    """One meter of a connection, as its provider listed it. `trouble` says why its last collection failed, `failures` how
    often in a row it did."""

    connection: ConnectionId
    datasource: Annotated[SourceId, KEY]
    fuel: Fuel
    outcode: Outcode
    due: Instant
    failures: Count = 0
    trouble: str | None = None


_WEIGHING: Final = sa.text("weigh_due IS NOT NULL")


@table(
    "meter_month",
    sa.Index("ix_meter_month_of_fuel", "connection", "fuel", "start"),
    sa.Index("ix_meter_month_weigh", "weigh_due", sqlite_where=_WEIGHING, postgresql_where=_WEIGHING),
    sa.Index(
        *("ix_meter_month_weigh_of_connection", "connection", "weigh_due"),
        sqlite_where=_WEIGHING,
        postgresql_where=_WEIGHING,
    ),
    sa.Index("ix_meter_month_start", "start"),
)
class MeterMonth(NamedTuple):
    """One whole calendar month (UTC) of one meter, collected at `fetched` and for the first time at `first`.

    `readings` are its half-hours (scheme.month_readings.packed), None once nothing needs them any more; `digest` is theirs,
    and `half_hours` how many there are. `amount`, `kilograms`, `complete`, `unknown`, `filled`, `by_set` (a set's year as text)
    and `basis` are those of scheme.emissions.MonthEmissions as of `at` (collect.figures). `revised` is when other readings
    last replaced a complete figure. `region` of the grid was found by `region_by` (scheme.regions); while a grid figure is
    missing, `weigh_due` says when to ask for it again, and `trouble` why it could not be had.
    """

    connection: ConnectionId
    datasource: Annotated[SourceId, KEY]
    start: Annotated[Instant, KEY]
    fuel: Fuel
    outcode: Outcode
    readings: bytes | None
    digest: Digest
    half_hours: int
    amount: float
    kilograms: float
    complete: bool
    first: Instant
    fetched: Instant
    at: Instant
    revised: Instant | None = None
    region: int | None = None
    region_by: Annotated[str | None, sa.String(16)] = None
    weigh_due: Instant | None = None
    trouble: str | None = None
    unknown: Count = 0
    filled: Count = 0
    by_set: Mapping[str, float] | None = None
    basis: Annotated[str, {"server_default": ""}] = ""


@table("month")
class EmissionsMonth(NamedTuple):
    """What the version before kept of a month of one fuel from one connection. Figures rest on `meter_month` alone; rows are
    deleted with their connection's data."""

    connection: ConnectionId
    fuel: Annotated[Fuel, KEY]
    start: Annotated[Instant, KEY]
    kilograms: float
    complete: bool
    at: Instant


@table("grid_day")
class GridDayRow(NamedTuple):
    """A day of grid intensity of one region: outbound.intensity.GridDay, its values as 48 doubles."""

    region: Annotated[int, KEY]
    day: Annotated[Instant, KEY]
    fetched: Instant
    body: bytes


@table("factor_set")
class LoadedFactorSet(NamedTuple):
    """A year's conversion factors for gas, loaded by an operator: the fields of scheme.factors.FactorSet."""

    region: Annotated[str, sa.String(16), KEY]
    year: Annotated[int, KEY]
    published: Instant
    kg_per_m3: float
    kg_per_kwh: float
    mineral_kg_per_m3: float | None
    title: str
    source: str
    license: str
    file_sha256: Digest
    loaded: Instant
