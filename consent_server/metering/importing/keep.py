"""The merge: what was read is joined to what is held, half-hour by half-hour, a few meters in each transaction."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final, TypeVar

from consent_server import store
from consent_server.metering.importing import day as days
from consent_server.metering.importing.day import TWO_VALUES, Disputed, Known
from consent_server.metering.importing.report import FileFault
from consent_server.scheme.instant import DAY, HALF_HOUR, day_start
from consent_server.store import Connection, readings
from consent_server.store.tables.metering import DayBlock, SetAside

R = TypeVar("R", DayBlock, SetAside)

#: Half-hours in one transaction: SQLite's other writers wait for a fraction of a second at most.
_AT_ONCE: Final = 20_000


@dataclass
class Piece:
    """What was read of one meter and measure in a file: a value for each half-hour with its line, and what is set aside."""

    meter: str
    measure: str
    fuel: str
    file: str = ""
    half_hours: dict[int, Known] = field(default_factory=dict)
    lines: dict[int, int] = field(default_factory=dict)
    aside: dict[tuple[int, str], SetAside] = field(default_factory=dict)

    def add(self, each: Known) -> None:
        there = self.half_hours.get(each.start)
        self.half_hours[each.start] = each if there is None else days.stays(there, each)

    def set_aside(self, row: SetAside) -> None:
        there = self.aside.get((row.start, row.reason))
        self.aside[row.start, row.reason] = row if there is None else _later(there, row)

    @property
    def window(self) -> tuple[int, int]:
        """Return the first of its days, and the day after the last."""
        starts = [*self.half_hours, *(start for start, _ in self.aside)]
        return day_start(min(starts)), day_start(max(starts)) + DAY

    @property
    def size(self) -> int:
        """Return how many half-hours its days have, which are all read and written."""
        start, end = self.window
        return (end - start) // HALF_HOUR


def keep(pieces: Iterable[Piece]) -> int:
    """Join pieces to what is held, each whole or not at all; return how many half-hours are now in dispute.

    Raise StoreUnavailable; the pieces before are then kept, and all may be given again.
    """
    return sum(store.write_with_retry(partial(merge, some)) for some in _few(pieces))


def _few(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield pieces in lists for one transaction each, in the order of their meters, which no two loads can take crosswise."""
    some: list[Piece] = []
    size = 0
    for piece in sorted(pieces, key=lambda each: (each.measure, each.meter)):
        some.append(piece)
        size += piece.size
        if size >= _AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


def merge(pieces: Sequence[Piece], c: Connection) -> int:
    """Join pieces to what is held, in one transaction; return how many half-hours are in dispute.

    Those with one window are read together: a query for each would take the most time.
    """
    readings.merging(c)
    together: dict[tuple[str, int, int], list[Piece]] = defaultdict(list)
    for piece in pieces:
        together[piece.measure, *piece.window].append(piece)
    disputes = 0
    blocks: list[DayBlock] = []
    for (measure, start, end), some in together.items():
        meters = [piece.meter for piece in some]
        held = _by_meter(readings.kept(c, meters, measure, start, end))
        aside = _by_meter(readings.set_aside(c, meters, measure, start, end))
        later = readings.having(c, meters, measure, end)
        yesterday = {row.meter: row for row in readings.kept(c, meters, measure, start - DAY, start) if row.body}
        first = readings.first_days(c, readings.EDP, {*meters} - yesterday.keys())
        for piece in some:
            disputes += _set_aside(c, piece, held.get(piece.meter, []), aside.get(piece.meter, []))
            row = yesterday.get(piece.meter)
            if row is None and first.get(piece.meter, start) < start:
                row = readings.before(c, piece.meter, measure, start)
            before: float = 0 if row is None else _end(row, 0)
            mended, before = _days(piece, held.get(piece.meter, []), before)
            blocks += mended
            if piece.meter in later:
                blocks += _days_after(c, piece, end, before)
    readings.put_blocks(c, blocks)
    return disputes


def _set_aside(c: Connection, piece: Piece, held: Sequence[DayBlock], aside: Sequence[SetAside]) -> int:
    """Join what is held of a piece's days to it; keep what is set aside, and return how many half-hours are in dispute."""
    if any(row.body and not bytes(row.body).startswith(b'{"type":"%s"' % piece.fuel.encode()) for row in held):
        raise FileFault(f"the meter {piece.meter} has readings of another fuel")
    touched = {day_start(start) for start in piece.half_hours}
    open_ = {row.start: row for row in aside if row.reason == TWO_VALUES}
    for each in chain.from_iterable(days.read(row) for row in held if row.day in touched):
        piece.add(each)
    for row in open_.values():
        if day_start(row.start) in touched:
            piece.add(days.in_dispute(row))
    for row in aside:
        if (row.start, row.reason) in piece.aside:
            piece.set_aside(row)
    disputed = {each.start: each for each in piece.half_hours.values() if isinstance(each, Disputed)}
    rows = [_dispute(piece, each, open_.get(each.start)) for each in disputed.values()]
    readings.put_aside(c, [*piece.aside.values(), *rows])
    readings.drop_aside(c, [row for start, row in open_.items() if start in piece.half_hours and start not in disputed])
    return len(disputed)


def _dispute(piece: Piece, each: Disputed, there: SetAside | None) -> SetAside:
    """Return a half-hour in dispute as it is kept, with the line of it that was read last."""
    file, line = piece.file, piece.lines.get(each.start)
    if line is None and there is not None:
        file, line = there.file, there.line
    value, taken_at, estimate = each.value, each.taken_at, each.substituted
    return SetAside(piece.meter, piece.measure, each.start, TWO_VALUES, value, taken_at, estimate, file, line)


def _days(piece: Piece, held: Sequence[DayBlock], before: float) -> tuple[list[DayBlock], float]:
    """Return a piece's days, and those between them whose counted registers change; and the register after them."""
    there = {row.day: row for row in held}
    by_day: dict[int, list[Known]] = {day_start(start): [] for start, _ in piece.aside if day_start(start) not in there}
    for start in sorted(piece.half_hours):
        by_day.setdefault(day_start(start), []).append(piece.half_hours[start])
    blocks = []
    for day in sorted(by_day.keys() | there.keys()):
        known: Iterable[Known] | None = by_day.get(day)
        if known is None:
            if days.counts_on_from(there[day], before):
                before = _end(there[day], before)
                continue
            known = days.read(there[day])
        empty = DayBlock(readings.EDP, piece.meter, piece.measure, day, b"", "")
        row, before = days.written(empty, piece.fuel, known, before)
        blocks.append(row)
    return blocks, before


def _days_after(c: Connection, piece: Piece, end: int, before: float) -> Iterator[DayBlock]:
    """Yield the days after a piece's whose counted registers change: up to the first that stays as it is."""
    for held in readings.following(c, piece.meter, piece.measure, end):
        if held.body and days.counts_on_from(held, before):
            return
        if held.body:
            row, before = days.written(held, piece.fuel, days.read(held), before)
            yield row


def _end(row: DayBlock, before: float) -> float:
    at_end = days.register_at_end(row)
    return before if at_end is None else at_end


def _later(one: SetAside, other: SetAside) -> SetAside:
    return max(one, other, key=lambda row: (row.taken_at, not row.estimate, row.value))


def _by_meter(rows: Iterable[R]) -> Mapping[str, list[R]]:
    found: dict[str, list[R]] = defaultdict(list)
    for row in rows:
        found[row.meter].append(row)
    return found
