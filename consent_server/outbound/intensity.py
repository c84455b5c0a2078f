"""Grid intensity from the Carbon Intensity API, with its known faults (brief 8.1).

Values are forecasts in gCO2/kWh for one half hour of one region. The series are kept by region in aligned pieces of 13
days (a longer question is refused), so that meters of one region share them, whatever months they are asked for.
"""

import threading
from datetime import UTC, datetime
from typing import Any

import orjson

from consent_server import clock
from consent_server.outbound.cache import FOR_EVER, Cache, Kept
from consent_server.outbound.errors import BadAnswer
from consent_server.outbound.fields import OUTCODE
from consent_server.outbound.session import MIB, Session
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.meters import REGIONS
from consent_server.settings import Settings

WINDOW = 13 * DAY
_LIMIT = 2 * MIB
_ATTEMPTS = 4
_SETTLED_S = 2 * DAY  # a piece that ended this long ago is complete or will never be
_NORTHERN_IRELAND = "BT"


class RegionUnknown(Exception):
    """Neither the outcode nor the meter number tells a region of Great Britain's grid."""


class Intensity:
    """`pause_s` is the politeness between two calls; `retry_s` the first pause after a fault, doubled each time."""

    def __init__(
        self, settings: Settings, session: Session, cache: Cache, *, pause_s: float = 0.2, retry_s: float = 1.0
    ) -> None:
        self._base = settings.collection.intensity.rstrip("/")
        self._session = session
        self._cache = cache
        self._pause_s = pause_s
        self._retry_s = retry_s

    def series(self, start: int, end: int, *, outcode: str | None, region: int | None = None) -> dict[int, float]:
        """{start of half hour: gCO2/kWh} for start <= half hour < end. What the API does not have is left out.

        The outcode tells the region; `region` (of the meter number) is the fallback. Raises RegionUnknown, Unreachable.
        """
        if start >= end:
            return {}
        found = self.region_of(outcode, region)
        values: dict[int, float] = {}
        for piece in range(start - start % WINDOW, end, WINDOW):
            values.update(self._piece(found, piece, max(start, piece), min(end, piece + WINDOW)))
        return {at: value for at, value in sorted(values.items()) if start <= at < end}

    def region_of(self, outcode: str | None, fallback: int | None = None) -> int:
        """The region of an outcode, by the name that the API gives it: its number may be off by one.

        Raises RegionUnknown, and at once for Northern Ireland, which has a grid of its own.
        """
        if outcode is not None and outcode.startswith(_NORTHERN_IRELAND):
            raise RegionUnknown("Northern Ireland has no region in the Carbon Intensity API")
        try:
            found = self._region_by_name(outcode) if outcode is not None and OUTCODE.fullmatch(outcode) else None
        except BadAnswer:
            if fallback is None:
                raise
            found = None
        region = found or fallback
        if region is None or region not in REGIONS:
            raise RegionUnknown("neither the outcode nor the meter number tells the region")
        return region

    def _region_by_name(self, outcode: str) -> int | None:
        name = f"intensity region {outcode}"
        kept = self._cache.get(name)
        if kept is not None:
            return int(kept.body)
        since = clock.now() - clock.now() % DAY - DAY
        answer = self._ask(f"{_times(since, since + HALF_HOUR)}/postcode/{outcode}", missing_is_none=True)
        region = _BY_NAME.get(_plain(_region(answer).get("shortname"))) if answer is not None else None
        if region is not None:
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
        # The first half hour of an answer ends where the question begins: it is not part of what was asked.
        values = {at: value for at, value in _half_hours(_region(answer)) if start <= at < end}
        if settled and len(values) == WINDOW // HALF_HOUR:
            self._keep(name, orjson.dumps({str(at): value for at, value in values.items()}))
        return values

    def _ask(self, path: str, *, missing_is_none: bool = False) -> Any:
        """The `data` of an answer; None where a 400 says that there is none. Sporadic 5xx and `{}` are tried again."""
        pause_s = self._retry_s
        for attempt in range(_ATTEMPTS):
            _wait(pause_s if attempt else self._pause_s)
            pause_s *= 2 if attempt else 1
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
        self._cache.put(name, Kept(body, {}, now, now + FOR_EVER))


def _region(data: Any) -> dict[str, Any]:
    """The one region: the documentation shows `data` as a list, the live service has sent an object."""
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
        # A half hour without a forecast is a gap, and a gap is for the sums to see.
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


def _wait(seconds: float) -> None:
    if seconds > 0:
        threading.Event().wait(seconds)


_BY_NAME = {_plain(name): region for region, name in REGIONS.items()}
