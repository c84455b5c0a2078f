"""Reading files of any size, with bounded memory: CSV, JSON and Parquet, as rows with their numbers.

A line that cannot be read is refused by
itself; a file that cannot be read any further is a FileFault.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import IO, Any, Final

import orjson

from consent_server.metering.importing.layouts import FACTS, TEXTS, Layout, Row, columns
from consent_server.metering.importing.report import FileFault, LineRefused, LoadReport

#: The longest line, the largest JSON document that is not one object a line, and rows that are handed on at once.
_LONGEST: Final = 65_536
_LARGEST_DOCUMENT: Final = 256 * 1024 * 1024
_AT_ONCE: Final = 4096
_LARGEST_COLUMN: Final = 256 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"
#: How files begin that are often taken for CSV, and what to do with one.
_OTHERS: Final = {
    b"PK\x03\x04": "a workbook or an archive: save it as CSV in UTF-8, or unpack it first",
    b"\xd0\xcf\x11\xe0": "an old workbook: save it as CSV in UTF-8 first",
    b"\x1f\x8b": "compressed: unpack it first",
    b"\xff\xfe": "text in UTF-16: save it in UTF-8 first",
    b"\xfe\xff": "text in UTF-16: save it in UTF-8 first",
}
#: What the second of two members of one name has after it: names that differ in this alone are one.
_AGAIN: Final = " "


def rows(path: Path, layout: Layout, meter_is_stated: bool, report: LoadReport) -> Iterator[tuple[list[Row], int]]:
    """Yield some rows at a time, and how many bytes of the file have been read. Raise FileFault."""
    with _opened(path) as (file, begin):
        if begin == b"PAR1":
            yield from _parquet(path, layout, meter_is_stated)
        elif path.suffix.lower() == ".parquet":
            raise FileFault("this is no Parquet file")
        elif _is_json(begin):
            yield from _json(file, layout, meter_is_stated, report)
        else:
            yield from _csv(file, layout, meter_is_stated, report)


def table(path: Path, report: LoadReport) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the lines of a small CSV or JSON file as their columns by name, in small letters. Raise FileFault."""
    with _opened(path) as (file, begin):
        if _is_json(begin):
            for number, item in _objects(file, report):
                flat = _flat(item)
                if flat is None:
                    report.refused["the object has a member twice"].add(number)
                elif not all(value is None or type(value) in (str, int, float) for value in flat.values()):
                    report.refused["a member is neither text nor a number"].add(number)
                else:
                    yield number, {key: "" if value is None else str(value) for key, value in flat.items()}
            return
        lines = _lines(file, report)
        header, delimiter = _header(lines)
        names = [name.strip().casefold() for name in header]
        if len(set(names)) < len(names):
            raise FileFault("a column is there twice")
        for number, fields in _fields(lines, delimiter, len(header), report):
            yield number, dict(zip(names, fields, strict=True))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], bytes]]:
    """Open a file, which may not change until it is closed, and return how it begins. Raise FileFault."""
    try:
        with path.open("rb") as file:
            begin, before = file.read(4), os.fstat(file.fileno())
            for other, what in _OTHERS.items():
                if begin.startswith(other):
                    raise FileFault(f"this is {what}")
            file.seek(0)
            yield file, begin
            after = os.fstat(file.fileno())
    except OSError as error:
        raise FileFault(f"the file cannot be read: {error.strerror}") from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise FileFault("the file changed while it was read: load it again when it is complete")


def _is_json(begin: bytes) -> bool:
    return begin.removeprefix(_BOM).lstrip()[:1] in (b"[", b"{")


# CSV


def _csv(file: IO[bytes], layout: Layout, meter_is_stated: bool, report: LoadReport) -> Iterator[tuple[list[Row], int]]:
    lines = _lines(file, report)
    header, delimiter = _header(lines)
    where = _columns(layout, header, meter_is_stated)
    batch: list[Row] = []
    for number, fields in _fields(lines, delimiter, len(header), report):
        batch.append((number, *[None if index is None else fields[index] for index in where]))
        if len(batch) >= _AT_ONCE:
            yield batch, file.tell()
            batch = []
    yield batch, file.tell()


def _header(lines: Iterator[tuple[int, str]]) -> tuple[list[str], str]:
    """Return the names of the columns, and what is between them."""
    _, first = next(lines, (0, ""))
    if not first:
        raise FileFault("the file has no line with the names of its columns")
    delimiter = max(",;\t|", key=first.count)
    try:
        return _split(first, delimiter), delimiter
    except LineRefused as refused:
        raise FileFault(f"line 1: {refused}") from None


def _fields(
    lines: Iterator[tuple[int, str]], delimiter: str, count: int, report: LoadReport
) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        try:
            fields = _split(line, delimiter)
            if len(fields) != count:
                raise LineRefused(f"the line has not {count} columns, as the first line has")
        except LineRefused as refused:
            report.refused[str(refused)].add(number)
        else:
            yield number, fields


def _split(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    try:
        (fields,) = csv.reader([line], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        raise LineRefused("a quotation mark is not closed, or not where one may be") from None
    return fields


def _lines(file: IO[bytes], report: LoadReport) -> Iterator[tuple[int, str]]:
    """Yield the lines that are text, and not empty, with their numbers."""
    number = 0
    while raw := file.readline(_LONGEST):
        number += 1
        if len(raw) == _LONGEST and raw[-1:] != b"\n":
            while (more := file.readline(_LONGEST)) and more[-1:] != b"\n":
                pass
            report.refused[f"the line is longer than {_LONGEST} bytes"].add(number)
            continue
        if number == 1:
            raw = raw.removeprefix(_BOM)
            if b"\0" in raw:
                raise FileFault("the file is not text in UTF-8")
        try:
            line = raw.rstrip(b"\r\n").decode()
        except UnicodeDecodeError:
            report.refused["the line is not text in UTF-8"].add(number)
            continue
        if "\0" in line:
            report.refused["the line is not text in UTF-8"].add(number)
        elif line.strip():
            yield number, line
            if raw[-1:] not in (b"\n", b"}"):  # what is cut off within JSON is none
                report.noted["the file ends without a line end: was its last line cut off?"].add(number)


# JSON


def _json(
    file: IO[bytes], layout: Layout, meter_is_stated: bool, report: LoadReport
) -> Iterator[tuple[list[Row], int]]:
    names = [(getattr(layout, fact), fact in TEXTS) for fact in FACTS]
    checked = False
    batch: list[Row] = []
    for number, item in _objects(file, report):
        flat = _flat(item)
        if flat is None:
            report.refused["the object has a member twice"].add(number)
            continue
        if not checked:
            _columns(layout, list(flat), meter_is_stated)
            checked = True
        batch.append((number, *[_fact(flat.get(name), text) if name else None for name, text in names]))
        if len(batch) >= _AT_ONCE:
            yield batch, file.tell()
            batch = []
    yield batch, file.tell()


def _objects(file: IO[bytes], report: LoadReport) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield objects with their numbers: one on each line, or those of a list, or of the list that a member `data` is."""
    items = _on_lines(_lines(file, report)) if _begins_with_an_object(file) else enumerate(_listed(file), 1)
    for number, item in items:
        if isinstance(item, dict):
            yield number, item
        else:
            report.refused["what is in its place is no JSON object"].add(number)


def _on_lines(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, object]]:
    for number, line in lines:
        try:
            yield number, _loaded(line.encode())
        except orjson.JSONDecodeError:
            yield number, None


def _listed(file: IO[bytes]) -> list[object]:
    """Return the list that a JSON document is, or that its member `data` is. Raise FileFault."""
    raw = file.read(_LARGEST_DOCUMENT + 1)
    if len(raw) > _LARGEST_DOCUMENT:
        raise FileFault("a JSON document is 256 MiB at most; write one object on each line instead")
    try:
        document = _loaded(raw.removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        raise FileFault(f"the file is no JSON: {error}") from None
    if isinstance(document, dict):
        if f"data{_AGAIN}" in document:
            raise FileFault("the JSON has the member data twice")
        document = document.get("data")
    if not isinstance(document, list):
        raise FileFault("the JSON has no list of readings")
    return document


def _loaded(text: bytes) -> Any:
    """Return JSON. A member that is there twice is there under a name with _AGAIN too, which `_flat` refuses.

    orjson returns the last of them and does not tell. A text has a colon for each member, besides those in names and values:
    where it has more, or an escape that may be one, the standard library's parser reads it again. Raise orjson.JSONDecodeError.
    """
    found = orjson.loads(text)
    if b"\\" in text or text.count(b":") != _colons(found):
        return json.loads(text, object_pairs_hook=_with_doubles, parse_int=orjson.loads, parse_float=orjson.loads)
    return found


def _colons(found: Any) -> int:
    """Return how many colons JSON has without its white space and escapes."""
    if isinstance(found, str):
        return found.count(":")
    if isinstance(found, dict):
        return len(found) + sum(_colons(name) + _colons(value) for name, value in found.items())
    return sum(map(_colons, found)) if isinstance(found, list) else 0


def _with_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name + _AGAIN if name in found else name] = value
    return found


def _begins_with_an_object(file: IO[bytes]) -> bool:
    """Return whether a file has an object on each line; the file is then at its beginning."""
    file.seek(0)
    line = file.readline(_LONGEST).removeprefix(_BOM)
    file.seek(0)
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(found, dict) and "data" not in found


def _flat(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return the members of an object, and those of objects in it by a name with a point; None if two have one name."""
    flat: dict[str, Any] = {}
    count = 0
    for key, value in item.items():
        name = key.strip().casefold()
        if isinstance(value, dict):
            flat |= {f"{name}.{inner.strip().casefold()}": each for inner, each in value.items()}
            count += len(value)
        else:
            flat[name] = value
            count += 1
    return flat if len(flat) == count else None


def _fact(value: object, text: bool) -> object:
    """Return a fact's value, as text where a fact is one; a list or a truth value becomes a text that is refused."""
    if value is None or type(value) is str or (type(value) in (int, float) and not text):
        return value
    return str(value) if type(value) is int else f"({type(value).__name__})"


# Parquet


def _parquet(path: Path, layout: Layout, meter_is_stated: bool) -> Iterator[tuple[list[Row], int]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise FileFault("Parquet files need the package pyarrow: pip install 'consent-server[parquet]'") from None
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            where = _columns(layout, names, meter_is_stated)
            wanted = [names[index] for index in where if index is not None]
            _require_small_columns(file.metadata)
            for name in wanted:
                if pyarrow.types.is_nested(file.schema_arrow.field(names.index(name)).type):
                    raise FileFault(f"the column {name} is nested: write one plain value in each row")
            if not meter_is_stated and pyarrow.types.is_floating(file.schema_arrow.field(where[0]).type):
                raise FileFault("the meters' ids are decimal numbers, as spreadsheets make of them: write them as text")
            size, count = path.stat().st_size, file.metadata.num_rows or 1
            for batch in file.iter_batches(_AT_ONCE, columns=wanted):
                given = [
                    repeat(None) if index is None else _values(batch.column(names[index]), fact in TEXTS, pyarrow)
                    for fact, index in zip(FACTS, where, strict=True)
                ]
                numbers = range(number + 1, number + batch.num_rows + 1)
                number += batch.num_rows
                yield list(zip(numbers, *given, strict=False)), size * number // count
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise FileFault(f"the Parquet file is damaged after row {number}: {error}") from None


def _require_small_columns(metadata: Any) -> None:
    """Raise FileFault for a column that takes too much memory: a few kilobytes of a file may unpack to gigabytes."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        if any(group.column(each).total_uncompressed_size > _LARGEST_COLUMN for each in range(group.num_columns)):
            raise FileFault("a column of a row group is larger than 256 MiB: write smaller row groups")


def _values(column: Any, text: bool, pyarrow: Any) -> Sequence[Any]:
    """Return a column's values: instants as seconds where they have a zone, and as text where they have none."""
    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if text:
        column = column.cast(pyarrow.string())
    elif pyarrow.types.is_timestamp(kind):
        column = column.cast(pyarrow.timestamp("us", tz=kind.tz)) if kind.unit != "us" else column
        if kind.tz is None:
            return [None if each is None else each.isoformat() for each in column.to_pylist()]
        micros = column.cast(pyarrow.int64()).to_pylist()
        return [None if each is None else _whole(each) for each in micros]
    elif pyarrow.types.is_float32(kind):  # 0.1 is 0.10000000149 as Python reads it
        column = column.cast(pyarrow.string()).cast(pyarrow.float64())
    elif pyarrow.types.is_date(kind):
        return [None if each is None else each.isoformat() for each in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def _whole(micros: int) -> int | str:
    seconds, rest = divmod(micros, 1_000_000)
    return seconds if not rest else "a fraction"


def _columns(layout: Layout, header: Sequence[str], meter_is_stated: bool) -> list[int | None]:
    try:
        return columns(layout, header, meter_is_stated)
    except ValueError as error:
        raise FileFault(str(error)) from None


def size(path: Path) -> int:
    """Return how many bytes a file has, 0 where it is not known."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
