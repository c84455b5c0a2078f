"""Grid intensity in the shape of the Carbon Intensity API, faults included.

Deterministic: a region and a half-hour always give the same grams of CO2 per kilowatt-hour. It has the faults that deployed
clients have met: a window of 14 days is already too long, the first slot ends at `from`, some outcodes
are not found, and one postcode has the right name with a region id that is off by one.
"""

import hashlib
import math
import re
from datetime import UTC, datetime
from typing import Any, Final

from flask import Blueprint, Response

from consent_server.sandbox.publishing import answered, published
from consent_server.scheme.instant import DAY, HALF_HOUR

_TOO_LONG: Final = 14 * DAY
_MAX_AGE: Final = 300

# region id -> (operator, short name, mean g/kWh): wind and hydro in the north, gas and imports further south.
REGIONS: Final = {
    1: ("Scottish Hydro Electric Power Distribution", "North Scotland", 45),
    2: ("SP Distribution", "South Scotland", 55),
    3: ("Electricity North West", "North West England", 110),
    4: ("NPG North East", "North East England", 60),
    5: ("NPG Yorkshire", "Yorkshire", 165),
    6: ("SP Manweb", "North Wales & Merseyside", 140),
    7: ("WPD South Wales", "South Wales", 260),
    8: ("WPD West Midlands", "West Midlands", 170),
    9: ("WPD East Midlands", "East Midlands", 230),
    10: ("UKPN East", "East England", 145),
    11: ("WPD South West", "South West England", 195),
    12: ("SSE South", "South England", 185),
    13: ("UKPN London", "London", 150),
    14: ("UKPN South East", "South East England", 135),
    15: ("England", "England", 160),
    16: ("Scotland", "Scotland", 52),
    17: ("Wales", "Wales", 205),
}

# Postcode areas by region: near enough for made-up businesses. Northern Ireland is on another grid.
_AREAS: Final = {
    1: "AB DD HS IV KW PH ZE",
    2: "DG EH FK G KA KY ML PA TD",
    3: "BB BL CA FY LA M OL PR SK WN",
    4: "DH DL NE SR TS",
    5: "BD DN HD HG HU HX LS S WF YO",
    6: "CH CW L LL WA",
    7: "CF LD NP SA",
    8: "B DY GL HR ST SY TF WR WS WV",
    9: "CV DE LE LN MK NG NN",
    10: "AL CB CM CO EN HA IP LU NR PE SG SS WD",
    11: "BA BS EX PL TA TQ TR",
    12: "BH DT GU HP OX PO RG SL SN SO SP TW UB",
    13: "BR CR DA E EC IG KT N NW RM SE SM SW W WC",
    14: "BN CT ME RH TN",
}
_REGION_OF_AREA: Final = {area: region for region, areas in _AREAS.items() for area in areas.split()}

_OUTCODE: Final = re.compile(r"([A-Z]{1,2})[0-9][0-9A-Z]?")
_NOT_FOUND: Final = frozenset({"W2", "W3", "W7"})
_WRONG_ID: Final = {"BN3": 13}

_BANDS: Final = ((35, "very low"), (110, "low"), (190, "moderate"), (270, "high"))

# Shares of the mix at a mean intensity; the fossil share moves with the half-hour.
_CLEAN: Final = (("wind", 46), ("nuclear", 24), ("solar", 12), ("hydro", 6), ("biomass", 12))


routes = Blueprint("intensity", __name__, url_prefix="/intensity")


def region_of(outcode: str) -> int | None:
    """Return the region id that an outcode lies in; None where the API finds no match."""
    match = _OUTCODE.fullmatch(outcode)
    return None if match is None or outcode in _NOT_FOUND else _REGION_OF_AREA.get(match[1])


def forecast(region: int, start: int) -> int:
    """Return grams of CO2 per kWh in a region for the half-hour that begins at `start`."""
    mean = REGIONS[region][2]
    day, into_day = divmod(start, DAY)
    hour = into_day / 3600
    season = 1 + 0.18 * math.cos(2 * math.pi * (day % 365.25 - 15) / 365.25)
    # A morning rise, an evening peak, and quiet nights.
    shape = 1 + 0.16 * math.exp(-(((hour - 8) / 2) ** 2)) + 0.24 * math.exp(-(((hour - 18.5) / 2.5) ** 2))
    night = 1 - 0.18 * math.exp(-(((hour - 3.5) / 2.5) ** 2))
    today, tomorrow = _wind(region, day), _wind(region, day + 1)
    wind = today + (tomorrow - today) * into_day / DAY
    return max(1, round(mean * season * shape * night * wind))


def series(region: int, first: int, last: int) -> list[dict[str, Any]]:
    """Return the slots from the one that ends at `first` (rounded down to a half-hour) to the one that ends at `last`."""
    slots = []
    for start in range(first - first % HALF_HOUR - HALF_HOUR, last - last % HALF_HOUR, HALF_HOUR):
        value = forecast(region, start)
        slots.append(
            {
                "from": _text(start),
                "to": _text(start + HALF_HOUR),
                "intensity": {"forecast": value, "index": _index(value)},
                "generationmix": _mix(value),
            }
        )
    return slots


@routes.get("/regional/intensity/<first>/<last>/postcode/<outcode>")
def by_postcode(first: str, last: str, outcode: str) -> Response:
    region = region_of(outcode)
    if region is None:
        return _bad("No postcode match can be found.")
    return _answer(region, first, last, {"regionid": _WRONG_ID.get(outcode, region), "postcode": outcode})


@routes.get("/regional/intensity/<first>/<last>/regionid/<int:region>")
def by_region(first: str, last: str, region: int) -> Response:
    if region not in REGIONS:
        return _bad("Please enter a valid region ID i.e. 1-17.")
    return _answer(region, first, last, {"regionid": region})


def _answer(region: int, first: str, last: str, head: dict[str, Any]) -> Response:
    start, end = _instant(first), _instant(last)
    if start is None or end is None:
        return _bad("Please enter a valid date in ISO8601 format YYYY-MM-DDThh:mmZ.")
    if end <= start:
        return _bad("The end of the window must be after its start.")
    if end - start >= _TOO_LONG:
        return _bad("The window must be shorter than 14 days.")
    operator, name, _ = REGIONS[region]
    head |= {"dnoregion": operator, "shortname": name, "data": series(region, start, end)}
    return published({"data": head}, max_age=_MAX_AGE)


def _bad(message: str) -> Response:
    return answered({"error": {"code": "400 Bad Request", "message": message}}, 400)


def _instant(text: str) -> int | None:
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def _text(instant: int) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _wind(region: int, day: int) -> float:
    """Return a day's weather in a region as a factor: from 0.55 (a gale) to 1.45 (a calm)."""
    digest = hashlib.sha256(f"{region}:{day}".encode("ascii")).digest()
    return 0.55 + 0.9 * digest[0] / 255


def _index(value: int) -> str:
    return next((name for bound, name in _BANDS if value < bound), "very high")


def _mix(value: int) -> list[dict[str, Any]]:
    gas = min(100.0, round(value / 3.94, 1))  # gas alone: about 394 g/kWh
    rest = 100.0 - gas
    return [{"fuel": "gas", "perc": gas}, *({"fuel": fuel, "perc": round(rest * s / 100, 1)} for fuel, s in _CLEAN)]
