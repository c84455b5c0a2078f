"""An EDP's meter register and readings."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import sqlalchemy as sa

from consent_server.store.rows import INDEXED, KEY, table
from consent_server.store.tables.columns import Fuel, Id, Instant, Measure, Outcode, PublicId, SourceId


@table("meter")
class Meter(NamedTuple):
    """One business's time at one meter of the EDP's own register: from `since` (0: from the first reading on) to before
    `until` (None: to this day). A meter that has passed from hand to hand has a row for each.

    Numbers and addresses are here and in no other table. `site` is the business's own words for the place.
    `capacity` is what the supply can carry, where that is known: kVA, or m3 of gas an hour.
    `customer` is what the EDP's own log-in calls the business.
    """

    id: Annotated[PublicId, KEY]
    sme: Annotated[str, INDEXED]
    business: str
    fuel: Fuel
    number: Annotated[str, sa.String(16), INDEXED]
    postcode: Annotated[str, sa.String(8)]
    outcode: Outcode
    measures: Sequence[str]
    since: Annotated[Instant, KEY, {"server_default": "0"}] = 0
    until: Instant | None = None
    site: Annotated[str, {"server_default": ""}] = ""
    capacity: float | None = None
    customer: Annotated[str | None, INDEXED] = None


@table("day_block")
class DayBlock(NamedTuple):
    """A day's half-hours of one meter, already in the API's JSON, which is packed (scheme.packed).

    `holder` is "edp", or the connection that fetched it. `marks` has a letter for each half-hour in `body`: what its JSON does
    not say (metering.importing.day). None: the source told each register, and nothing is an estimate.
    """

    holder: Annotated[Id, KEY]
    meter: Annotated[SourceId, KEY]
    measure: Annotated[Measure, KEY]
    day: Annotated[Instant, KEY]
    body: bytes
    marks: Annotated[str | None, sa.String(48)] = None


@table("set_aside")
class SetAside(NamedTuple):
    """A value of an EDP's own meter that was given for a half-hour and is not released, with the reason.

    `file` and `line` say where it was read; of a dispute, the line that was read last. Empty: before migration 0023.
    """

    meter: Annotated[PublicId, KEY]
    measure: Annotated[Measure, KEY]
    start: Annotated[Instant, KEY]
    reason: Annotated[str, sa.String(64), KEY]
    value: float
    taken_at: Instant
    estimate: bool
    file: Annotated[str, {"server_default": ""}] = ""
    line: Annotated[int | None, sa.BigInteger()] = None
