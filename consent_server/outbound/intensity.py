"""The client of the Carbon Intensity API, with its known faults.

Values are forecasts in gCO2/kWh for one half hour of one region. They are kept by region and day, so that every meter of a
region shares them, and so that a fetch that was broken off goes on where it stopped. A day is final once it was fetched whole
after its end; until then it is fetched again, an hour later at the earliest.
"""

import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from consent_server import clock
from consent_server.outbound.back_off import back_off
from consent_server.outbound.cache import Cache, Copy
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.outbound.fields import OUTCODE
from consent_server.outbound.session import MIB, Session
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.regions import REGIONS
from consent_server.settings import Settings

log = logging.getLogger("consent_server.outbound")

#: A query for 14 days is refused.
LONGEST: Final = 13 * DAY
#: How long a day that is not final is good enough.
AGAIN_S: Final = 3600
_REGION_S: Final = 30 * DAY  # how long the region of an outcode is kept; if there is none, a day
_LIMIT: Final = 2 * MIB
_ATTEMPTS: Final = 4
_REST_S: Final = 60
_LONGEST_REST_S: Final = 3600


@dataclass(frozen=True)
class GridDay:
    """A region's 48 half-hours from `day` (midnight UTC) on, in gCO2/kWh, as fetched at `fetched`; NaN where there is none."""

    region: int
    day: int
    fetched: int
    values: tuple[float, ...]

    def is_good(self, at: int) -> bool:
        """Return whether the day need not be fetched again yet."""
        final = self.fetched >= self.day + DAY and not any(map(math.isnan, self.values))
        return final or 0 <= at - self.fetched < AGAIN_S


class GridDays(Protocol):
    """Where days are kept."""

    def get(self, region: int, start: int, end: int) -> list[GridDay]: ...
    def put(self, days: Sequence[GridDay]) -> None: ...


class Intensity:
    """`pause_s` passes between two calls; `retry_s` is the first pause after a fault, doubled each time.

    When attempts in a row have failed, or the API asks for it (Retry-After), no call is made for a while.
    """

    def __init__(
        self,
        settings: Settings,
        session: Session,
        cache: Cache,
        days: GridDays,
        *,
        pause_s: float = 0.2,
        retry_s: float = 1.0,
    ) -> None:
        self._base = settings.collection.intensity.rstrip("/")
        self._session = session
        self._cache = cache
        self._days = days
        self._pause_s = pause_s
        self._retry_s = retry_s
        self._calling = threading.Lock()
        self._failures = 0
        self._resumes = 0

    def kept(self, region: int, start: int, end: int) -> dict[int, float]:
        """Return {start of half hour: gCO2/kWh} for start <= half hour < end, of what was fetched; without a call."""
        return {
            at: value
            for day in self._days.get(region, instant.day_start(start), end)
            for at, value in zip(range(day.day, day.day + DAY, HALF_HOUR), day.values, strict=True)
            if start <= at < end and not math.isnan(value)
        }

    def fetch(self, region: int, start: int, end: int) -> None:
        """Fetch the days of [start, end) that are not there or may change, and keep each answer. Raise Unreachable."""
        at = clock.now()
        start = instant.day_start(start)
        good = {each.day for each in self._days.get(region, start, end) if each.is_good(at)}
        for first, last in _spans([day for day in range(start, end, DAY) if day not in good]):
            answer = self._ask(f"{_times(first, last)}/regionid/{region}")
            values = dict(_half_hours(_region(answer)))
            self._days.put(
                [
                    GridDay(
                        region,
                        day,
                        clock.now(),
                        tuple(values.get(slot, math.nan) for slot in range(day, day + DAY, HALF_HOUR)),
                    )
                    for day in range(first, last, DAY)
                ]
            )

    def has_looked_up(self, outcode: str) -> bool:
        """Return whether `region_of` would return without a call."""
        return not OUTCODE.fullmatch(outcode) or self._looked_up(outcode) is not None

    def region_of(self, outcode: str) -> int | None:
        """Return the region of an outcode, by the name in the API's response, whose number may be off by one.

        None where the API has no region for it. Raise Unreachable.
        """
        if not OUTCODE.fullmatch(outcode):
            return None
        kept = self._looked_up(outcode)
        if kept is not None:
            return int(kept.body) or None
        now = clock.now()
        since = instant.day_start(now) - DAY
        answer = self._ask(f"{_times(since, since + HALF_HOUR)}/postcode/{outcode}", missing_is_none=True)
        region = _BY_NAME.get(_plain(_region(answer).get("shortname")))
        copy = Copy(b"%d" % (region or 0), {}, now, now + (_REGION_S if region else DAY))
        self._cache.put(_region_name(outcode), copy)
        return region

    def _looked_up(self, outcode: str) -> Copy | None:
        kept = self._cache.get(_region_name(outcode))
        return kept if kept is not None and kept.is_fresh(clock.now()) else None

    def _ask(self, path: str, *, missing_is_none: bool = False) -> Any:
        """Return `data` of the response, or None where a 400 says that there is none. Raise Unreachable.

        Try again after 5xx and `{}`, but not when a time to wait is named. One call at a time, for all threads.
        """
        with self._calling:
            self._rest()
            try:
                found = self._attempts(path, missing_is_none)
            except Unreachable as error:
                rest_s = max(back_off(self._failures, _REST_S, _LONGEST_REST_S), error.retry_after)
                self._failures += 1
                self._resumes = clock.now() + rest_s
                log.warning("grid intensity: %s; the API is left alone for %s s", error, rest_s)
                raise
            self._failures = 0
            return found

    def _rest(self) -> None:
        left = self._resumes - clock.now()
        if 0 < left <= max(_LONGEST_REST_S, DAY):
            raise BadAnswer("left alone", urlsplit(self._base).hostname or "-", retry_after=left)

    def _attempts(self, path: str, missing_is_none: bool) -> Any:
        pause_s = self._retry_s
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(pause_s)
                pause_s *= 2
            time.sleep(self._pause_s)
            answer = self._session.get(f"{self._base}/regional/intensity/{path}", limit=_LIMIT, configured=True)
            if missing_is_none and answer.status == 400:
                return None
            if answer.status < 500 or answer.retry_after():
                data = answer.must_be(200).object().get("data")
                if data:
                    return data
        raise BadAnswer("no data", answer.host, answer.status)


def _spans(days: Sequence[int]) -> list[tuple[int, int]]:
    """Return days in order as the fewest queries that the API takes: first day, and the end of the last."""
    spans: list[tuple[int, int]] = []
    for day in days:
        first, end = spans[-1] if spans else (day, None)
        if day == end and day + DAY - first <= LONGEST:
            spans[-1] = (first, day + DAY)
        else:
            spans.append((day, day + DAY))
    return spans


def _region_name(outcode: str) -> str:
    return f"intensity region {outcode}"


def _region(data: Any) -> dict[str, Any]:
    """Return the one region: the documentation shows `data` as a list, the live service has sent an object."""
    found = data[0] if isinstance(data, list) and data else data
    return found if isinstance(found, dict) else {}


def _half_hours(region: dict[str, Any]) -> list[tuple[int, float]]:
    """Return what a response has. Its first half hour ends where the query begins: no day that was asked for has it."""
    listed = region.get("data")
    found = []
    for each in listed if isinstance(listed, list) else []:
        try:
            start, forecast = _instant(each["from"]), each["intensity"]["forecast"]
        except (KeyError, TypeError, ValueError):
            continue
        # A half hour without a forecast is a gap: its month is then not complete.
        if isinstance(forecast, int | float) and not isinstance(forecast, bool) and 0 <= forecast < math.inf:
            found.append((start, float(forecast)))
    return found


def _times(start: int, end: int) -> str:
    return "/".join(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ") for at in (start, end))


def _instant(value: object) -> int:
    return instant.parse(str(value).replace("Z", ":00Z"))  # they are without seconds


def _plain(name: object) -> str:
    # Spellings differ: "&" or "and", with or without "England" at the end.
    return " ".join(str(name).casefold().replace("&", "and").split()).removesuffix(" england")


_BY_NAME = {_plain(name): region for region, name in REGIONS.items()}
