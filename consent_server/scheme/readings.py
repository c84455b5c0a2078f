"""Half-hourly readings: electricity as energy (watt-hours), gas as volume (cubic metres).

The wire form is one object of the consumption data standard:

    {"type": "electricity", "from": "2026-03-12T00:00:00Z", "to": "2026-03-12T00:30:00Z",
     "takenAt": "2026-03-12T01:00:00Z",
     "energy": {"value": 976, "unitCode": "WHR"}, "cumulative": {"value": 1810, "unitCode": "WHR"}}

Readings are kept as day blocks: the objects of one meter and one UTC day, joined by commas, without brackets, as
UTF-8. A year is sent by joining 365 of them, without parsing or formatting.
"""

import operator
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain, compress, count, islice, pairwise, repeat
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
import orjson

from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.licenses import ELECTRICITY, GAS

# UN/CEFACT unit codes as we emit them. The standard takes KWH for electricity as well; parse() turns it into WHR.
UNIT = {ELECTRICITY: "WHR", GAS: "MTQ"}
HALF_HOURS_A_DAY = DAY // HALF_HOUR

# The standard wants takenAt later than the half-hour's end; meters pass a reading on within the next half-hour.
TAKEN_AFTER = HALF_HOUR

#: How many of our units one of those is that we accept.
_OURS_IN: Final = {ELECTRICITY: {"WHR": 1, "KWH": 1000}, GAS: {"MTQ": 1}}
_LARGEST = 1e15  # beyond any meter, and below where a float would lose a watt-hour
_LATEST = 253402300800  # after the year 9999, the last that there is
_CLOCK = [f"{slot // 2:02}:{slot % 2 * 30:02}:00Z" for slot in range(HALF_HOURS_A_DAY)]
_FROM = b'"from":"'
# Each value of JSON that is no number has one of these: text, lists, objects, true and null, false and null.
_NOT_IN_NUMBERS: Final = (b'"', b"[", b"{", b"u", b"l")
_parsed = lru_cache(maxsize=65536)(instant.parse)


class ReadingError(ValueError):
    """A reading that is not what the standard says. The sentence names the reading's index and the field."""


class OutOfOrder(ReadingError):
    """Half-hours are not in order of time, or one is given twice."""

    def __init__(self) -> None:
        super().__init__("the half-hours are not in order of time, or one is given twice")


class HalfHour(NamedTuple):
    """What a source states of one half-hour: `value` and `cumulative` in WHR for electricity and in MTQ for gas.

    `taken_at` is when the meter passed the reading on, later than the half-hour's end; half an hour later where it is not
    known. `cumulative` is the meter's register at the half-hour's end. `substituted` says that the value is an estimate.
    """

    start: int
    value: float
    taken_at: int | None = None
    cumulative: float | None = None
    substituted: bool = False


class HalfHours(NamedTuple):
    """Half-hours as columns, in any order: of a year they take a fifth of what objects take."""

    start: Sequence[int]
    value: Sequence[float]
    taken_at: Sequence[int | None]
    cumulative: Sequence[float | None]
    substituted: Sequence[bool]

    @classmethod
    def of(cls, half_hours: Iterable[HalfHour]) -> "HalfHours":
        columns: list[list[Any]] = [list(column) for column in zip(*half_hours, strict=True)]
        return cls(*columns or ([], [], [], [], []))

    def where(self, kept: Sequence[bool]) -> "HalfHours":
        """Return those that are kept."""
        return self._each(lambda column: list(compress(column, kept)))

    def in_order(self) -> "HalfHours":
        """Return them in order of time. Raise ReadingError for a start that is no whole number, or that is there twice."""
        start = _whole(self.start, "start")
        if all(map(operator.lt, start, start[1:])):
            return self._replace(start=start)
        if len(set(start)) < len(start):
            raise ReadingError("a half-hour is given twice")
        order = sorted(range(len(start)), key=start.__getitem__)
        return self._each(lambda column: [column[each] for each in order])

    def _each(self, change: Callable[[Sequence[Any]], Any]) -> "HalfHours":
        columns: list[Any] = [change(column) for column in self]
        return HalfHours(*columns)


def blocks_of(fuel: str, half_hours: HalfHours, cumulative_before: float) -> tuple[dict[int, bytes], float]:
    """Return midnight -> the day block, in order, and the register at the end.

    The half-hours are in order of time. One without `cumulative` counts on from the one before, rounded to six decimals, which
    removes floating-point error. Raise ReadingError for an unknown fuel, a value below zero or not finite, one taken before its
    half-hour had ended, or one that is off the half-hour, and OutOfOrder.
    """
    if fuel not in UNIT:
        raise ReadingError(f"the fuel must be one of {', '.join(UNIT)}")
    start, value, taken_at, cumulative, _ = half_hours
    start = _whole(start, "start")
    value, value_text = _numbers(value, "value")
    register = _counted_on(value, cumulative, _checked(cumulative_before, "cumulative_before"))
    register, register_text = _numbers(register, "cumulative")
    taken = _taken(start, taken_at)
    blocks: dict[int, bytes] = {}
    pieces: list[bytes] = []
    first, before = 0, -DAY
    while first < len(start):
        day = instant.day_start(start[first])
        after = bisect_left(start, day + DAY, first)
        if day <= before:
            raise OutOfOrder
        # Four pieces for each half-hour, and the end of the last: 17,520 objects one by one take ten times as long.
        if len(pieces) != 4 * (after - first) + 1:
            pieces = [_CUMULATIVE[fuel]] * (4 * (after - first) + 1)
        pieces[0::4] = _openings(fuel, day, start[first:after].tobytes(), taken[first:after].tobytes())
        pieces[1::4] = value_text[first:after]
        pieces[3::4] = register_text[first:after]
        blocks[day] = b"".join(pieces)
        first, before = after, day
    return blocks, register[-1] if register else cumulative_before


# What is between the figures. The end of one object, a comma and the opening of the next are one piece.
_CUMULATIVE: Final = {fuel: b',"unitCode":"%b"},"cumulative":{"value":' % unit.encode() for fuel, unit in UNIT.items()}
_END: Final = {fuel: b',"unitCode":"%b"}}' % unit.encode() for fuel, unit in UNIT.items()}


@lru_cache(maxsize=1024)
def _openings(fuel: str, day: int, starts: bytes, taken_at: bytes) -> list[bytes]:
    """Return how the objects begin of a day's half-hours, in order, up to the value, and how the last ends.

    The instants are those of arrays.
    Raise OutOfOrder, and ReadingError for one off the half-hour, or taken before it has ended.
    """
    start, taken = array("q", starts), array("q", taken_at)
    if any(map(operator.ge, start, start[1:])) or start[-1] >= day + DAY:
        raise OutOfOrder
    if any(map(operator.mod, start, repeat(HALF_HOUR))):
        raise ReadingError("a half-hour begins on the hour or the half-hour")
    if min(map(operator.sub, taken, start)) <= HALF_HOUR or max(taken) >= _LATEST:
        raise ReadingError("a reading is taken after its half-hour has ended")
    every = _openings_of_day(fuel, day)
    openings = [
        every[(each - day) // HALF_HOUR] + instant.date(at).encode() + _time_text(at % DAY)
        for each, at in zip(start, taken, strict=True)
    ]
    return [openings[0].removeprefix(_END[fuel] + b","), *openings[1:], _END[fuel]]


@lru_cache(maxsize=1024)
def _openings_of_day(fuel: str, day: int) -> list[bytes]:
    """Return how the objects of all half-hours of a day begin, up to when each was taken."""
    today, tomorrow = instant.text(day)[:11], instant.text(day + DAY)[:11]
    edges = [*(today + time for time in _CLOCK), tomorrow + _CLOCK[0]]
    return [
        _END[fuel] + f',{{"type":"{fuel}","from":"{begins}","to":"{ends}","takenAt":"'.encode()
        for begins, ends in pairwise(edges)
    ]


@lru_cache(maxsize=DAY)
def _time_text(second: int) -> bytes:
    """Return what follows the date on which a half-hour was taken, up to the value."""
    return f'{instant.text(second)[10:]}","energy":{{"value":'.encode()


def _taken(start: "array[int]", taken_at: Sequence[int | None]) -> "array[int]":
    """Return when each was taken: half an hour after the half-hour's end where it is not known. Raise ReadingError."""
    if not all_known(taken_at):
        taken_at = [
            each + HALF_HOUR + TAKEN_AFTER if at is None else at for at, each in zip(taken_at, start, strict=True)
        ]
    return _whole(taken_at, "takenAt")


def _counted_on(value: Sequence[float], cumulative: Sequence[float | None], before: float) -> Sequence[Any]:
    """Return the register at each half-hour's end, counted on where it is not stated."""
    if all_known(cumulative):
        return cumulative
    register, total = [], before
    for energy, stated in zip(value, cumulative, strict=True):
        total = round(total + energy, 6) if stated is None else stated
        register.append(total)
    return register


def _whole(column: Sequence[int | None], name: str) -> "array[int]":
    if isinstance(column, array) and column.typecode == "q":
        return column
    try:
        return array("q", column)  # type: ignore[arg-type]  # TypeError is expected
    except (TypeError, OverflowError):
        raise ReadingError(f"{name}: must be a whole number of seconds") from None


def _numbers(column: Sequence[Any], name: str) -> tuple[Sequence[float], list[bytes]]:
    """Return numbers, and each as JSON writes it. Raise ReadingError for one that is below zero or not finite."""
    if not column:
        return column, []
    if isinstance(column, array):
        column = column.tolist()
    try:
        text = orjson.dumps(column)[1:-1]
        # Only what is below zero, or has an exponent, has a minus.
        not_below = b"-" not in text or min(column) >= 0
        good = not_below and max(column) <= _LARGEST and not any(each in text for each in _NOT_IN_NUMBERS)
    except TypeError:  # also what orjson raises
        good = False
    if not good:
        column = [float(_checked(each, name)) for each in column]
        text = orjson.dumps(column)[1:-1]
    return column, text.split(b",")


def day_block(fuel: str, day: int, values: Sequence[float | None], cumulative_before: float) -> bytes:
    """Return the block of one day (midnight UTC, in seconds): 48 values in the fuel's unit, None for a missing half-hour.

    Missing half-hours are left out, never filled. `cumulative` continues from `cumulative_before`; the values are written as
    given. Raise ReadingError as `blocks_of` does, for another number of values, and a day that does not begin at midnight.
    """
    if day % DAY:
        raise ReadingError("a day block begins at midnight UTC")
    if len(values) != HALF_HOURS_A_DAY:
        raise ReadingError(f"a day has {HALF_HOURS_A_DAY} half-hours, not {len(values)}")
    known = [HalfHour(day + slot * HALF_HOUR, value) for slot, value in enumerate(values) if value is not None]
    return blocks_of(fuel, HalfHours.of(known), cumulative_before)[0].get(day, b"")


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


class MeterReadings(NamedTuple):
    """Half-hours of one meter as columns, in order of time. `value` is in WHR for electricity and in MTQ for gas.

    `fuel` is None where there are no half-hours.
    """

    fuel: str | None
    start: Sequence[int]
    taken_at: Sequence[int]
    value: Sequence[float]


class _Quantity(msgspec.Struct, gc=False):
    value: Annotated[float, msgspec.Meta(ge=0, le=_LARGEST)]
    unitCode: Literal["WHR", "KWH", "MTQ"]


class _HalfHour(msgspec.Struct, gc=False):
    type: Literal["electricity", "gas"]
    begins: str = msgspec.field(name="from")
    ends: str = msgspec.field(name="to")
    takenAt: str
    energy: _Quantity
    cumulative: _Quantity | msgspec.UnsetType = msgspec.UNSET


class _Answer(msgspec.Struct):
    data: list[_HalfHour]
    provenance: dict[str, Any]


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_MISSHAPEN: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
#: How msgspec tells the place: "Expected `float` >= 0.0 - at `$.data[3].energy.value`".
_WHERE: Final = re.compile(r"(?P<what>.*) - at `\$(?:\.data)?\[(?P<index>[0-9]+)\]\.?(?P<path>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`")


def answer(body: bytes) -> tuple[MeterReadings, dict[str, Any]]:
    """Return the readings of a consumption response, as `parse` does, and its provenance record, unverified.

    Objects of the response's own shape take a fifth of the time that dictionaries do. Raise ReadingError.
    """
    try:
        found = _ANSWER.decode(body)
    except _MISSHAPEN as error:
        raise _misshapen(error) from None
    return _columns(found.data), found.provenance


def parse(data: object) -> MeterReadings:
    """Return the readings in the `data` member of a consumption response (decoded from JSON), in order of time.

    Strict: one fuel and its unit, whole half-hours on the half-hour, takenAt not before the end, finite values of at
    least zero, no half-hour twice. KWH becomes WHR. Members that the standard may add later are ignored.
    Raise ReadingError.
    """
    try:
        return _columns(msgspec.convert(data, list[_HalfHour]))
    except _MISSHAPEN as error:
        raise _misshapen(error) from None


def _misshapen(error: Exception) -> ReadingError:
    where = _WHERE.fullmatch(str(error))
    if where is None:
        return ReadingError(f"data: {error}")
    what = where["what"].partition(" '")[0]  # without the value that was sent, which may be anything and any length
    missing = _MISSING.fullmatch(what)
    field = ".".join(filter(None, (where["path"], missing and missing[1])))
    return _fault(int(where["index"]), field or "reading", what)


def _columns(items: list[_HalfHour]) -> MeterReadings:
    """Return readings in order of time. Raise ReadingError for what their shape does not rule out."""
    if not items:
        return MeterReadings(None, [], [], [])
    fuel, fuels = items[0].type, [each.type for each in items]
    start = _instants("from", [each.begins for each in items])
    end = _instants("to", [each.ends for each in items])
    taken = _instants("takenAt", [each.takenAt for each in items])
    value = [each.energy.value for each in items]
    units = [each.energy.unitCode for each in items]
    registers = [(each.cumulative or each.energy).unitCode for each in items]
    _require("type", map(operator.ne, fuels, repeat(fuel)), "must be the same for every reading")
    in_a_row = isinstance(start, range) and end == range(start.start + HALF_HOUR, start.stop + HALF_HOUR, HALF_HOUR)
    if not in_a_row:
        _require("from", map(operator.mod, start, repeat(HALF_HOUR)), "must be on the hour or the half-hour")
        lasting = map(operator.sub, end, start)
        _require("to", map(operator.ne, lasting, repeat(HALF_HOUR)), "must be half an hour after from")
    _require("takenAt", map(operator.lt, taken, end), "must not be before to")
    ours_in = _OURS_IN[fuel]
    for field, given in (("energy", units), ("cumulative", registers)):
        if not ours_in.keys() >= {*given}:
            must = f"must be {' or '.join(ours_in)} for {fuel}"
            _require(f"{field}.unitCode", (each not in ours_in for each in given), must)
    if {*units} != {UNIT[fuel]}:
        value = [
            each if ours_in[of] == 1 else round(each * ours_in[of], 6) for each, of in zip(value, units, strict=True)
        ]
    if not in_a_row and not all(map(operator.lt, start, start[1:])):
        seen: set[int] = set()
        for index, each in enumerate(start):
            if each in seen:
                raise _fault(index, "from", "this half-hour was given before")
            seen.add(each)
        order = sorted(range(len(start)), key=start.__getitem__)
        start, taken, value = ([column[each] for each in order] for column in (start, taken, value))  # type: ignore[assignment]
    return MeterReadings(fuel, list(start), list(taken), value)


def _instants(field: str, texts: list[str]) -> Sequence[int]:
    """Return instants; half-hours in a row, as most responses have them, as a range. Raise ReadingError."""
    try:
        first = _parsed(texts[0])
    except ValueError as error:
        raise _fault(0, field, str(error)) from None
    expected = range(first, first + len(texts) * HALF_HOUR, HALF_HOUR)
    if not first % HALF_HOUR and expected.stop < _LATEST and texts == _texts(expected):
        return expected
    found: list[int] = []
    try:
        found.extend(map(_parsed, texts))
    except ValueError as error:
        raise _fault(len(found), field, str(error)) from None
    return found


def _texts(half_hours: range) -> list[str]:
    """Return instants on the half-hour as text."""
    first = instant.day_start(half_hours.start)
    days = map(_texts_of_day, range(first, half_hours.stop, DAY))
    skipped = (half_hours.start - first) // HALF_HOUR
    return list(islice(chain.from_iterable(days), skipped, skipped + len(half_hours)))


@lru_cache(maxsize=1024)
def _texts_of_day(day: int) -> list[str]:
    date = instant.text(day)[:11]
    return [date + time for time in _CLOCK]


def _require(field: str, wrong: Iterable[object], must: str) -> None:
    """Raise ReadingError for the first reading that is wrong."""
    index = next(compress(count(), wrong), None)
    if index is not None:
        raise _fault(index, field, must)


def ours_in(fuel: str, units: Sequence[object]) -> int:
    """Return how many of our units one of these is, which are all the same. Raise ReadingError."""
    known = _OURS_IN[fuel]
    for unit, ours in known.items():
        if all_are(units, unit):
            return ours
    raise ReadingError(f"unit: {fuel} is in {' or '.join(known)}, and all of it in one")


def all_are(column: Sequence[object], value: object) -> bool:
    """Return whether a column has one value in every row. Those that are one object are not compared one by one."""
    return not column or (column[0] == value and column.count(column[0]) == len(column))


def all_known(column: Sequence[object]) -> bool:
    """Return whether no value is None. An array has numbers alone."""
    return isinstance(column, array) or None not in column


def _checked(value: object, name: str) -> float:
    """Return the number, an int as an int."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ReadingError(f"{name}: must be a number")
    if not 0 <= value <= _LARGEST:  # not a number compares as false
        raise ReadingError(f"{name}: must be at least zero, and within what a meter can count")
    return value


def _fault(index: int, field: str, reason: str) -> ReadingError:
    return ReadingError(f"reading {index}: {field}: {reason}")
