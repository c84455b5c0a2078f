"""One day of one meter as it is merged: what is known of each half-hour, and which of two values stays.

The later `taken_at` stays; taken at the same time, a measured value before an estimate. Two different values that are equal
in both are a dispute: neither leaves, until one that was taken later decides. This depends on what the values are and not on
the order in which they came, so that any pieces of a feed end in the same readings.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import orjson

from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.packed import unpack
from consent_server.scheme.readings import TAKEN_AFTER, HalfHour, HalfHours, blocks_of, join
from consent_server.store.tables.metering import DayBlock, SetAside

#: The reason of a dispute, in `set_aside`.
TWO_VALUES: Final = "two values that were taken at the same time"

# The letters of DayBlock.marks: whether the source told the meter's register or we counted on, of a value that was measured or
# (upper case) estimated.
_TOLD, _COUNTED = "t", "c"
_SLOT: Final = {f"{seconds // 3600:02}:{seconds % 3600 // 60:02}": seconds for seconds in range(0, DAY, HALF_HOUR)}


class Disputed(NamedTuple):
    """A half-hour with several values; `value` is the greatest of them."""

    start: int
    value: float
    taken_at: int
    substituted: bool


Known = HalfHour | Disputed


def stays(one: Known, other: Known) -> Known:
    """Return which of two, of the same half-hour, stays: the same whichever came first. Each has its `taken_at`."""
    ranks = [(each.taken_at or 0, not each.substituted) for each in (one, other)]
    if ranks[0] != ranks[1]:
        return one if ranks[0] > ranks[1] else other
    if isinstance(one, HalfHour) and isinstance(other, HalfHour) and one.value == other.value:
        registers = {each.cumulative for each in (one, other)} - {None}
        if len(registers) < 2:
            return one if one.cumulative is not None else other
    return Disputed(one.start, max(one.value, other.value), ranks[0][0], one.substituted)


def read(row: DayBlock) -> Iterator[HalfHour]:
    """Yield the half-hours of a day block as they were before they were merged."""
    objects = orjson.loads(join([bytes(row.body)]))
    for item, mark in zip(objects, row.marks or _TOLD * len(objects), strict=True):
        yield HalfHour(
            row.day + _SLOT[item["from"][11:16]],
            item["energy"]["value"],
            instant.parse(item["takenAt"]),
            item["cumulative"]["value"] if mark.lower() == _TOLD and "cumulative" in item else None,
            mark.isupper(),
        )


def written(row: DayBlock, fuel: str, known: Iterable[Known], before: float) -> tuple[DayBlock, float]:
    """Return a day with these half-hours, in order and without disputes, and the register at its end."""
    certain = [each for each in known if isinstance(each, HalfHour)]
    blocks, after = blocks_of(fuel, HalfHours.of(certain), before)
    return row._replace(body=blocks.get(row.day, b""), marks="".join(map(_mark, certain))), after


def register_at_end(row: DayBlock) -> float | None:
    """Return the meter's register at the end of a day's last half-hour, or None for a day that has none."""
    if not row.body:
        return None
    last: float = orjson.loads(b"{" + bytes(row.body).rpartition(b",{")[2].removeprefix(b"{"))["cumulative"]["value"]
    return last


def counts_on_from(row: DayBlock, before: float) -> bool:
    """Return whether the registers that were counted in a day already begin at `before`, or depend on nothing before it."""
    if not row.body or (row.marks or _TOLD)[0].lower() == _TOLD:
        return True
    first = orjson.loads(bytes(row.body).partition(b",{")[0])
    return bool(round(before + first["energy"]["value"], 6) == first["cumulative"]["value"])


def has_estimates(row: DayBlock, start: int, end: int) -> bool:
    """Return whether a day, packed or not, has estimates among its half-hours from `start` to before `end`."""
    if not row.marks or row.marks.islower():
        return False
    if start <= row.day and row.day + DAY <= end:
        return True
    half_hours = read(row._replace(body=unpack(row.body, row.day)))
    return any(each.substituted and start <= each.start < end for each in half_hours)


def in_dispute(row: SetAside) -> Disputed:
    return Disputed(row.start, row.value, row.taken_at, row.estimate)


def taken_at(half_hour: int, stated: int | None) -> int:
    """Return when a reading was taken; where that is not stated, when meters pass a reading on."""
    return half_hour + HALF_HOUR + TAKEN_AFTER if stated is None else stated


def _mark(each: HalfHour) -> str:
    letter = _COUNTED if each.cumulative is None else _TOLD
    return letter.upper() if each.substituted else letter
