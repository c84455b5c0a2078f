"""The government's flat file of conversion factors, as published (xlsx) or saved as CSV: natural gas read from it.

The sheet "Factors by Category" has some lines of title, a header, and one factor on each line:

    ID | Scope | Level 1 | Level 2 | Level 3 | Level 4 | Column Text | UOM | GHG/Unit | GHG Conversion Factor 2025

Columns are found by their names, and lines by what they are about. An xlsx file is a zip archive of XML parts (ECMA-376):
the few elements that hold a cell's text are read here, and a part with a DOCTYPE is refused.
"""

import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from consent_server.scheme import factors
from consent_server.scheme.factors import FactorError, FactorSet

_LARGEST_FILE: Final = 32 * 1024 * 1024
_LARGEST_PART: Final = 64 * 1024 * 1024
_MOST_ROWS: Final = 100_000
_NEEDED: Final = ("Scope", "Level 1", "Level 2", "Level 3", "UOM", "GHG/Unit")
_VALUE: Final = re.compile(r"GHG Conversion Factor (20[0-9]{2})", re.ASCII)
_CELL: Final = re.compile(r"([A-Z]{1,3})[0-9]+", re.ASCII)
_XML: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"

_GAS: Final = ("Scope 1", "Fuels", "Gaseous fuels", "Natural gas")
_MINERAL: Final = (*_GAS[:3], "Natural gas (100% mineral blend)")
_M3: Final = ("cubic metres", "kg CO2e")
_KWH: Final = ("kWh (Gross CV)", "kg CO2e")


class FlatFileFault(Exception):
    """A file from which no set can be taken; str() says why, with the numbers of the rows."""


def read(path: Path, published: int | None, known: Iterable[FactorSet]) -> FactorSet:
    """Return the set of natural gas in a flat file.

    `published` is when the set was first published; None takes the instant of the known set of that year. Raise FlatFileFault.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise FlatFileFault(f"it is longer than {_LARGEST_FILE} bytes, which no flat file is")
        body = path.read_bytes()
    except OSError as error:
        raise FlatFileFault(f"it cannot be read: {error.strerror}") from None
    year, lines = _factors(_rows(body))
    earlier = next((each for each in known if each.year == year and not each.region), None)
    if published is None:
        if earlier is None:
            raise FlatFileFault(f"the set of {year} is new: say when it was published, with --published")
        published = earlier.published
    m3_row, per_m3 = _one(lines, (*_GAS, *_M3))
    kwh_row, per_kwh = _one(lines, (*_GAS, *_KWH))
    mineral = _one(lines, (*_MINERAL, *_M3))[1] if (*_MINERAL, *_M3) in lines else None
    title, source = factors.publication(year)
    found = FactorSet(
        year=year,
        published=published,
        kg_per_m3=per_m3,
        kg_per_kwh=per_kwh,
        title=title,
        source=source,
        mineral_kg_per_m3=mineral,
        file_sha256=hashlib.sha256(body).hexdigest(),
    )
    try:
        factors.check([found])
    except FactorError as error:
        raise FlatFileFault(f"rows {m3_row} and {kwh_row}: {error}") from None
    return found


_Lines = dict[tuple[str, ...], list[tuple[int, str]]]


def _factors(rows: Iterator[tuple[int, list[str]]]) -> tuple[int, _Lines]:
    """Return the year, and each factor's row and value by what it is about."""
    year = 0
    places: list[int] = []
    lines: _Lines = {}
    for number, cells in rows:
        if number > _MOST_ROWS:
            raise FlatFileFault(f"it has more than {_MOST_ROWS} rows")
        if not places:
            year, places = _header(number, cells)
            continue
        cells += [""] * (max(places) + 1 - len(cells))
        *about, value = (cells[place] for place in places)
        lines.setdefault(tuple(about), []).append((number, value))
    if not places:
        raise FlatFileFault(f"no row is a header with {', '.join(_NEEDED)} and GHG Conversion Factor with a year")
    return year, lines


def _header(number: int, cells: Sequence[str]) -> tuple[int, list[int]]:
    """Return the year and the places of the columns, or nothing for a row that is no header."""
    if not set(_NEEDED) <= set(cells):
        return 0, []
    values = [(place, found) for place, cell in enumerate(cells) if (found := _VALUE.fullmatch(cell))]
    if len(values) != 1 or any(cells.count(name) != 1 for name in _NEEDED):
        raise FlatFileFault(
            f"row {number}: the header must have each column once, and one GHG Conversion Factor with a year"
        )
    ((place, found),) = values
    return int(found[1]), [*(cells.index(name) for name in _NEEDED), place]


def _one(lines: _Lines, about: tuple[str, ...]) -> tuple[int, float]:
    """Return row and value of the one line about something."""
    named = " / ".join(about)
    found = lines.get(about, [])
    if not found:
        raise FlatFileFault(f"no row is {named}")
    if len(found) > 1:
        raise FlatFileFault(f"rows {', '.join(str(number) for number, _ in found)}: {named} is there more than once")
    ((number, text),) = found
    try:
        return number, float(text)
    except ValueError:
        raise FlatFileFault(f"row {number}: the factor is no number") from None


# Rows of either kind of file


def _rows(body: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield each row's number and its cells as text."""
    if body.startswith(b"PK"):
        return _xlsx(body)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FlatFileFault("it is neither xlsx nor CSV in UTF-8") from None
    return _csv(text)


def _csv(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for cells in reader:
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise FlatFileFault(f"row {reader.line_num}: {error}") from None


def _xlsx(body: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of the sheet that has the header."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            shared = [_text(item) for item in _parts(archive, "xl/sharedStrings.xml", "si")]
            names = [each for each in archive.namelist() if re.fullmatch(r"xl/worksheets/[^/]+\.xml", each)]
            for name in names:
                rows = [_cells(row, shared) for row in _parts(archive, name, "row")]
                if any(set(_NEEDED) <= set(cells) for _, cells in rows):
                    yield from rows
                    return
    except (zipfile.BadZipFile, ElementTree.ParseError, ValueError, IndexError, NotImplementedError, RuntimeError):
        raise FlatFileFault("it is no xlsx file that can be read") from None


def _parts(archive: zipfile.ZipFile, name: str, element: str) -> Iterator[ElementTree.Element]:
    """Yield the elements of one name in a part, which may be absent."""
    try:
        with archive.open(name) as part:
            body = part.read(_LARGEST_PART + 1)
    except KeyError:
        return
    if len(body) > _LARGEST_PART or b"<!DOCTYPE" in body or b"\0" in body:
        raise FlatFileFault(f"its part {name} is too long, or is no plain XML")
    yield from ElementTree.fromstring(body).iter(f"{_XML}{element}")  # noqa: S314 - no DOCTYPE, so no entities


def _cells(row: ElementTree.Element, shared: Sequence[str]) -> tuple[int, list[str]]:
    cells: list[str] = []
    for cell in row.iter(f"{_XML}c"):
        place = _place(cell.get("r", ""))
        cells += [""] * (place + 1 - len(cells))
        value = cell.findtext(f"{_XML}v") or ""
        kind = cell.get("t")
        text = shared[int(value)] if kind == "s" else _text(cell) if kind == "inlineStr" else value
        cells[place] = text.strip()
    return int(row.get("r", "0")), cells


def _place(reference: str) -> int:
    """Return the place of a cell in its row, counted from 0: of AB7 it is 27."""
    found = _CELL.fullmatch(reference)
    if found is None:
        raise ValueError("a cell has a reference")
    place = 0
    for letter in found[1]:
        place = place * 26 + ord(letter) - ord("A") + 1
    return place - 1


def _text(item: ElementTree.Element) -> str:
    return "".join(run.text or "" for run in item.iter(f"{_XML}t"))
