"""The client of the Carbon Intensity API, with its known faults.

Values are forecasts in gCO2/kWh for one half hour of one region. They are kept by region in aligned pieces of 13 days,
because a longer query is refused, and so that all meters of one region share them.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import orjson

from consent_server import clock
from consent_server.outbound.cache import FOR_EVER, Cache, Copy
from consent_server.outbound.errors import BadAnswer
from consent_server.outbound.fields import OUTCODE
from consent_server.outbound.session import MIB, Session
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.meters import REGIONS
from consent_server.settings import Settings

WINDOW = 13 * DAY
_LIMIT = 2 * MIB
_ATTEMPTS = 4
_SETTLED_S = 2 * DAY  # a piece that ended this long ago is complete or will never be


class RegionUnknown(Exception):
    """The outcode belongs to no region of Great Britain's grid."""


class Intensity:
    """`pause_s` passes between two calls; `retry_s` is the first pause after a fault, doubled each time."""

    def __init__(
        self, settings: Settings, session: Session, cache: Cache, *, pause_s: float = 0.2, retry_s: float = 1.0
    ) -> None:
        self._base = settings.collection.intensity.rstrip("/")
        self._session = session
        self._cache = cache
        self._pause_s = pause_s
        self._retry_s = retry_s
        self._spacing = threading.Lock()

    def series(self, start: int, end: int, *, outcode: str | None) -> dict[int, float]:
        """Return {start of half hour: gCO2/kWh} for start <= half hour < end, without those that the API lacks.

        Raise RegionUnknown, Unreachable.
        """
        if start >= end:
            return {}
        region = self.region_of(outcode)
        values: dict[int, float] = {}
        for piece in range(start - start % WINDOW, end, WINDOW):
            values.update(self._piece(region, piece, max(start, piece), min(end, piece + WINDOW)))
        return {at: value for at, value in sorted(values.items()) if start <= at < end}

    def region_of(self, outcode: str | None) -> int:
        """Return the region of an outcode, by the name in the API's response, whose number may be off by one.

        Raise RegionUnknown, at once for Northern Ireland, which has a grid of its own; and Unreachable.
        """
        if outcode is None or not OUTCODE.fullmatch(outcode):
            raise RegionUnknown("no outcode from which the region could be found")
        if outcode.startswith("BT"):
            raise RegionUnknown("Northern Ireland has no region in the Carbon Intensity API")
        name = f"intensity region {outcode}"
        if (kept := self._cache.get(name)) is not None:
            return int(kept.body)
        since = instant.day_start(clock.now()) - DAY
        answer = self._ask(f"{_times(since, since + HALF_HOUR)}/postcode/{outcode}", missing_is_none=True)
        region = _BY_NAME.get(_plain(_region(answer).get("shortname")))
        if region is None:
            raise RegionUnknown("the Carbon Intensity API has no region for the outcode")
        self._keep(name, str(region).encode("ascii"))
        return region

    def _piece(self, region: int, piece: int, start: int, end: int) -> dict[int, float]:
        name = f"intensity {region} {piece}"
        settled = piece + WINDOW + _SETTLED_S < clock.now()
        if settled:
            if (kept := self._cache.get(name)) is not None:
                return {int(at): value for at, value in orjson.loads(kept.body).items()}
            start, end = piece, piece + WINDOW
        answer = self._ask(f"{_times(start, end)}/regionid/{region}")
        # The first half hour of a response ends where the query begins: it is outside the query.
        values = {at: value for at, value in _half_hours(_region(answer)) if start <= at < end}
        if settled and len(values) == WINDOW // HALF_HOUR:
            self._keep(name, orjson.dumps({str(at): value for at, value in values.items()}))
        return values

    def _ask(self, path: str, *, missing_is_none: bool = False) -> Any:
        """Return `data` of the response, or None where a 400 says that there is none. Try again after 5xx and `{}`."""
        pause_s = self._retry_s
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(pause_s)
                pause_s *= 2
            with self._spacing:  # collections run side by side, and the pause is between the calls of all of them
                time.sleep(self._pause_s)
            answer = self._session.get(f"{self._base}/regional/intensity/{path}", limit=_LIMIT, configured=True)
            if missing_is_none and answer.status == 400:
                return None
            if answer.status < 500:
                data = answer.must_be(200).object().get("data")
                if data:
                    return data
        raise BadAnswer("no data", answer.host, answer.status)

    def _keep(self, name: str, body: bytes) -> None:
        now = clock.now()
        self._cache.put(name, Copy(body, {}, now, now + FOR_EVER))


def _region(data: Any) -> dict[str, Any]:
    """Return the one region: the documentation shows `data` as a list, the live service has sent an object."""
    found = data[0] if isinstance(data, list) and data else data
    return found if isinstance(found, dict) else {}


def _half_hours(region: dict[str, Any]) -> list[tuple[int, float]]:
    listed = region.get("data")
    found = []
    for each in listed if isinstance(listed, list) else []:
        try:
            start, forecast = _instant(each["from"]), each["intensity"]["forecast"]
        except (KeyError, TypeError, ValueError):
            continue
        # A half hour without a forecast is a gap: its month is then not complete.
        if isinstance(forecast, int | float) and not isinstance(forecast, bool) and forecast >= 0:
            found.append((start, float(forecast)))
    return found


def _times(start: int, end: int) -> str:
    return "/".join(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ") for at in (start, end))


def _instant(value: str) -> int:
    return int(datetime.strptime(value, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp())


def _plain(name: object) -> str:
    # Spellings differ: "&" or "and", with or without "England" at the end.
    return " ".join(str(name).casefold().replace("&", "and").split()).removesuffix(" england")


_BY_NAME = {_plain(name): region for region, name in REGIONS.items()}
