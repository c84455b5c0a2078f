"""The readings that an EDP holds, as `release` asks for them: the meter behind a data source, and its half-hours.

Sources: our own table of day blocks, or a plug-in. The sandbox puts `with_scenarios` in front, so that a participant's
software can meet trouble on purpose.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from consent_server import store
from consent_server.metering import synthetic
from consent_server.metering.register import plug_in
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.readings import slice_block
from consent_server.store import datasources, limits, meters, readings

NOT_READY_CALLS: Final = 2
RETRY_AFTER_S: Final = 5

# Stands once in every reading of a day block.
_ONE_EACH: Final = b'"energy":{'


@dataclass(frozen=True)
class Source:
    """The meter behind a data source id. `meter` and `scenario` stay inside; the rest is what its owner may be told."""

    id: str
    meter: str = field(repr=False)
    fuel: str
    measures: tuple[str, ...]
    outcode: str
    scenario: str | None = None


class Asked(Protocol):
    """One call for readings: the half-hours of `source` with start <= from < end. `account` and `expires` are the
    permission's: its opaque account, and the instant of its end."""

    @property
    def source(self) -> Source: ...
    @property
    def measure(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def account(self) -> str: ...
    @property
    def expires(self) -> int: ...


@dataclass(frozen=True)
class Held:
    """What a source has for a call: day blocks by day, in order; or, with `retry_after` seconds, nothing as yet.

    `count` is the number of half-hours in them. `metered` is the part of the window (start, end) that the meter has been
    read for, or None where it does not reach into it.
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
        """Whether no half-hour is missing in what was metered."""
        return self.metered is not None and self.count * HALF_HOUR == self.metered[1] - self.metered[0]


#: (meter id, measure, start, end) -> Held. A plug-in has this form; `counted` helps it to make the answer.
ReadingsOf = Callable[[str, str, int, int], Held]


def readings_source(name: str) -> ReadingsOf:
    """The source that `metering.readings_source` names: `day-blocks`, or a plug-in `module:function` of the same form.

    Raises BadSettings when the plug-in cannot be loaded.
    """
    if name == "day-blocks":
        return day_blocks
    found: ReadingsOf = plug_in("metering.readings_source", name)
    return found


def find(datasource: str) -> Source | None:
    """The meter that a client knows by this id, or None. Raises StoreUnavailable."""
    with store.reading() as c:
        known = datasources.find(c, datasource)
        row = meters.find(c, known.meter) if known is not None else None
    if row is None:
        return None
    return Source(datasource, row.id, row.fuel, tuple(row.measures), row.outcode, row.scenario)


def asked_of(source: ReadingsOf) -> Callable[[Asked], Held]:
    """`source` as `release` calls it."""
    return lambda asked: source(asked.source.meter, asked.measure, asked.start, asked.end)


def day_blocks(meter: str, measure: str, start: int, end: int) -> Held:
    """From our own table. Raises StoreUnavailable."""
    with store.reading() as c:
        extent = readings.extent(c, synthetic.HOLDER, meter, measure)
        if extent is None:
            return Held()
        first, last = max(start, extent[0]), min(end, extent[1] + DAY)
        if first >= last:
            return Held()
        rows = readings.days(c, synthetic.HOLDER, meter, measure, instant.day_start(first), last)
    return counted({day: bytes(body) for day, body in rows}, first, last)


def counted(days: dict[int, bytes], start: int, end: int) -> Held:
    """Whole day blocks, in order, cut to a window that the meter has been read for."""
    for edge in {instant.day_start(start), instant.day_start(end)} & days.keys():
        days[edge] = slice_block(days[edge], start, end)
    return Held(days, sum(block.count(_ONE_EACH) for block in days.values()), (start, end))


def with_scenarios(source: Callable[[Asked], Held]) -> Callable[[Asked], Held]:
    """`source`, meeting the trouble that the meter's scenario asks for. For the sandbox alone.

    `not_ready`: the first two calls of a grant are told to come back in 5 seconds. `gaps`: half-hours are missing.
    """

    def troubled(asked: Asked) -> Held:
        if asked.source.scenario == "not_ready" and _still_collecting(asked):
            return Held(retry_after=RETRY_AFTER_S)
        held = source(asked)
        return _with_gaps(asked.source.meter, held) if asked.source.scenario == "gaps" else held

    return troubled


def _still_collecting(asked: Asked) -> bool:
    # Counted with the failures of the party, which every process shares. The window is the grant's own end, so that the
    # clean-up of old windows leaves the count alone for as long as the grant lives.
    key = f"not_ready:{asked.account}"
    with store.reading() as c:
        if limits.count(c, key, asked.expires) >= NOT_READY_CALLS:
            return False
    with store.writing() as c:
        return limits.add(c, key, asked.expires) <= NOT_READY_CALLS


def _with_gaps(meter: str, held: Held) -> Held:
    days = dict(held.days)
    for day, block in held.days.items():
        stretch = synthetic.lost(meter, day)
        if stretch is None:
            continue
        kept = (slice_block(block, day, stretch[0]), slice_block(block, stretch[1], day + DAY))
        days[day] = b",".join(filter(None, kept))
    return replace(held, days=days, count=sum(block.count(_ONE_EACH) for block in days.values()))
