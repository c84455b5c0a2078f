"""Instants as files write them: with a zone, or in the local time of a given zone."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from consent_server.metering.importing.report import LineRefused
from consent_server.scheme.instant import HALF_HOUR

#: Times recur from meter to meter, so each is read once; the cache is emptied when it is full.
_MOST_CACHED: Final = 200_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_MIDNIGHT: Final = "T00:00"


class Doubled(NamedTuple):
    """A local time that came twice, since the clock was put back: the two instants, and what its hour has in common."""

    hour: int
    first: int
    second: int


class Times:
    """Reads times. `zone` is that of times that name none; `ends` says that a row is named by the end of its half-hour."""

    def __init__(self, zone: str = "", ends: bool = False) -> None:
        self.zone = ZoneInfo(zone) if zone else None
        self.back = HALF_HOUR if ends else 0
        self._read: dict[object, int | Doubled] = {}

    def start(self, written: object) -> int | Doubled:
        """Return when the half-hour begins that a row names. Raise LineRefused."""
        found = self._read.get(written)
        if found is None:
            found = self._kept(written, self._on_the_half_hour(self.at(written)))
        return found

    def at(self, written: object) -> int | Doubled:
        """Return the instant that was written. Raise LineRefused."""
        if type(written) is int:  # a column of instants, of which the reader has made seconds
            return written
        if not isinstance(written, str) or len(written) < 16 or written[10] not in "Tt " or not written.isascii():
            raise LineRefused("the time is not written as 2026-03-12T09:30:00Z")
        try:
            found = datetime.fromisoformat(written)
            return self._local(found) if found.tzinfo is None else _seconds(found)
        except (ValueError, OverflowError):
            raise LineRefused("the time is not written as 2026-03-12T09:30:00Z, or does not exist") from None

    def of_period(self, date: object, period: object) -> int:
        """Return when a settlement period begins: the n-th half-hour of a local day, which has 46, 48 or 50 of them."""
        key = (date, period)
        found = self._read.get(key)
        if isinstance(found, int):
            return found
        number = str(period)
        if (
            not isinstance(date, str)
            or len(date) != 10
            or not (number.isascii() and number.isdigit() and len(number) < 3)
        ):
            raise LineRefused("the settlement date or period is not written as 2026-03-12 and 19")
        midnight = self.at(date + _MIDNIGHT)
        if isinstance(midnight, Doubled):
            raise LineRefused("the local day begins twice")
        start = midnight + (int(number) - 1) * HALF_HOUR
        if not midnight <= start or self._day_of(start) != date:
            raise LineRefused("the local day has no such settlement period")
        self._kept(key, start)
        return start

    def _kept(self, written: object, found: int | Doubled) -> int | Doubled:
        if len(self._read) >= _MOST_CACHED:
            self._read.clear()
        self._read[written] = found
        return found

    def _day_of(self, at: int) -> str:
        return f"{datetime.fromtimestamp(at, self.zone or UTC):%Y-%m-%d}"

    def _local(self, found: datetime) -> int | Doubled:
        if self.zone is None:
            raise LineRefused("the time names no zone, and --zone was not given")
        first, second = (_seconds(found.replace(tzinfo=self.zone, fold=fold)) for fold in (0, 1))
        if first == second:
            return first
        if first > second:
            raise LineRefused("the local clock was put forward over this time")
        return Doubled(first // 3600, first, second)

    def _on_the_half_hour(self, at: int | Doubled) -> int | Doubled:
        first = at.first if isinstance(at, Doubled) else at
        if first % HALF_HOUR:
            raise LineRefused("the time is not on the hour or the half-hour")
        if isinstance(at, Doubled):
            return Doubled(at.hour, at.first - self.back, at.second - self.back)
        return at - self.back


def _seconds(found: datetime) -> int:
    whole, rest = divmod(found - _EPOCH, _SECOND)
    if rest:
        raise LineRefused("the time has a fraction of a second")
    return whole
