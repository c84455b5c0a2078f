"""Synthetic half-hourly readings of a made-up business, its weather and its solar roof.

The same meter reads the same on the same day wherever and whenever it is made: every number comes from the SHA-256 family
over the meter's id and the day, never from a random generator with a state. Electricity in whole watt-hours (WHR), gas
in cubic metres with three decimals (MTQ). The shape has a day (opening hours), a week (closed or quiet at weekends), a
season (daylight, heating) and weather, which all meters of one postcode area share. A meter's register counts on from its
installation on 1 January 2024.
"""

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import shake_128
from typing import Final

from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.scheme.readings import HALF_HOURS_A_DAY, day_block
from consent_server.store import Connection, readings
from consent_server.store.tables.metering import Meter

MONTHS: Final = 14
INSTALLED: Final = 1_704_067_200  # 2024-01-01T00:00:00Z

_YEAR: Final = 365.25
_HEATED_BELOW: Final = 15.5  # °C: above it a building needs no heating (the degree-day base used in the UK)
_COOLED_ABOVE: Final = 19.0
_DRAWS: Final = struct.Struct(f">{HALF_HOURS_A_DAY}H")
_BITS: Final = 65535


@dataclass(frozen=True)
class _Trade:
    """A kind of business: its open hours on a working day and at the weekend, and what it uses.

    Electricity in WHR for each half-hour: always on, while open, and for lighting an open and dark half-hour. Heat and
    hot water in MTQ of gas: per degree and open half-hour, and per open half-hour.
    """

    opens: float
    closes: float
    saturday: float
    sunday: float
    base: float
    active: float
    lighting: float
    heat: float
    hot_water: float


_TRADES: Final = (
    _Trade(8.5, 18.0, 0.10, 0.05, base=420, active=2600, lighting=900, heat=0.055, hot_water=0.04),  # office
    _Trade(9.0, 20.0, 1.00, 0.70, base=900, active=1900, lighting=1500, heat=0.045, hot_water=0.05),  # shop
    _Trade(4.0, 14.5, 1.00, 0.60, base=700, active=3800, lighting=500, heat=0.020, hot_water=0.60),  # bakery
    _Trade(7.0, 17.0, 0.40, 0.05, base=650, active=5200, lighting=1100, heat=0.080, hot_water=0.08),  # workshop
)


@dataclass(frozen=True)
class Supply:
    """What decides a meter's readings: its own id, the business it belongs to, its fuel and where it is."""

    meter: str
    sme: str
    fuel: str
    outcode: str


def span(now: int) -> tuple[int, int]:
    """Return the period that readings cover: 14 months up to the last midnight (UTC), as (start, end)."""
    end = instant.day_start(now)
    return instant.months_later(end, -MONTHS), end


def day_values(supply: Supply, measure: str, day: int) -> list[float]:
    """Return the 48 half-hours of one day (midnight UTC): import in the fuel's unit, or export of a solar roof in WHR."""
    if measure == "export":
        return _roof(supply, day)
    return _gas(supply, day) if supply.fuel == "gas" else _electricity(supply, day)


def day_blocks(supply: Supply, measure: str, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (day, day block) for every day from `start` to before `end`, midnights UTC."""
    register = math.fsum(sum(day_values(supply, measure, day)) for day in range(min(INSTALLED, start), start, DAY))
    for day in range(start, end, DAY):
        values = day_values(supply, measure, day)
        yield day, day_block(supply.fuel, day, values, round(register, 3))
        register += sum(values)


def fill(c: Connection, meters: Iterable[Meter], now: int) -> int:
    """Give each meter of the register (store rows) its readings up to the last midnight; return the days written.

    Days that a meter has already are left as they are, so that a sandbox kept overnight continues.
    """
    start, end = span(now)
    written = 0
    for row in meters:
        supply = Supply(row.id, row.sme, row.fuel, row.outcode)
        for measure in row.measures:
            held = readings.extent(c, readings.EDP, row.id, measure)
            first = max(start, held[1] + DAY) if held else start
            days = dict(day_blocks(supply, measure, first, end))
            readings.put_days(c, readings.EDP, row.id, measure, days)
            written += len(days)
    return written


def lost(meter: str, day: int) -> tuple[int, int] | None:
    """Return the part (start, end) of a day whose readings never arrived, for a meter that meets the scenario `gaps`.

    January, March and so on lose some hours of the 9th and all of the 17th; the months between are whole, so that a
    report over such a meter has both kinds.
    """
    month = instant.month_start(day)
    if (day - month) // DAY + 1 not in (9, 17) or _month_number(month) % 2 == 0:
        return None
    if (day - month) // DAY + 1 == 17:
        return day, day + DAY
    first = _draws("gap", meter, day)[0] % 40
    return day + first * instant.HALF_HOUR, day + (first + 7) * instant.HALF_HOUR


# The business


def _electricity(supply: Supply, day: int) -> list[float]:
    trade, size = _trade(supply.sme), _size(supply.meter)
    warmth, dark, open_ = _temperatures(supply.outcode, day), _darkness(day), _open_hours(trade, _weekday(day))
    base, active, lighting = trade.base * size, trade.active * size, trade.lighting * size
    return [
        round(
            (
                base
                + open_[slot]
                * (active + lighting * dark[slot] + 0.04 * active * max(0.0, warmth[slot] - _COOLED_ABOVE))
            )
            * (0.85 + 0.3 * draw / _BITS)
        )
        for slot, draw in enumerate(_draws("import", supply.meter, day))
    ]


def _gas(supply: Supply, day: int) -> list[float]:
    trade, size = _trade(supply.sme), _size(supply.meter)
    warmth, open_ = _temperatures(supply.outcode, day), _open_hours(trade, _weekday(day))
    heat, hot_water = trade.heat * size, trade.hot_water * size
    return [
        # A closed building is kept from freezing: a tenth of the heat that it has while open.
        round(
            (heat * max(0.0, _HEATED_BELOW - warmth[slot]) * (0.1 + 0.9 * open_[slot]) + hot_water * open_[slot])
            * (0.8 + 0.4 * draw / _BITS),
            3,
        )
        for slot, draw in enumerate(_draws("import", supply.meter, day))
    ]


def _roof(supply: Supply, day: int) -> list[float]:
    """Return solar export in WHR: what the roof gives under the day's clouds, less what the business uses."""
    peak = 9000 * _size(supply.meter)
    clear = 0.25 + 0.75 * _unit("cloud", supply.outcode, day)
    own_use = 0.5 if _weekday(day) < 5 else 0.15
    return [
        round(max(0.0, peak * sun * clear * (0.7 + 0.3 * draw / _BITS) - own_use * peak * 0.3))
        for sun, draw in zip(_sunlight(day), _draws("export", supply.meter, day), strict=True)
    ]


@lru_cache(maxsize=256)
def _trade(sme: str) -> _Trade:
    return _TRADES[shake_128(f"trade|{sme}".encode()).digest(1)[0] % len(_TRADES)]


@lru_cache(maxsize=1024)
def _size(meter: str) -> float:
    """Return how big the site is, from 0.6 to 1.8 of its kind."""
    return 0.6 + 1.2 * _unit("size", meter, 0)


@lru_cache(maxsize=64)
def _open_hours(trade: _Trade, weekday: int) -> tuple[float, ...]:
    """Return how much of the business is at work in each half-hour, 0 to 1; the first and last hour are half-staffed."""
    share = {5: trade.saturday, 6: trade.sunday}.get(weekday, 1.0)
    hours = (slot / 2 + 0.25 for slot in range(HALF_HOURS_A_DAY))
    return tuple(share * max(0.0, min(1.0, 0.5 + hour - trade.opens, 0.5 + trade.closes - hour)) for hour in hours)


# The sky. Times are UTC, which is close enough to the sun in Great Britain.


@lru_cache(maxsize=2048)
def _temperatures(outcode: str, day: int) -> tuple[float, ...]:
    """Return °C in each half-hour: the season, a spell of weather that lasts some days, the day's own, coldest at 05:00."""
    season = 10.5 - 6.8 * math.cos(2 * math.pi * (_day_of_year(day) - 20) / _YEAR)
    spell, through = divmod(day // DAY, 5)
    before, after = _unit("spell", outcode, spell), _unit("spell", outcode, spell + 1)
    mean = season + 7 * (before + (after - before) * through / 5 - 0.5) + 2.4 * (_unit("day", outcode, day) - 0.5)
    return tuple(mean - 3 * wave for wave in _DAILY_WAVE)


_DAILY_WAVE: Final = tuple(math.cos(2 * math.pi * (slot / 2 + 0.25 - 5) / 24) for slot in range(HALF_HOURS_A_DAY))


@lru_cache(maxsize=2048)
def _sunlight(day: int) -> tuple[float, ...]:
    """Return the sun's strength in each half-hour without clouds: 0 to 1, which is noon in June."""
    season = math.cos(2 * math.pi * (_day_of_year(day) - 172) / _YEAR)
    half_day = 6 + 2.2 * season  # hours from sunrise to noon at 52° north
    noon = 0.6 + 0.4 * season
    hours = (slot / 2 + 0.25 - 12 for slot in range(HALF_HOURS_A_DAY))
    return tuple(noon * math.cos(math.pi / 2 * hour / half_day) if abs(hour) < half_day else 0.0 for hour in hours)


@lru_cache(maxsize=2048)
def _darkness(day: int) -> tuple[float, ...]:
    return tuple(max(0.0, 1 - 5 * sun) for sun in _sunlight(day))


# The calendar and the dice


def _weekday(day: int) -> int:
    """Return the day of the week, Monday as 0; 1 January 1970 was a Thursday."""
    return (day // DAY + 3) % 7


def _day_of_year(day: int) -> float:
    return (day / DAY) % _YEAR


def _month_number(month: int) -> int:
    return int(instant.text(month)[5:7])


def _draws(what: str, whose: str, day: int) -> tuple[int, ...]:
    """Return 48 numbers from 0 to 65535, always the same for the same arguments."""
    return _DRAWS.unpack(shake_128(f"{what}|{whose}|{day}".encode()).digest(_DRAWS.size))


def _unit(what: str, whose: str, when: int) -> float:
    """Return one number from 0 to 1, always the same for the same arguments."""
    return int.from_bytes(shake_128(f"{what}|{whose}|{when}".encode()).digest(2)) / _BITS
