"""Half-hourly readings: electricity as energy (watt-hours), gas as volume (cubic metres).

The wire form is one object of the consumption data standard:

    {"type": "electricity", "from": "2026-03-12T00:00:00Z", "to": "2026-03-12T00:30:00Z",
     "takenAt": "2026-03-12T01:00:00Z",
     "energy": {"value": 976, "unitCode": "WHR"}, "cumulative": {"value": 1810, "unitCode": "WHR"}}

Readings are kept as day blocks: the objects of one meter and one UTC day, joined by commas, without brackets, as
UTF-8. A year is sent by joining 365 of them, without parsing or formatting.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.licenses import ELECTRICITY, GAS

# UN/CEFACT unit codes as we emit them. The standard takes KWH for electricity as well; parse() turns it into WHR.
UNIT = {ELECTRICITY: "WHR", GAS: "MTQ"}
HALF_HOURS_A_DAY = DAY // HALF_HOUR

# The standard wants takenAt later than the half-hour's end; meters pass a reading on within the next half-hour.
TAKEN_AFTER = HALF_HOUR

_ACCEPTED_UNITS = {ELECTRICITY: {"WHR": 1, "KWH": 1000}, GAS: {"MTQ": 1}}  # and how many of ours one of them is
_LARGEST = 1e15  # beyond any meter, and below where a float would lose a watt-hour
_LATEST = 253402300800  # after the year 9999, the last that there is
_CLOCK = [f"{slot // 2:02}:{slot % 2 * 30:02}:00Z" for slot in range(HALF_HOURS_A_DAY)]
_FROM = b'"from":"'
#: Each edge is written up to three times, and again for every other meter.
_text = lru_cache(maxsize=65536)(instant.text)


class ReadingError(ValueError):
    """A reading that is not what the standard says. The sentence names the reading's index and the field."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One half-hour of one meter. `value` is in WHR for electricity and in MTQ for gas."""

    fuel: str
    start: int
    end: int
    taken_at: int
    value: float


class HalfHour(NamedTuple):
    """What a source knows of one half-hour: `value` and `cumulative` in WHR for electricity and in MTQ for gas.

    `taken_at` is when the meter passed the reading on, later than the half-hour's end; half an hour later where it is not
    known. `cumulative` is the meter's register at the half-hour's end. `substituted` says that the value is an estimate.
    """

    start: int
    value: float
    taken_at: int | None = None
    cumulative: float | None = None
    substituted: bool = False


def block_of(fuel: str, half_hours: Iterable[HalfHour], cumulative_before: float) -> tuple[bytes, float]:
    """Return half-hours of one day, in order, as a day block, and the register at its end.

    A half-hour without `cumulative` counts on from the one before. Raise ReadingError as `day_block` does, and for a reading
    taken before its half-hour had ended, or off the half-hour.
    """
    if fuel not in UNIT:
        raise ReadingError(f"the fuel must be one of {', '.join(UNIT)}")
    forms, total = _forms(fuel), cumulative_before
    midnight = -1
    written: list[str] = []
    said: list[object] = []
    for start, value, taken_at, cumulative, _ in half_hours:
        if midnight < 0:
            midnight = instant.day_start(start)
        slot, beside = divmod(start - midnight, HALF_HOUR)
        if beside or not 0 <= slot < HALF_HOURS_A_DAY:
            raise ReadingError("a half-hour begins on the hour or the half-hour, and a block has one day")
        taken = start + HALF_HOUR + TAKEN_AFTER if taken_at is None else taken_at
        if type(taken) is not int or not start + HALF_HOUR < taken < _LATEST:
            raise ReadingError("a reading is taken after its half-hour has ended")
        energy = _checked(value, "value")
        total = round(total + energy, 6) if cumulative is None else _checked(cumulative, "cumulative")
        written.append(forms[slot])
        said += (_text(taken), energy, total)
    # One formatting for a day: what is formatted object by object takes three times as long.
    today, tomorrow = instant.text(midnight)[:11], instant.text(midnight + DAY)[:11]
    return (",".join(written) % tuple(said)).replace("<", today).replace(">", tomorrow).encode(), total


@cache
def _forms(fuel: str) -> tuple[str, ...]:
    """Return the object of each half-hour of a day: < is the day and > the one after; takenAt, value and register are left."""
    clock, unit = [f"<{time}" for time in _CLOCK] + [f">{_CLOCK[0]}"], UNIT[fuel]
    return tuple(
        f'{{"type":"{fuel}","from":"{clock[slot]}","to":"{clock[slot + 1]}","takenAt":"%s",'
        f'"energy":{{"value":%r,"unitCode":"{unit}"}},"cumulative":{{"value":%r,"unitCode":"{unit}"}}}}'
        for slot in range(HALF_HOURS_A_DAY)
    )


def day_block(fuel: str, day: int, values: Sequence[float | None], cumulative_before: float) -> bytes:
    """Return the block of one day (midnight UTC, in seconds): 48 values in the fuel's unit, None for a missing half-hour.

    Missing half-hours are left out, never filled. `cumulative` continues from `cumulative_before` and is rounded to six
    decimals, which removes floating-point error; the values themselves are written as given.
    Raise ReadingError for an unknown fuel, another number of values, a value below zero or not finite, or a day
    that does not begin at midnight.
    """
    if fuel not in UNIT:
        raise ReadingError(f"the fuel must be one of {', '.join(UNIT)}")
    unit = UNIT[fuel]
    if day % DAY:
        raise ReadingError("a day block begins at midnight UTC")
    if len(values) != HALF_HOURS_A_DAY:
        raise ReadingError(f"a day has {HALF_HOURS_A_DAY} half-hours, not {len(values)}")
    today, tomorrow = instant.text(day)[:11], instant.text(day + DAY)[:11]
    edges = [today + time for time in _CLOCK] + [tomorrow + time for time in _CLOCK[:2]]
    cumulative = _checked(cumulative_before, "cumulative_before")
    objects = []
    for slot, value in enumerate(values):
        if value is None:
            continue
        cumulative = round(cumulative + _checked(value, f"half-hour {slot}"), 6)
        objects.append(
            f'{{"type":"{fuel}","from":"{edges[slot]}","to":"{edges[slot + 1]}","takenAt":"{edges[slot + 2]}",'
            f'"energy":{{"value":{value!r},"unitCode":"{unit}"}},'
            f'"cumulative":{{"value":{cumulative!r},"unitCode":"{unit}"}}}}'
        )
    return ",".join(objects).encode()


def join(blocks: Iterable[bytes]) -> bytes:
    """Return a JSON array of everything in the blocks, in their order. Days without readings may be empty blocks."""
    return b"[" + b",".join(filter(None, blocks)) + b"]"


def slice_block(block: bytes, start: int, end: int) -> bytes:
    """Return the half-hours of a day block with start <= `from` < end, as a block."""
    if not block:
        return block
    # A comma is before a brace only between objects, and RFC 3339 text in UTC sorts as its instants do.
    objects = block[1:].split(b",{")
    offset = objects[0].index(_FROM) + len(_FROM)
    starts = [piece[offset : offset + 20] for piece in objects]
    first = bisect_left(starts, instant.text(start).encode())
    last = bisect_left(starts, instant.text(end).encode())
    kept = objects[first:last]
    return b"{" + b",{".join(kept) if kept else b""


def parse(data: object) -> list[Reading]:
    """Return the readings in the `data` member of a consumption response (decoded from JSON), in order of time.

    Strict: the fuel and its unit, whole half-hours on the half-hour, takenAt not before the end, finite values of at
    least zero, no half-hour twice. KWH becomes WHR. Members that the standard may add later are ignored.
    Raise ReadingError.
    """
    if not isinstance(data, list):
        raise ReadingError("data: must be a list of readings")
    instants: dict[str, int] = {}  # each edge is written up to three times: `from`, the `to` before it, and takenAt
    seen: set[tuple[str, int]] = set()
    readings = []
    for index, item in enumerate(data):
        reading = _reading(index, item, instants)
        key = (reading.fuel, reading.start)
        if key in seen:
            raise _fault(index, "from", "this half-hour was given before")
        seen.add(key)
        readings.append(reading)
    readings.sort(key=lambda reading: (reading.start, reading.fuel))
    return readings


def _reading(index: int, item: object, instants: dict[str, int]) -> Reading:
    if not isinstance(item, dict):
        raise _fault(index, "reading", "must be an object")
    fuel = item.get("type")
    if not isinstance(fuel, str) or fuel not in UNIT:
        raise _fault(index, "type", f"must be one of {', '.join(UNIT)}")
    start = _instant(index, item, "from", instants)
    end = _instant(index, item, "to", instants)
    taken_at = _instant(index, item, "takenAt", instants)
    if start % HALF_HOUR:
        raise _fault(index, "from", "must be on the hour or the half-hour")
    if end != start + HALF_HOUR:
        raise _fault(index, "to", "must be half an hour after from")
    if taken_at < end:
        raise _fault(index, "takenAt", "must not be before to")
    value = _quantity(index, item, "energy", fuel)
    if "cumulative" in item:
        _quantity(index, item, "cumulative", fuel)
    return Reading(fuel, start, end, taken_at, value)


def _instant(index: int, item: dict[str, object], field: str, instants: dict[str, int]) -> int:
    text = item.get(field)
    if isinstance(text, str) and text in instants:
        return instants[text]
    try:
        value = instant.parse(text)
    except ValueError as error:
        raise _fault(index, field, str(error)) from None
    instants[str(text)] = value
    return value


def _quantity(index: int, item: dict[str, object], field: str, fuel: str) -> float:
    quantity = item.get(field)
    if not isinstance(quantity, dict):
        raise _fault(index, field, "must be an object with value and unitCode")
    unit, accepted = quantity.get("unitCode"), _ACCEPTED_UNITS[fuel]
    if not isinstance(unit, str) or unit not in accepted:
        raise _fault(index, f"{field}.unitCode", f"must be {' or '.join(accepted)} for {fuel}")
    try:
        value = _checked(quantity.get("value"), "value")
    except ReadingError as error:
        raise _fault(index, f"{field}.value", str(error)) from None
    return float(value) if accepted[unit] == 1 else round(value * accepted[unit], 6)


def ours_in(fuel: str, units: Sequence[object]) -> int:
    """Return how many of our units one of these is, which are all the same. Raise ReadingError."""
    known = _ACCEPTED_UNITS[fuel]
    for unit, factor in known.items():
        if all(each == unit for each in units):
            return factor
    raise ReadingError(f"unit: {fuel} is in {' or '.join(known)}, and all of it in one")


def _checked(value: object, name: str) -> float:
    """Return the number, an int as an int."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ReadingError(f"{name}: must be a number")
    if not 0 <= value <= _LARGEST:  # not a number compares as false
        raise ReadingError(f"{name}: must be at least zero, and within what a meter can count")
    return value


def _fault(index: int, field: str, reason: str) -> ReadingError:
    return ReadingError(f"reading {index}: {field}: {reason}")
