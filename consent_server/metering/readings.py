"""The readings that an EDP holds: the meter behind a data source, and its half-hours.

Sources: our own table of day blocks, or a plug-in (consent_server/sandbox/readings.py is one).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from consent_server import store
from consent_server.metering.register import plug_in
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.readings import slice_block
from consent_server.store import datasources, meters, readings

# Occurs once in every reading of a day block.
_ONE_EACH: Final = b'"energy":{'


@dataclass(frozen=True)
class Source:
    """The meter behind a data source id. `meter` is internal; the rest may be disclosed."""

    id: str
    meter: str = field(repr=False)
    fuel: str
    measures: tuple[str, ...]
    outcode: str


@dataclass(frozen=True)
class ReadingsRequest:
    """The half-hours of one meter with start <= from < end, under the permission of `account`, which ends at `expires`."""

    meter: str = field(repr=False)
    fuel: str
    measure: str
    start: int
    end: int
    account: str
    expires: int


@dataclass(frozen=True)
class Held:
    """What a source has for a request: day blocks by day, in order; or nothing yet, with `retry_after` seconds to wait.

    `count` is the number of half-hours in them. `metered` is the part (start, end) of the window for which the meter has
    been read, or None where there is no such part.
    """

    days: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    count: int = 0
    metered: tuple[int, int] | None = None
    retry_after: int | None = None

    @property
    def blocks(self) -> list[bytes]:
        return list(self.days.values())

    @property
    def complete(self) -> bool:
        """Return whether no half-hour is missing in what was metered."""
        return self.metered is not None and self.count * HALF_HOUR == self.metered[1] - self.metered[0]


#: A plug-in has this form too; `counted` helps it to make what it returns.
ReadingsSource = Callable[[ReadingsRequest], Held]


def readings_source(name: str) -> ReadingsSource:
    """Return the source that `metering.readings_source` names: `day-blocks`, or a plug-in `module:function`.

    Raise BadSettings when the plug-in cannot be loaded.
    """
    if name == "day-blocks":
        return day_blocks
    found: ReadingsSource = plug_in("metering.readings_source", name)
    return found


def find(datasource: str) -> Source | None:
    """Return the meter with this data source id, or None. Raise StoreUnavailable."""
    with store.reading() as c:
        known = datasources.find(c, datasource)
        row = meters.find(c, known.meter) if known is not None else None
    if row is None:
        return None
    return Source(datasource, row.id, row.fuel, tuple(row.measures), row.outcode)


def day_blocks(request: ReadingsRequest) -> Held:
    """Return the readings in our own table. Raise StoreUnavailable."""
    meter, measure = request.meter, request.measure
    with store.reading() as c:
        extent = readings.extent(c, readings.EDP, meter, measure)
        if extent is None:
            return Held()
        first, last = max(request.start, extent[0]), min(request.end, extent[1] + DAY)
        if first >= last:
            return Held()
        rows = readings.days(c, readings.EDP, meter, measure, instant.day_start(first), last)
    return counted({day: bytes(body) for day, body in rows}, first, last)


def counted(days: dict[int, bytes], start: int, end: int) -> Held:
    """Return whole day blocks, in order, cut to a window for which the meter has been read."""
    for edge in {instant.day_start(start), instant.day_start(end)} & days.keys():
        days[edge] = slice_block(days[edge], start, end)
    return Held(days, sum(block.count(_ONE_EACH) for block in days.values()), (start, end))
