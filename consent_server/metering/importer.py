"""Import of readings into our own table, with a report of what had to be corrected."""

from collections import defaultdict
from dataclasses import dataclass

from consent_server.scheme import instant
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.readings import HALF_HOURS_A_DAY, Reading, ReadingError, day_block, mend_demo
from consent_server.store import Connection, readings


@dataclass(frozen=True)
class Taken:
    """The number of imported readings and days, and a sentence for each kind of correction."""

    readings: int
    days: int
    mended: list[str]


def take_in(c: Connection, meter: str, measure: str, data: object) -> Taken:
    """Keep readings of one meter, in the form of the scheme's old demo (the decoded JSON list), as day blocks.

    A day that is there already is replaced. `cumulative` is counted from the first imported reading.
    Raise ReadingError for what cannot be corrected, and for readings of more than one fuel; nothing is then kept.
    """
    taken, mended = mend_demo(data)
    if len({reading.fuel for reading in taken}) > 1:
        raise ReadingError("the readings of one meter are of one fuel")
    blocks = _day_blocks(taken)
    readings.put_days(c, readings.EDP, meter, measure, blocks)
    return Taken(len(taken), len(blocks), mended)


def _day_blocks(taken: list[Reading]) -> dict[int, bytes]:
    values: dict[int, list[float | None]] = defaultdict(lambda: [None] * HALF_HOURS_A_DAY)
    for reading in taken:
        day = instant.day_start(reading.start)
        values[day][(reading.start - day) // HALF_HOUR] = reading.value
    blocks, register = {}, 0.0
    for day in sorted(values):
        blocks[day] = day_block(taken[0].fuel, day, values[day], register)
        register += sum(value for value in values[day] if value is not None)
    return blocks
