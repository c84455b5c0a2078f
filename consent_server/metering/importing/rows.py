"""One row after another: what it says is judged against the register, the clock and what a meter can count."""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeGuard

from consent_server.metering.importing import day
from consent_server.metering.importing.keep import Piece
from consent_server.metering.importing.layouts import FACTS, Layout, Row
from consent_server.metering.importing.report import LineRefused, LoadReport
from consent_server.metering.importing.times import Doubled, Times
from consent_server.scheme import plausible
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.readings import HalfHour
from consent_server.store.tables.metering import SetAside

#: Unit of a value -> its fuel, and how many of ours (WHR, MTQ) it is.
_UNITS: Final = {
    "WHR": (ELECTRICITY, 1),
    "WH": (ELECTRICITY, 1),
    "KWH": (ELECTRICITY, 1000),
    "MTQ": (GAS, 1),
    "M3": (GAS, 1),
}
_ESTIMATE: Final = {"measured": False, "actual": False, "estimated": True, "substituted": True}
_NO_VALUE: Final = frozenset(("", "null", "none", "nan", "n/a"))
_LARGEST: Final = 1e15
_DIGITS: Final = frozenset("0123456789.")
#: No half-hourly reading is older: this instant is 1 January 2000, and seconds since 1970 mistaken for another unit are not.
_EARLIEST: Final = 946_684_800
#: Rows of doubled hours that wait for the other half: beyond this many meters in one file, they are refused.
_MOST_WAITING: Final = 400_000
#: In what order the four half-hours of a doubled hour may come for it to be known which are which: in that of time, or sorted.
_ORDERS: Final = ((0, 1, 0, 1), (0, 0, 1, 1))
_NOT_IN_ORDER: Final = "of an hour that the local clock had twice, without its four half-hours in the order of time"


class KnownMeter(NamedTuple):
    """The facts of the register by which a meter's readings are checked. `most` is the largest plausible half-hour."""

    fuel: str
    measures: Sequence[str]
    most: float


@dataclass(frozen=True)
class Stated:
    """What the operator says of a file: its meter, and when it was taken, where its rows do not say so."""

    meter: str = ""
    taken_at: int | None = None


#: Meter, measure, unit and fuel, as a row says them.
_Same = tuple[str, str | None, str | None, str | None]


_LINE: Final = operator.itemgetter(0)
_SAME: Final = operator.itemgetter(*(1 + FACTS.index(fact) for fact in ("meter", "measure", "unit", "fuel")))
_AT, _VALUE = 1 + FACTS.index("at"), 1 + FACTS.index("value")
#: What most feeds say nothing of.
_MORE: Final = [1 + FACTS.index(fact) for fact in ("to", "taken_at", "register", "register_unit", "quality", "period")]


class _Series(NamedTuple):
    """What is the same in many rows: where their half-hours go, how many of our units theirs is, and the bound of one."""

    piece: Piece
    factor: int
    most: float


class _Waiting(NamedTuple):
    """A row of an hour that the local clock had twice."""

    line: int
    doubled: Doubled
    half_hour: HalfHour
    fuel: str
    most: float


class Rows:
    """Judges rows and gathers what they say in `pieces`; whatever is refused, corrected or set aside goes into the report."""

    def __init__(
        self,
        layout: Layout,
        times: Times,
        stated: Stated,
        now: int,
        report: LoadReport,
        known: Callable[[str], KnownMeter | None] | None,
        file: str,
    ) -> None:
        self.layout, self.times, self.stated, self.now = layout, times, stated, now
        self.report, self.known, self.file = report, known, file
        self.pieces: dict[tuple[str, str], Piece] = {}
        self.count = 0  # half-hours and series that are held in memory
        self._series: dict[_Same, _Series] = {}
        self._waiting: dict[tuple[str, str, int], list[_Waiting]] = defaultdict(list)
        self._waiting_count = 0

    def take_all(self, rows: Iterable[Row]) -> None:
        """Judge rows; together those of a meter that have a time and a value alone, if none of them is out of the ordinary."""
        together: dict[_Same, list[Row]] = defaultdict(list)
        for row in rows:
            together[_SAME(row)].append(row)
        rest = [row for same, those in together.items() if not self._are_taken(same, those) for row in those]
        for row in sorted(rest, key=_LINE):
            self.take(row)

    def take(self, row: Row) -> None:
        try:
            self._take(*row)
        except LineRefused as refused:
            self.report.refused[str(refused)].add(row[0])

    def emptied(self) -> list[Piece]:
        """Return the pieces gathered so far, and begin new ones."""
        pieces = [piece for piece in self.pieces.values() if piece.half_hours or piece.aside]
        self.pieces, self.count = {}, 0
        self._series.clear()
        return pieces

    def end(self) -> None:
        """Take the doubled hours of a file that has been read, where it is known which half-hour is which."""
        for (meter, measure, _), rows in self._waiting.items():
            first = min(row.doubled.first for row in rows)
            if tuple((row.doubled.first - first) // HALF_HOUR for row in rows) not in _ORDERS:
                for row in rows:
                    self.report.refused[_NOT_IN_ORDER].add(row.line)
                continue
            seen: set[int] = set()
            series = _Series(self._piece(meter, measure, rows[0].fuel), 1, rows[0].most)
            for row in rows:
                _, once, again = row.doubled
                start = again if once in seen else once
                seen.add(once)
                try:
                    self._kept(row.line, series, start, *row.half_hour[1:])
                except LineRefused as refused:
                    self.report.refused[str(refused)].add(row.line)
        self._waiting.clear()

    def _are_taken(self, same: _Same, rows: Sequence[Row]) -> bool:
        """Take rows that say the same four things if nothing about any of them is to be noted. Return whether it was so."""
        columns = list(zip(*rows, strict=True))
        values = _plain_numbers(columns[_VALUE])
        if values is None or any(columns[index].count(None) < len(rows) for index in _MORE):
            return False
        try:
            start = list(map(self.times.start, columns[_AT]))
            series = self._series.get(same) or (self._new_series(rows[0][0], same) if same[3] is None else None)
        except LineRefused:
            return False
        if series is None or not _are_instants(start):
            return False
        piece, factor, most = series
        amounts = [_scaled(each, factor) for each in values]
        if (
            min(start) < _EARLIEST
            or max(start) + HALF_HOUR > self.now
            or not plausible.all_plausible(piece.fuel, amounts, most)
            or len(set(start)) < len(start)
            or not piece.half_hours.keys().isdisjoint(start)
        ):
            return False
        self.count += len(rows)
        self.report.taken += len(rows)
        taken_at = map(self._usually_taken_at, start)
        piece.half_hours.update(zip(start, map(HalfHour, start, amounts, taken_at), strict=True))
        piece.lines.update(zip(start, columns[0], strict=True))
        return True

    def _take(
        self,
        line: int,
        meter: str,
        measure: str | None,
        at: object,
        to: object,
        value: object,
        unit: str | None,
        taken_at: object,
        register: object,
        register_unit: str | None,
        quality: str | None,
        fuel: str | None,
        period: object,
    ) -> None:
        amount = number(value)
        same = (meter, measure, unit, fuel)
        series = self._series.get(same) or self._new_series(line, same)
        if amount is None:
            self.report.empty += 1
            return
        start = self.times.start(at) if period is None else self.times.of_period(at, period)
        if to not in (None, ""):
            self._is_half_an_hour(start, to)
        estimate = _ESTIMATE.get(quality.strip().lower()) if quality else False
        if estimate is None:
            raise LineRefused("the quality is neither measured nor estimated")
        amount = _scaled(amount, series.factor)
        stated = None if taken_at is None else self._stated(taken_at)
        counted = None if register is None else self._register(series, register, register_unit)
        if type(start) is int:
            self._kept(line, series, start, amount, stated, counted, estimate)
        elif isinstance(start, Doubled):
            half_hour = HalfHour(start.first, amount, stated, counted, estimate)
            self._wait(series.piece, _Waiting(line, start, half_hour, series.piece.fuel, series.most))

    def _new_series(self, line: int, same: _Same) -> _Series:
        """Return what a row has in common with those that say the same four things. Raise LineRefused."""
        meter, measure, unit, fuel = same
        meter, measure = meter or self.stated.meter, measure or "import"
        if not meter:
            raise LineRefused("the row names no meter, and --meter was not given")
        of_fuel, factor = self._unit(unit)
        known = self._meter(line, meter, measure, of_fuel, fuel)
        piece = self._piece(meter, measure, known.fuel)
        self.count += 1  # of many meters without one value the memory would not be given back
        if piece.fuel != known.fuel:
            raise LineRefused("the unit is not of the meter's fuel")
        series = _Series(piece, factor, known.most)
        if not fuel or fuel == known.fuel:  # else it is noted of each line
            self._series[same] = series
        return series

    def _piece(self, meter: str, measure: str, fuel: str) -> Piece:
        """Return the piece that half-hours of a meter and measure are added to; a new one once the last has been taken out."""
        return self.pieces.setdefault((meter, measure), Piece(meter, measure, fuel, self.file))

    def _unit(self, unit: str | None) -> tuple[str, int]:
        unit = unit or self.layout.fixed_unit
        found = _UNITS.get(unit) or _UNITS.get(unit.strip().upper())
        if found is None:
            raise LineRefused("the unit is none of Wh (WHR), kWh (KWH) and m3 (MTQ)")
        return found

    def _meter(self, line: int, meter: str, measure: str, of_unit: str, fuel: str | None) -> KnownMeter:
        known = self._known(meter, of_unit)
        if known is None:
            raise LineRefused("the register has no such meter: load it first, with `meters load`")
        if measure not in known.measures:
            raise LineRefused("the register has no such measure of the meter")
        if of_unit != known.fuel:
            raise LineRefused("the unit is not of the meter's fuel")
        if fuel:
            named = fuel.strip().lower()
            if named != known.fuel:
                raise LineRefused("the fuel is not the meter's")
            if named != fuel and not self.layout.mends:
                raise LineRefused("the fuel is not in small letters")
            if named != fuel:
                self.report.noted["the fuel was written with a capital letter"].add(line)
        return known

    def _known(self, meter: str, of_unit: str) -> KnownMeter | None:
        if self.known is not None:
            return self.known(meter)
        if not 0 < len(meter) <= 48:  # the register is another source: what it knows is not asked here
            return None
        return KnownMeter(of_unit, ("import", "export"), plausible.most_in_half_an_hour(of_unit))

    def _is_half_an_hour(self, start: int | Doubled, to: object) -> None:
        end = self.times.at(to)
        if isinstance(start, int) and isinstance(end, int) and end != start + HALF_HOUR:
            raise LineRefused("the row is not of half an hour")

    def _stated(self, written: object) -> int | None:
        """Return when the row says that the reading was taken."""
        if written == "":
            return None
        at = self.times.at(written)
        if isinstance(at, Doubled):
            raise LineRefused("takenAt is a local time that came twice")
        return at

    def _taken_at(self, line: int, start: int, stated: int | None) -> int:
        """Return when a half-hour's reading was taken: after its end, and not in the future."""
        end = start + HALF_HOUR
        if start < _EARLIEST:
            raise LineRefused("the half-hour is before the year 2000")
        if end > self.now:
            raise LineRefused("the half-hour has not ended yet")
        if stated is None:
            return self._usually_taken_at(start)
        if stated > self.now:
            raise LineRefused("takenAt is in the future")
        if stated > end:
            return stated
        if not self.layout.mends:
            raise LineRefused("takenAt is not after the half-hour's end")
        self.report.noted["takenAt was before the half-hour's end; it is now half an hour after it"].add(line)
        return day.taken_at(start, None)

    def _usually_taken_at(self, start: int) -> int:
        """Return when a half-hour's reading was taken of which the row does not say it."""
        of_file = self.stated.taken_at
        return day.taken_at(start, of_file if of_file is not None and of_file > start + HALF_HOUR else None)

    def _register(self, series: _Series, written: object, unit: str | None) -> float | None:
        amount = number(written)
        fuel, factor = series.piece.fuel, series.factor
        if unit:
            named, factor = self._unit(unit)
            if named != fuel:
                raise LineRefused("the register's unit is not of the meter's fuel")
        if amount is None:
            return None
        scaled = _scaled(amount, factor)
        return None if plausible.is_code(fuel, scaled) else scaled

    def _wait(self, piece: Piece, row: _Waiting) -> None:
        if self._waiting_count >= _MOST_WAITING:
            raise LineRefused("too many hours that the local clock had twice in one file: load it in parts")
        self._waiting_count += 1
        self._waiting[piece.meter, piece.measure, row.doubled.hour].append(row)

    def _kept(
        self,
        line: int,
        series: _Series,
        start: int,
        value: float,
        stated: int | None,
        register: float | None,
        estimate: bool,
    ) -> None:
        piece, _, most = series
        taken_at = self._taken_at(line, start, stated)
        self.count += 1
        reason = plausible.implausible(piece.fuel, value, most)
        if reason is None:
            self.report.taken += 1
            piece.add(HalfHour(start, value, taken_at, register, estimate))
            piece.lines[start] = max(line, piece.lines.get(start, 0))
        else:
            self.report.aside[reason].add(line)
            row = SetAside(piece.meter, piece.measure, start, reason, value, taken_at, estimate, self.file, line)
            piece.set_aside(row)


def number(written: object) -> float | None:
    """Return a number of at least zero, or None for no value. Raise LineRefused."""
    if type(written) is float and written == written:  # not a number is not equal to itself
        found = written
    elif isinstance(written, str):
        text = written.strip()
        if text.lower() in _NO_VALUE:
            return None
        try:
            if "_" in text or not text.isascii():  # Python reads more as a number than files write
                raise ValueError
            found = float(text)
        except ValueError:
            raise LineRefused("the value is no number such as 0.42") from None
    elif written is None or written != written:
        return None
    elif isinstance(written, bool) or not isinstance(written, int | float | Decimal):
        raise LineRefused("the value is no number such as 0.42")
    else:
        found = float(written)
    if not 0 <= found <= _LARGEST:
        raise LineRefused("the value is below zero, or beyond any meter")
    return found


def _plain_numbers(written: Sequence[Any]) -> Sequence[float] | None:
    """Return numbers written as most are, with digits and a point; None if one of them may be something else."""
    kinds = set(map(type, written))
    if kinds == {str} and _DIGITS.issuperset("".join(written)):
        try:
            found = list(map(float, written))
        except ValueError:
            return None
    elif kinds == {float}:
        found = list(written)
    else:
        return None
    # A sum with one that is not a number is none.
    return found if min(found) >= 0 and max(found) <= _LARGEST and sum(found) >= 0 else None


def _are_instants(start: list[int | Doubled]) -> TypeGuard[list[int]]:
    return set(map(type, start)) == {int}


def _scaled(amount: float, factor: int) -> float:
    scaled = amount if factor == 1 else round(amount * factor, 6)
    return int(scaled) if scaled.is_integer() else scaled
