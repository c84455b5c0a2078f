"""`meters load`: a file of meters and whose they are, into our own table.

A line is one business's time at one meter. Loading the later of two ends the earlier where the later begins, in whichever order
they come.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from consent_server import store
from consent_server.metering.importing.files import table
from consent_server.metering.importing.report import FileFault, LineRefused, LoadReport
from consent_server.scheme import instant, plausible
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.meters import MeterNumberError, parse_mpan, parse_mprn, parse_postcode
from consent_server.store import Connection
from consent_server.store import meters as meter_table
from consent_server.store.tables.metering import Meter

#: Columns that must be there, and those that may. A number's column says its fuel.
_NEEDED: Final = ("meter_id", "sme_id", "business", "postcode")
_NUMBERS: Final = {"mpan": ELECTRICITY, "mprn": GAS}
_LONGEST_ID: Final = 48
_LONGEST_WORDS: Final = 200
_AT_ONCE: Final = 2000
#: What may be between two measures, beside spaces.
_BETWEEN: Final = str.maketrans(",;", "  ")
#: A number as spreadsheets write it: what else is in it than digits would be left out.
_DECIMAL: Final = re.compile(r"\s*[0-9]+(?:[.,][0-9]*(?:[Ee][+-]?[0-9]+)?|[Ee][+-]?[0-9]+)\s*", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_HERE: Final = ZoneInfo("Europe/London")  # dates of a tenancy are those of people


def load(path: Path, dry_run: bool, report: LoadReport) -> None:
    """Load a file; what became of its lines goes into the report. Raise FileFault and StoreUnavailable."""
    seen: dict[tuple[str, int | None], int] = {}
    batch: list[tuple[int, Meter, bool]] = []
    for line, columns in table(path, report):
        try:
            row, since_is_stated = _meter(columns, report, line)
            key, content = (row.id, row.since if since_is_stated else None), hash(repr(row))
            if seen.setdefault(key, content) != content:
                raise LineRefused("the meter is there twice with the same beginning, and says two things")
        except LineRefused as refused:
            report.refused[str(refused)].add(line)
            continue
        batch.append((line, row, since_is_stated))
        if len(batch) >= _AT_ONCE:
            _keep(batch, dry_run, report)
            batch = []
    _keep(batch, dry_run, report)


def _meter(columns: Mapping[str, str], report: LoadReport, line: int) -> tuple[Meter, bool]:
    """Return the tenancy in a line, and whether it says when it begins. Raise LineRefused."""
    if missing := [name for name in _NEEDED if name not in columns]:
        raise FileFault(f"there is no column {' and no '.join(missing)}")
    given = {
        name: columns.get(name, "").strip()
        for name in (*columns, "measures", "site", "since", "until", "capacity", "customer")
    }
    if not all(given[name].isprintable() for name in ("meter_id", "sme_id", "customer")):
        raise LineRefused("meter_id, sme_id or customer has a character that cannot be seen")
    if not all(0 < len(given[name]) <= _LONGEST_ID for name in ("meter_id", "sme_id")):
        raise LineRefused("meter_id or sme_id is empty, or longer than 48 characters")
    if not 0 < len(given["business"]) <= _LONGEST_WORDS or len(given["site"]) > _LONGEST_WORDS:
        raise LineRefused("the business has no name, or the name or the site is longer than 200 characters")
    if len(given["customer"]) > _LONGEST_WORDS:
        raise LineRefused("the customer is longer than 200 characters")
    fuel, number, fits = _number(given)
    if not fits:
        report.noted["the number's check digit is not right; it was taken as it is"].add(line)
    measures = given["measures"].lower().translate(_BETWEEN).split() or ["import"]
    if not set(measures) <= {"import", "export"} or len(set(measures)) < len(measures):
        raise LineRefused("measures is import, export or “import export”")
    try:
        place = parse_postcode(given["postcode"])
        capacity = plausible.capacity(fuel, given["capacity"]) if given["capacity"] else None
        since, until = _instant(given["since"]), _instant(given["until"])
    except ValueError as error:
        raise LineRefused(str(error)) from None
    if until is not None and until <= (since or 0):
        raise LineRefused("until is not after since")
    row = Meter(
        id=given["meter_id"],
        sme=given["sme_id"],
        business=given["business"],
        fuel=fuel,
        number=number,
        postcode=place.full,
        outcode=place.outcode,
        measures=sorted(measures, reverse=True),
        since=since or 0,
        until=until,
        site=given["site"],
        capacity=capacity,
        customer=given["customer"] or None,
    )
    return row, since is not None


def _number(given: Mapping[str, str]) -> tuple[str, str, bool]:
    """Return the fuel, the number, and whether its check digit is right."""
    written = [(name, given[name]) for name in _NUMBERS if given.get(name)]
    if len(written) != 1:
        raise LineRefused("a line has one number, in the column mpan or mprn")
    ((name, text),) = written
    if _DECIMAL.fullmatch(text):
        raise LineRefused(f"the {name.upper()} is a decimal number, as spreadsheets write it: make its column text")
    try:
        found = parse_mpan(text) if name == "mpan" else parse_mprn(text)
    except MeterNumberError:
        digits = "13 digits, the first two at least 10" if name == "mpan" else "6 to 10 digits"
        raise LineRefused(f"the {name.upper()} has not {digits}") from None
    if not int(found.number):
        raise LineRefused(f"the {name.upper()} is all zeros: give each meter its own number")
    return _NUMBERS[name], found.number, found.check_digit_ok


def _instant(text: str) -> int | None:
    """Read an instant, or a date: the midnight at which it begins in the United Kingdom. Raise ValueError."""
    if not text:
        return None
    if not _DATE.fullmatch(text):
        try:
            return max(0, instant.parse(text))
        except ValueError:
            raise ValueError("since or until is no date such as 2026-03-12, and no 2026-03-12T09:30:00Z") from None
    return max(0, int(datetime.fromisoformat(text).replace(tzinfo=_HERE).timestamp()))


def _keep(batch: Sequence[tuple[int, Meter, bool]], dry_run: bool, report: LoadReport) -> None:
    if not batch:
        return

    def merge(c: Connection) -> tuple[int, list[tuple[str, int]]]:
        taken, refused, changed = _merged(c, batch)
        if changed and not dry_run:
            meter_table.put(c, *changed)
        return taken, refused

    taken, refused = store.write_with_retry(merge)
    report.taken += taken
    for reason, line in refused:
        report.refused[reason].add(line)


def _merged(c: Connection, batch: Sequence[tuple[int, Meter, bool]]) -> tuple[int, list[tuple[str, int]], list[Meter]]:
    """Return how many lines were taken, the reasons and lines of the others, and the tenancies as they are then kept."""
    held: dict[str, dict[int, Meter]] = {}
    for row in meter_table.described(c, {row.id for _, row, _ in batch}):
        held.setdefault(row.id, {})[row.since] = row
    holders: dict[tuple[str, str], str] = {}
    for fuel in (ELECTRICITY, GAS):
        numbers = {row.number for _, row, _ in batch if row.fuel == fuel}
        holders |= {(fuel, row.number): row.id for row in meter_table.with_number(c, fuel, numbers)}
    taken, refused, changed = 0, [], set()
    for line, row, since_is_stated in batch:
        times = held.setdefault(row.id, {})
        try:
            row = _placed(row, since_is_stated, times)
            if holders.setdefault((row.fuel, row.number), row.id) != row.id:
                raise LineRefused("the number is another meter's")
        except LineRefused as reason:
            refused.append((str(reason), line))
            continue
        times[row.since] = row
        changed.add(row.id)
        taken += 1
    return taken, refused, [row for meter in sorted(changed) for row in _ended(held[meter].values())]


def _placed(row: Meter, since_is_stated: bool, times: Mapping[int, Meter]) -> Meter:
    """Return a line's tenancy with the beginning that it has among those held. Raise LineRefused."""
    if any((each.fuel, each.number) != (row.fuel, row.number) for each in times.values()):
        raise LineRefused("the meter has another number in the register")
    if since_is_stated or not times:
        return row
    newest = times[max(times)]
    if newest.sme != row.sme:
        raise LineRefused("the meter is another business's: since must say when it changes hands")
    if row.until is not None and row.until <= newest.since:
        raise LineRefused("until is not after since")
    return row._replace(since=newest.since)


def _ended(times: Iterable[Meter]) -> list[Meter]:
    """Return a meter's tenancies, each ended where the next begins at the latest."""
    ordered = sorted(times, key=lambda row: row.since)
    for index, (row, following) in enumerate(pairwise(ordered)):
        if row.until is None or row.until > following.since:
            ordered[index] = row._replace(until=following.since)
    return ordered
