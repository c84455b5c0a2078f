"""Source `parquet`: register and readings in files, in folders here or in an object store (docs/metering.md has the layout).

Of a file only the footer and the row groups are read that can hold a meter, so files are sorted by meter. A year of one meter
is a few hundred kilobytes, whatever is beside it.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from consent_server.metering.readings import ReadingsRequest
from consent_server.metering.rows import TENANCY, Columns, RowReadings, RowRegister
from consent_server.metering.unavailable import SourceUnavailable
from consent_server.outbound.aside import aside
from consent_server.scheme import instant
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.readings import ReadingError
from consent_server.settings import BadSettings, ParquetSettings

#: Footers that are remembered, so that a meter asked for again costs its row groups alone.
_FOOTERS: Final = 256
_WANTED: Final = ("meter", "measure", "start", "value", "unit")
_SAME: Final = ("meter", "measure", "unit", "fuel", "estimated")
_TIMES: Final = ("start", "taken_at", "since", "until")
_MONTH: Final = re.compile(r"/month=([0-9]{4}-[0-9]{2})/")
_KNOWN: Final = ("fuel", "taken_at", "cumulative", "estimated")

T = TypeVar("T")


class _Folder:
    """A folder of Parquet files. Those whose names begin with a dot or an underscore are still being written."""

    def __init__(self, setting: str, where: str, longest_s: int) -> None:
        """Raise BadSettings."""
        self._longest_s = longest_s
        self._footers: OrderedDict[tuple[str, int, Any], pq.FileMetaData] = OrderedDict()
        if not where:
            raise BadSettings(f"{setting}: a folder, or the URL of one")
        if "://" not in where:
            self._files, self._root = fs.LocalFileSystem(), str(Path(where).absolute())
            return
        try:
            self._files, self._root = fs.FileSystem.from_uri(where)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise BadSettings(f"{setting}: {error}") from None

    def read(self, work: Callable[[], T]) -> T:
        """Return what `work` reads. Raise SourceUnavailable: whatever cannot be read in time is not half read."""
        try:
            return aside(work, self._longest_s)
        except TimeoutError:
            raise SourceUnavailable("parquet: no response in time") from None
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, ReadingError):
                raise
            raise SourceUnavailable(f"parquet: {type(error).__name__}") from None

    def files(self, *below: str) -> list[fs.FileInfo]:
        """Return the files in a folder, in order of name, and in those below it."""
        selector = fs.FileSelector("/".join((self._root, *below)), recursive=True, allow_not_found=bool(below))
        found = [each for each in self._files.get_file_info(selector) if each.extension == "parquet"]
        return sorted((each for each in found if each.base_name[0] not in "._"), key=lambda each: each.path)

    def rows(self, info: fs.FileInfo, columns: Collection[str], key: str, values: Sequence[str]) -> pa.Table:
        """Return the columns that a file has of those named, where `key` is one of `values`."""
        known = (info.path, info.size, info.mtime_ns)
        with (
            self._files.open_input_file(info.path) as source,
            pq.ParquetFile(source, metadata=self._footers.get(known), page_checksum_verification=True) as file,
        ):
            self._remember(known, file.metadata)
            names = file.schema_arrow.names
            if key not in names:
                raise ReadingError(f"the rows have no column {key}")
            groups = [each for each in range(file.num_row_groups) if _may_hold(file.metadata, each, key, values)]
            table = file.read_row_groups(groups, [name for name in columns if name in names], use_threads=False)
        return table.filter(pc.is_in(table[key].cast(pa.string()), pa.array(values, pa.string())))

    def _remember(self, known: tuple[str, int, Any], footer: pq.FileMetaData) -> None:
        self._footers[known] = footer
        if len(self._footers) > _FOOTERS:
            self._footers.popitem(last=False)


class ParquetRegister(RowRegister):
    """Files with one row for each business's time at a meter, best sorted by number."""

    def __init__(self, settings: ParquetSettings, vouches: bool) -> None:
        """Raise BadSettings."""
        super().__init__(vouches)
        self._folder = _Folder("metering.parquet.register_folder", settings.register_folder, settings.longest_s)

    def by_number(self, fuel: str, number: str) -> Columns:
        return self._where("number", number, fuel)

    def of_business(self, sme: str) -> Columns:
        return self._where("sme", sme)

    def by_customer(self, customer: str) -> Columns:
        return self._where("customer", customer)

    def _where(self, key: str, value: str, fuel: str | None = None) -> Columns:
        def read() -> Columns:
            found = _joined(self._folder.rows(each, TENANCY, key, [value]) for each in self._folder.files())
            if fuel is not None and "fuel" in found.column_names:  # one number may be an MPAN and an MPRN
                found = found.filter(pc.equal(found["fuel"].cast(pa.string()), fuel))
            return _columns(found) if found.column_names else dict.fromkeys(TENANCY, ())

        return self._folder.read(read)


class ParquetReadings(RowReadings):
    """Files of half-hours in folders prefix=…/month=YYYY-MM, each file sorted by meter and start."""

    def __init__(self, settings: ParquetSettings) -> None:
        """Raise BadSettings."""
        self._prefix = settings.prefix
        self._folder = _Folder("metering.parquet.readings_folder", settings.readings_folder, settings.longest_s)

    def rows_of(self, request: ReadingsRequest) -> Columns:
        months = {instant.text(request.start)[:7], instant.text(request.end - 1)[:7]}
        first, last = min(months), max(months)

        def read() -> Columns:
            files = [each for month, each in self._months(request.meter) if first <= month <= last]
            table = _joined(self._folder.rows(each, (*_WANTED, *_KNOWN), "meter", [request.meter]) for each in files)
            return _columns(_between(table, request)) if table.num_rows else dict.fromkeys(_WANTED, ())

        return self._folder.read(read)

    def extents(self, meters: Sequence[str]) -> Columns:
        def read() -> list[tuple[str, int, int]]:
            found = []
            for prefix in {meter[: self._prefix] for meter in meters}:
                those = [meter for meter in meters if meter[: self._prefix] == prefix]
                months = _by_month(self._months(prefix))
                first, last = self._edges(months, those, min), self._edges(reversed(months), those, max)
                found += [(meter, first[meter], last[meter] + HALF_HOUR) for meter in first]
            return found

        found = self._folder.read(read)
        return {name: [each[index] for each in found] for index, name in enumerate(("meter", "first", "until"))}

    def _edges(
        self, months: Iterable[list[fs.FileInfo]], meters: Sequence[str], edge: Callable[[int, int], int]
    ) -> dict[str, int]:
        """Return meter -> its first or last half-hour, looked for month by month."""
        found: dict[str, int] = {}
        for files in months:
            wanted = [meter for meter in meters if meter not in found]
            if not wanted:
                break
            table = _joined(self._folder.rows(each, ("meter", "start"), "meter", wanted) for each in files)
            if table.num_rows:
                for meter, start in zip(table["meter"].to_pylist(), _seconds(table["start"]).to_pylist(), strict=True):
                    found[meter] = edge(found.get(meter, start), start)
        return found

    def _months(self, meter: str) -> list[tuple[str, fs.FileInfo]]:
        """Return the files in which a meter may be, in order, each with its month as 2026-03."""
        folder = f"prefix={quote(meter[: self._prefix], safe='')}"
        found = [(_MONTH.search(each.path), each) for each in self._folder.files(folder)]
        return [(month[1], each) for month, each in found if month]


def _by_month(files: Iterable[tuple[str, fs.FileInfo]]) -> list[list[fs.FileInfo]]:
    return [[info for _, info in those] for _, those in groupby(files, key=lambda each: each[0])]


def _may_hold(footer: pq.FileMetaData, group: int, key: str, values: Sequence[str]) -> bool:
    """Return whether a row group may have one of these values, by its smallest and its largest."""
    row_group = footer.row_group(group)
    index = footer.schema.names.index(key)
    statistics = row_group.column(index).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    least, most = statistics.min, statistics.max
    return not isinstance(least, str) or any(least <= value <= most for value in values)


def _joined(tables: Iterable[pa.Table]) -> pa.Table:
    """Return the rows of several files; what one of them lacks is null."""
    found = list(tables)
    return pa.concat_tables(found, promote_options="default") if found else pa.table({})


def _between(table: pa.Table, request: ReadingsRequest) -> pa.Table:
    """Return the rows of a window and measure."""
    if not {"start", "measure"} <= set(table.column_names):
        raise ReadingError("the rows have no column start or no column measure")
    start = _seconds(table["start"])
    table = table.set_column(table.column_names.index("start"), "start", start)
    wanted = pc.and_(pc.greater_equal(start, request.start), pc.less(start, request.end))
    return table.filter(pc.and_(wanted, pc.equal(table["measure"].cast(pa.string()), request.measure)))


def _seconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return instants as whole seconds since 1970. Raise ReadingError for a time without its zone."""
    kind = column.type
    if pa.types.is_null(kind):
        return column
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return column.cast(pa.timestamp("s", kind.tz)).cast(pa.int64())
    if not pa.types.is_integer(kind):
        raise ReadingError("times: neither seconds since 1970 in whole numbers, nor a timestamp with its zone")
    return column.cast(pa.int64())


def _columns(table: pa.Table) -> Columns:
    """Return a table as columns of Python values; a column of one value throughout costs nothing."""
    columns: dict[str, Sequence[Any]] = {}
    for name in table.column_names:
        column = table[name]
        if name in _TIMES:
            column = _seconds(column)
        if name in _SAME and len(values := pc.unique(column)) == 1:
            columns[name] = [values[0].as_py()] * len(column)
        else:
            columns[name] = column.to_pylist()
    return columns
