"""Register and readings that arrive as rows: of a database, of files, of a service. What they say is checked here.

A source of rows has two methods for the readings, three for the register, and a fourth where businesses log in. Nothing that
it returns is trusted: a row of another meter, business, customer or measure, an instant without its zone, a unit of another
fuel or a half-hour too many refuses the whole response, and the client may try again later. The columns are those of
docs/metering.md.
"""

import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from consent_server import clock
from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.metering.register import Identified, Tenancy
from consent_server.metering.unavailable import SourceUnavailable
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.meters import MeterNumberError, masked, parse_postcode
from consent_server.scheme.readings import UNIT, HalfHours, ReadingError, all_are, all_known, ours_in
from consent_server.store.tables.metering import Meter

#: Columns by name, each with one value for each row. An array holds whole numbers (q) or floats (d).
Columns = Mapping[str, Sequence[Any]]
#: What a row of a register may say.
TENANCY: Final = (
    "meter",
    "sme",
    "business",
    "fuel",
    "number",
    "postcode",
    "measures",
    "site",
    "since",
    "until",
    "customer",
)
#: A window reaches over 400 days at most.
MOST_HALF_HOURS: Final = 400 * DAY // HALF_HOUR
#: Rows of one meter's number, and of one business: it may have 10,000 meters, some of them more than once.
MOST_HOLDERS: Final = 1000
MOST_TENANCIES: Final = 20_000
#: Meters whose extents or tenancies are asked for at once.
MOST_METERS: Final = 1000
_MEASURES: Final = (["import"], ["export"], ["export", "import"])
#: What an array holds.
_TYPE_OF: Final[dict[str, type]] = {"q": int, "d": float}
_NUMBER: Final = re.compile(r"[0-9]{6,13}", re.ASCII)
_LATEST: Final = 253402300800  # after the year 9999, which no instant of the standard is


class BadRow(ValueError):
    """A row is not what docs/metering.md says; the sentence names the column and never what was in it."""


class RowRegister(ABC):
    """A register whose rows are read from elsewhere. With `vouches` its business ids prove that sites belong together."""

    def __init__(self, vouches: bool) -> None:
        self.vouches = vouches

    @abstractmethod
    def by_number(self, fuel: str, number: str) -> Columns:
        """Return every tenancy of the meter with a number. Raise SourceUnavailable."""

    @abstractmethod
    def of_meters(self, meters: Sequence[str]) -> Columns:
        """Return every tenancy of each of some meters, whoever's. Raise SourceUnavailable."""

    @abstractmethod
    def of_business(self, sme: str) -> Columns:
        """Return every tenancy of a business. Raise SourceUnavailable."""

    @abstractmethod
    def by_customer(self, customer: str) -> Columns:
        """Return every tenancy of whoever has a log-in of this name, which each row repeats. Raise SourceUnavailable."""

    def find(self, postcode: str, mpan: str | None, mprn: str | None, at: int) -> Identified | None:
        """Return the business, after the same look-ups whatever was wrong. Raise SourceUnavailable."""
        given = [(fuel, number) for fuel, number in (("electricity", mpan), ("gas", mprn)) if number]
        return identified([self._holder(fuel, number, at) for fuel, number in given], postcode)

    def of_customer(self, customer: str, at: int) -> Identified | None:
        """Return the business whose rows name the customer. Raise SourceUnavailable."""
        if not customer:
            return None
        with _unavailable("register"):
            found = self.by_customer(customer)
            rows = _meters(found, MOST_TENANCIES)
            (named,) = _required(found, "customer")
        if any(each != customer for each in named):
            raise SourceUnavailable("register: a row of another customer")
        business = business_of([row for row in rows if tenancy_of(row).holds(at)])
        if business is None:
            return None
        own = self._held(business.sme, [meter.meter for meter in business.meters], at)
        return replace(business, meters=own) if own else None

    def sites(self, sme: str, at: int) -> Sequence[Tenancy]:
        """Return the business's meters, if its ids vouch for them. Raise SourceUnavailable."""
        if not self.vouches:
            return ()
        with _unavailable("register"):
            rows = _meters(self.of_business(sme), MOST_TENANCIES)
        if any(row.sme != sme for row in rows):
            raise SourceUnavailable("register: a row of another business")
        rows.sort(key=lambda row: (row.postcode, row.id))
        return self._held(sme, [row.id for row in rows], at)

    def tenancies(self, sme: str, meters: Collection[str]) -> Mapping[str, Tenancy]:
        """Return the business's newest time at each, without any that is another business's too. Raise SourceUnavailable."""
        rows = [undisputed(row, those) for those in self._of(meters).values() for row in those if row.sme == sme]
        own = sorted((row for row in rows if row is not None), key=lambda row: row.since)
        return {row.id: tenancy_of(row) for row in own}

    def disputed(self, meters: Collection[str]) -> list[str]:
        """Return which of some meters two businesses have at once. Raise SourceUnavailable."""
        return [meter for meter, rows in self._of(meters).items() if any(undisputed(row, rows) != row for row in rows)]

    def _held(self, sme: str, meters: Sequence[str], at: int) -> list[Tenancy]:
        """Return those of a business's meters that are its own at an instant, in their order."""
        own = self.tenancies(sme, meters)
        return [own[meter] for meter in dict.fromkeys(meters) if meter in own and own[meter].holds(at)]

    def _holder(self, fuel: str, number: str, at: int) -> Meter | None:
        """Return the meter in the hands in which it is at an instant, None also where the register has two."""
        with _unavailable("register"):
            rows = _meters(self.by_number(fuel, number), MOST_HOLDERS)
        if any((row.fuel, row.number) != (fuel, number) for row in rows):
            raise SourceUnavailable("register: a row of another number")
        own = (undisputed(row, rows) for row in rows)
        held = [row for row in own if row is not None and tenancy_of(row).holds(at)]
        return held[0] if len(held) == 1 else None

    def _of(self, meters: Collection[str]) -> dict[str, list[Meter]]:
        """Return meter -> its tenancies, for those that have any."""
        wanted = sorted(set(meters))
        found: dict[str, list[Meter]] = {}
        for offset in range(0, len(wanted), MOST_METERS):
            asked = wanted[offset : offset + MOST_METERS]
            with _unavailable("register"):
                rows = _meters(self.of_meters(asked), MOST_TENANCIES)
            if not {row.id for row in rows} <= set(asked):
                raise SourceUnavailable("register: a row of another meter")
            for row in rows:
                found.setdefault(row.id, []).append(row)
        return found


class RowReadings(ABC):
    """Readings whose rows are read from elsewhere."""

    @abstractmethod
    def rows_of(self, request: ReadingsRequest) -> Columns:
        """Return the half-hours of a request. Raise SourceUnavailable."""

    @abstractmethod
    def extents(self, meters: Sequence[str]) -> Columns:
        """Return for each of some meters of which there are readings the first half-hour and the last one's end.

        The columns are meter, first and until. Raise SourceUnavailable.
        """

    def advice(self) -> Sequence[str]:
        """Return sentences on how the same rows would be read faster. Raise SourceUnavailable."""
        return ()

    def half_hours(self, request: ReadingsRequest) -> Held:
        """Return the half-hours that have ended. Raise SourceUnavailable, and ReadingError for what cannot be so."""
        now = clock.now()
        request = replace(request, end=min(request.end, now - now % HALF_HOUR))
        if request.start >= request.end:
            return Held()
        half_hours = half_hours_of(request, self.rows_of(request))
        metered = self._metered(request, half_hours.start)
        if not all_known(half_hours.value):
            half_hours = half_hours.where([each is not None for each in half_hours.value])
        return Held.of_columns(request, half_hours, metered)

    def begin(self, meters: Collection[str]) -> Mapping[str, int]:
        """Return the first half-hour that is held of each. Raise SourceUnavailable."""
        wanted = sorted(meters)
        first: dict[str, int] = {}
        for offset in range(0, len(wanted), MOST_METERS):
            with _unavailable("readings"):
                found = self._extents(wanted[offset : offset + MOST_METERS])
            first |= {meter: extent[0] for meter, extent in found.items()}
        return first

    def _metered(self, request: ReadingsRequest, start: Sequence[int]) -> tuple[int, int] | None:
        """Return the part of a window for which the meter has been read, given the half-hours that there are rows of.

        It is all of it where there are rows of its first and its last; else the source is asked, after the rows, so that a
        half-hour that arrives between the two is none too many.
        """
        if start and (start[0], start[-1]) == (request.start, request.end - HALF_HOUR):
            return request.start, request.end
        extent = self._extents([request.meter]).get(request.meter)
        first, until = (max(extent[0], request.start), min(extent[1], request.end)) if extent else (0, 0)
        return (first, until) if first < until else None

    def _extents(self, meters: Sequence[str]) -> dict[str, tuple[int, int]]:
        return extents_of(self.extents(meters), meters)


def identified(found: Sequence[Meter | None], postcode: str) -> Identified | None:
    """Return the business that holds what was found by each number given, if all is at the postcode and of one business."""
    known = [row for row in found if row is not None and row.postcode == postcode]
    if not found or len(known) != len(found) or len({row.sme for row in known}) != 1:
        return None
    return Identified(known[0].sme, known[0].business, [tenancy_of(row) for row in known])


def business_of(held: Sequence[Meter]) -> Identified | None:
    """Return the business that holds a customer's meters, if it is one, and each meter is there once."""
    if len({row.sme for row in held}) != 1 or len({row.id for row in held}) < len(held):
        return None
    return Identified(held[0].sme, held[0].business, [tenancy_of(row) for row in held])


def undisputed(row: Meter, rows: Iterable[Meter]) -> Meter | None:
    """Return a row with the newest part of its time that no other business has in these rows of its meter; None for none.

    Whose half-hours those of two businesses are cannot be known, so they are nobody's.
    """
    until = _end(row)
    for other in sorted((each for each in rows if each.sme != row.sme), key=_end, reverse=True):
        if _end(other) < until:
            return row._replace(since=max(row.since, _end(other)), until=None if until == _LATEST else until)
        until = min(until, other.since)
        if until <= row.since:
            return None
    return row._replace(until=None if until == _LATEST else until)


def _end(row: Meter) -> int:
    return _LATEST if row.until is None else row.until


def tenancy_of(row: Meter) -> Tenancy:
    """Return a business's time at a meter."""
    return Tenancy(
        meter=row.id,
        fuel=row.fuel,
        measures=tuple(row.measures),
        outcode=row.outcode,
        masked=masked(row.number),
        site=row.site,
        place=f"{row.postcode} {row.site}",
        since=row.since,
        until=row.until,
    )


def half_hours_of(request: ReadingsRequest, rows: Columns) -> HalfHours:
    """Return the rows of a request. Raise ReadingError. The value is None of a half-hour that is missing."""
    start, value, unit = _required(rows, "start", "value", "unit")
    _all_are(rows, request)
    if len(start) > MOST_HALF_HOURS:
        raise ReadingError("more half-hours than were asked for")
    factor = ours_in(request.fuel, unit)
    taken_at, register = (rows.get(name) or [None] * len(start) for name in ("taken_at", "cumulative"))
    estimated = rows.get("estimated") or [False] * len(start)
    return HalfHours(
        _instants(start, "start"),
        _each(value, (float, int, type(None)) if factor == 1 else (), lambda each: _number(each, factor)),
        _instants(taken_at, "taken_at"),
        _each(register, (float, int, type(None)) if factor == 1 else (), lambda each: _number(each, factor)),
        estimated if all_are(estimated, False) else _each(estimated, (bool,), _flag),
    )


def extents_of(rows: Columns, meters: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return meter -> its first half-hour and the end of its last. Raise ReadingError."""
    meter, first, until = _required(rows, "meter", "first", "until")
    found = {each: (_at(a, "first"), _at(b, "until")) for each, a, b in zip(meter, first, until, strict=True)}
    if len(found) < len(meter) or not found.keys() <= set(meters):
        raise ReadingError("extents of another meter, or of one twice")
    if any(a % HALF_HOUR or b % HALF_HOUR or a >= b for a, b in found.values()):
        raise ReadingError("an extent does not begin and end on the half-hour")
    return found


def columns_of(objects: Iterable[Mapping[str, Any]], names: Collection[str]) -> Columns:
    """Return objects as columns; what one of them lacks is None."""
    listed = list(objects)
    return {name: [each.get(name) for each in listed] for name in names}


def _required(rows: Columns, *names: str) -> list[Sequence[Any]]:
    lacking = [name for name in names if name not in rows]
    if lacking:
        raise ReadingError(f"the rows have no column {lacking[0]}")
    return [rows[name] for name in names]


def _all_are(rows: Columns, request: ReadingsRequest) -> None:
    """Raise ReadingError unless every row says that it is of the meter, and where it says so of the fuel and measure."""
    (meter,) = _required(rows, "meter")
    for column, asked in (
        (meter, request.meter),
        (rows.get("measure"), request.measure),
        (rows.get("fuel"), request.fuel),
    ):
        if column and not all_are(column, asked):
            raise ReadingError("a row of another meter, measure or fuel")


def _at(value: object, name: str) -> int:
    """Return an instant: whole seconds, RFC 3339 text, or a date and time with its zone."""
    if type(value) is int and 0 <= value < _LATEST:
        return value
    if isinstance(value, datetime) and value.tzinfo is not None and not value.microsecond:
        return int(value.timestamp())
    if isinstance(value, str):
        try:
            return instant.parse(value)
        except ValueError:
            pass
    raise ReadingError(f"{name}: neither seconds since 1970, nor a time with its zone")


def _number(value: Any, factor: int) -> Any:
    """Return a number in our unit; what is none is left for the check that every half-hour passes."""
    if isinstance(value, Decimal):
        value = float(value)
    if factor == 1 or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return round(value * factor, 6)


def _instants(column: Sequence[Any], name: str) -> Sequence[Any]:
    """Return instants, or None for those that are not known; an array of whole numbers stays one."""
    if isinstance(column, array) and column.typecode == "q":
        return column
    return _each(column, (int, type(None)), lambda each: None if each is None else _at(each, name))


def _each(column: Sequence[Any], as_they_are: tuple[type, ...], read: Callable[[Any], Any]) -> Sequence[Any]:
    """Return what `read` makes of each value, without looking at them one by one if all are of types that stay as they are."""
    types = {_TYPE_OF[column.typecode]} if isinstance(column, array) else set(map(type, column))
    return column if types <= set(as_they_are) else list(map(read, column))


def _flag(value: object) -> bool:
    """Return a truth, which some databases keep as 1 and 0. An estimate may not pass as a reading because it was misspelt."""
    if value not in (None, False, True):
        raise ReadingError("estimated: true or false")
    return bool(value)


@contextmanager
def _unavailable(what: str) -> Iterator[None]:
    """Turn a fault in a row into the refusal that pages and clients get."""
    try:
        yield
    except (BadRow, ReadingError) as error:
        raise SourceUnavailable(f"{what}: {error}") from None


def _meters(rows: Columns, most: int) -> list[Meter]:
    """Return the rows of a register. Raise BadRow and ReadingError."""
    columns = _required(rows, "meter", "sme", "business", "fuel", "number", "postcode")
    if len(columns[0]) > most:
        raise BadRow("more rows than one business or meter can have")
    rest = [rows.get(name) or [None] * len(columns[0]) for name in ("measures", "site", "since", "until")]
    return [_meter(*row) for row in zip(*columns, *rest, strict=True)]


def _meter(
    meter: object,
    sme: object,
    business: object,
    fuel: object,
    number: object,
    postcode: object,
    measures: Any,
    site: object,
    since: object,
    until: object,
) -> Meter:
    if not isinstance(fuel, str) or fuel not in UNIT:
        raise BadRow("fuel: electricity or gas")
    if not isinstance(number, str) or not _NUMBER.fullmatch(number):
        raise BadRow("number: an MPAN core or an MPRN, as text")
    try:
        place = parse_postcode(_text(postcode, "postcode", 16))
    except MeterNumberError:
        raise BadRow("postcode: none of Great Britain") from None
    listed = measures.split(",") if isinstance(measures, str) else measures or ["import"]
    if not isinstance(listed, list | tuple) or sorted(map(str, listed)) not in _MEASURES:
        raise BadRow("measures: import, export or both")
    row = Meter(
        id=_text(meter, "meter", 48),
        sme=_text(sme, "sme", 300),
        business=_text(business, "business", 300),
        fuel=fuel,
        number=number,
        postcode=place.full,
        outcode=place.outcode,
        measures=sorted(listed, reverse=True),
        since=0 if since is None else _at(since, "since"),
        until=None if until is None else _at(until, "until"),
        site="" if site is None else _text(site or " ", "site", 300).strip(),
    )
    if row.until is not None and row.since >= row.until:
        raise BadRow("until: not after since")
    return row


def _text(value: object, name: str, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise BadRow(f"{name}: no text of at most {longest} characters")
    return value
