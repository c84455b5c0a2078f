"""The readings: half-hours of a meter, with what is known of each.

`Readings` is the interface. Our own table of day blocks is one (`own.OwnReadings`); the setting `metering.readings_source`
names another. docs/metering.md says how to write one, and `consent-server metering check` tries it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from consent_server.scheme import instant, plausible
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.packed import unpack
from consent_server.scheme.provenance.steps import COMPLETE, MISSING, SUBSTITUTED, MeterOrigin
from consent_server.scheme.readings import HalfHour, HalfHours, OutOfOrder, ReadingError, blocks_of, slice_block

# Occurs once in every reading of a day block.
_ONE_EACH: Final = b'"energy":{'


@dataclass(frozen=True)
class ReadingsRequest:
    """The half-hours of one meter that begin at or after `start` and before `end`, both on the half-hour.

    `meter` is the register's id, `measure` import or export. They are wanted under the permission of `account`, which ends
    at `expires`. A window reaches over 400 days at most, and lies within the business's time at the meter.
    """

    meter: str = field(repr=False)
    fuel: str
    measure: str
    start: int
    end: int
    account: str
    expires: int


@dataclass(frozen=True)
class Held:
    """What a source has for a request: make it with `of`, or with `of_days` where the JSON is kept ready.

    `days` are day blocks (scheme.readings) by their midnight, in order, packed (scheme.packed) or not; `count` is the number of
    half-hours in them.
    `metered` is the part (start, end) of the window for which the meter has been read, or None where there is no such
    part: a half-hour of it that is not in `days` is missing, and the provenance says so. `substituted` says that some
    values are estimates. `origin` says what kind of meter and service they come from; None: as the settings say.
    `retry_after` are the seconds to wait while the readings are still being collected; there is then nothing else.
    """

    days: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    count: int = 0
    metered: tuple[int, int] | None = None
    substituted: bool = False
    origin: MeterOrigin | None = None
    retry_after: int | None = None

    def __post_init__(self) -> None:
        """Raise ReadingError for a day outside the metered part, which may be another business's."""
        start, last = self.metered or (0, 0)
        first = instant.day_start(start)
        if any(not first <= day < last for day in self.days):
            raise ReadingError("a day outside what was metered")

    @classmethod
    def of(
        cls,
        request: ReadingsRequest,
        half_hours: Iterable[HalfHour],
        metered: tuple[int, int] | None,
        origin: MeterOrigin | None = None,
    ) -> "Held":
        """Return these half-hours, in any order. One that has no `cumulative` counts on from the one before, from 0. One
        that no meter can have counted (scheme.plausible) is left out, and is then missing.

        Raise ReadingError for one outside the window or the metered part, off the half-hour, given twice, or impossible.
        """
        return cls.of_columns(request, HalfHours.of(half_hours), metered, origin)

    @classmethod
    def of_columns(
        cls,
        request: ReadingsRequest,
        half_hours: HalfHours,
        metered: tuple[int, int] | None,
        origin: MeterOrigin | None = None,
    ) -> "Held":
        """Return the same from columns, which is faster where they are at hand. Raise ReadingError."""
        first, last = metered or (request.start, request.start)
        if not request.start <= first <= last <= request.end:
            raise ReadingError("what was metered is not within the window that was asked for")
        counted = _counted(request.fuel, half_hours)
        try:
            days, _ = blocks_of(request.fuel, counted, 0.0)
        except OutOfOrder:
            counted = counted.in_order()
            days, _ = blocks_of(request.fuel, counted, 0.0)
        if days and not first <= counted.start[0] <= counted.start[-1] < last:
            raise ReadingError("a half-hour outside the window that was asked for, or outside what was metered")
        return cls(days, len(counted.start), metered, any(counted.substituted), origin)

    @classmethod
    def of_days(
        cls,
        days: Mapping[int, bytes],
        metered: tuple[int, int],
        substituted: bool = False,
        origin: MeterOrigin | None = None,
        *,
        counts: Mapping[int, int] | None = None,
    ) -> "Held":
        """Return whole day blocks, in order, cut to the part of the window for which the meter has been read.

        `counts` has the number of half-hours of those days for which it is known, which are then not unpacked to be counted.
        Raise ReadingError for a day outside that part.
        """
        start, end = metered
        cut = dict(days)
        for edge in {instant.day_start(start), instant.day_start(end - 1)} & cut.keys():
            if edge < start or edge + DAY > end:
                cut[edge] = slice_block(unpack(cut[edge], edge), start, end)
        count = sum(
            counts[day] if counts and day in counts and cut[day] is days[day] else unpack(block, day).count(_ONE_EACH)
            for day, block in cut.items()
        )
        return cls(cut, count, metered, substituted, origin)

    @property
    def blocks(self) -> list[bytes]:
        """Return the day blocks as JSON. Raise DamagedBlock."""
        return [unpack(block, day) for day, block in self.days.items()]

    @property
    def missing_data(self) -> str:
        """Return what provenance says: a half-hour is missing of what was metered, or some are estimates, or neither."""
        if self.metered is None or self.count * HALF_HOUR < self.metered[1] - self.metered[0]:
            return MISSING
        return SUBSTITUTED if self.substituted else COMPLETE


def _counted(fuel: str, half_hours: HalfHours) -> HalfHours:
    """Return the half-hours that a meter can have counted. Raise ReadingError for what has no number, or no known fuel."""
    try:
        most = plausible.most_in_half_an_hour(fuel)
        if plausible.all_plausible(fuel, half_hours.value, most):
            return half_hours
        return half_hours.where([plausible.implausible(fuel, each, most) is None for each in half_hours.value])
    except (KeyError, TypeError):
        raise ReadingError("a half-hour of a fuel that is not known, or whose value is no number") from None


class Readings(Protocol):
    """What the meters counted. Each method may raise SourceUnavailable: the client then gets 503, and tries again."""

    def half_hours(self, request: ReadingsRequest) -> Held:
        """Return the half-hours of a request; `Held()` where there are none, for a meter that is not known as well.

        Electricity is energy in watt-hours, gas is volume in cubic metres, as the meter counted it: no value is made up for
        a half-hour that is missing. Instants are UTC; a day has 48 half-hours whatever the local clock does.
        """

    def begin(self, meters: Collection[str]) -> Mapping[str, int]:
        """Return meter -> the first instant from which there are readings of it, for those of which there are any."""
