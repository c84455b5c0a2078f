"""Source `parquet`: register and readings in files, in folders here or in an object store (docs/metering.md has the layout).

Of a file only the footer and the row groups are read that can hold a meter, so files are sorted by meter. A year of one meter
is a few hundred kilobytes, whatever is beside it.
"""

import re
from array import array
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from consent_server.aside import aside
from consent_server.metering import object_store
from consent_server.metering.readings import ReadingsRequest
from consent_server.metering.rows import MOST_HALF_HOURS, MOST_TENANCIES, TENANCY, Columns, RowReadings, RowRegister
from consent_server.metering.unavailable import SourceUnavailable
from consent_server.scheme import instant
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.readings import ReadingError
from consent_server.settings import BadSettings
from consent_server.settings.metering import ParquetSettings

#: Bytes of the footers that are remembered, so that a meter asked for again costs its row groups alone. Read, they take
#: several times as much.
_FOOTERS_BYTES: Final = 8 << 20
_WANTED: Final = ("meter", "measure", "start", "value", "unit")
#: Columns of few words, which are read as numbers of a dictionary until their rows are chosen.
_TEXTS: Final = ("meter", "measure", "unit", "fuel")
_SAME: Final = (*_TEXTS, "estimated")
_TIMES: Final = ("start", "taken_at", "since", "until")
_MONTH: Final = re.compile(r"/month=([0-9]{4}-[0-9]{2})/")
_KNOWN: Final = ("fuel", "taken_at", "cumulative", "estimated")

#: Types whose values lie in memory as those of an array do.
_IN_MEMORY: Final[dict[Any, Any]] = {pa.int64(): "q", pa.float64(): "d"}

#: What `advice` finds too many: rows of a row group, and files of a month that is over.
_MOST_ROWS: Final = 20_000
_MOST_FILES: Final = 4
#: Rows and bytes of a column that a row group may have: a few kilobytes of a file may unpack to gigabytes.
_LARGEST_ROWS: Final = 4_000_000
_LARGEST_COLUMN: Final = 256 << 20
#: Calls of one folder that may go on after their callers have given up. Other folders need the threads too (aside).
_MOST_LATE: Final = 3

T = TypeVar("T")


class _FolderCall:
    begun = ended = False


class _Folder:
    """A folder of Parquet files. Those whose names begin with a dot or an underscore are still being written."""

    def __init__(self, setting: str, where: str, settings: ParquetSettings) -> None:
        """Raise BadSettings."""
        self._longest_s = settings.longest_s
        self._footers: OrderedDict[tuple[str, int, Any], _Footer] = OrderedDict()
        self._late: list[_FolderCall] = []
        if not where:
            raise BadSettings(f"{setting}: a folder, or the URL of one")
        self._is_remote = "://" in where
        if self._is_remote:
            self._files, self._root, self._name = object_store.opened(setting, where, settings)
        else:
            self._files, self._root, self._name = fs.LocalFileSystem(), str(Path(where).absolute()), setting

    def read(self, work: Callable[[], T]) -> T:
        """Return what `work` reads. Raise SourceUnavailable: whatever cannot be read in time is not half read."""
        self._late = [each for each in self._late if each.begun and not each.ended]
        if len(self._late) >= _MOST_LATE:
            raise SourceUnavailable(f"{self._name}: earlier calls are without a response")
        call = _FolderCall()

        def noted() -> T:
            call.begun = True
            try:
                return work()
            finally:
                call.ended = True

        try:
            return aside(noted, self._longest_s, "metering")
        except TimeoutError:
            self._late.append(call)
            raise SourceUnavailable(f"{self._name}: no response in time") from None
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, ReadingError):
                raise
            raise SourceUnavailable(f"{self._name}: {type(error).__name__}", said=str(error)) from None

    def files(self, *below: str) -> list[fs.FileInfo]:
        """Return the files in a folder, in order of name, and in those below it. One below the root need not be there."""
        selector = fs.FileSelector("/".join((self._root, *below)), recursive=True, allow_not_found=bool(below))
        found = [each for each in self._files.get_file_info(selector) if each.extension == "parquet"]
        if below and not found:
            self._require_root()
        return sorted((each for each in found if each.base_name[0] not in "._"), key=lambda each: each.path)

    def folders(self) -> list[str]:
        """Return the names of the folders in this folder, in order."""
        found = self._files.get_file_info(fs.FileSelector(self._root))
        return sorted(each.base_name for each in found if each.type == fs.FileType.Directory)

    def _require_root(self) -> None:
        """Raise FileNotFoundError if the root is not there, or is empty here, as that of a disk that is not mounted."""
        there = (
            self._files.get_file_info(self._root).type != fs.FileType.NotFound if self._is_remote else self.folders()
        )
        if not there:
            raise FileNotFoundError(f"{self._root} is not there, or is empty")

    def footer(self, info: fs.FileInfo) -> "_Footer":
        with self._files.open_input_file(info.path) as source:
            return self._footer(info, source)

    def rows(self, files: Iterable[fs.FileInfo], columns: Collection[str], key: str, values: Sequence[str]) -> pa.Table:
        """Return the columns that files have of those named, where `key` is one of `values`. What a file lacks is null."""
        read = [self._row_groups(each, columns, key, values) for each in files]
        if not read:
            return pa.table({})
        return pa.concat_tables(read, promote_options="default")

    def _row_groups(self, info: fs.FileInfo, columns: Collection[str], key: str, values: Sequence[str]) -> pa.Table:
        with self._files.open_input_file(info.path) as source:
            footer = self._footer(info, source)
            names = footer.names
            if key not in names:
                raise ReadingError(f"the rows have no column {key}")
            wanted = [name for name in columns if name in names]
            if twice := [name for name in wanted if names.count(name) > 1]:
                raise ReadingError(f"the column {twice[0]} is there twice")
            if nested := [name for name in wanted if name not in footer.paths]:
                raise ReadingError(f"the column {nested[0]} is nested: write one plain value in each row")
            texts = [name for name in _TEXTS if name in footer.paths]
            with pq.ParquetFile(
                source,
                metadata=footer.metadata,
                read_dictionary=texts,
                page_checksum_verification=True,
                pre_buffer=self._is_remote,
            ) as file:
                table = file.read_row_groups(footer.that_may_hold(key, values), wanted, use_threads=False)
        # Nothing before this says whether the numbers of a dictionary are those of its words. Raises ArrowInvalid.
        table.validate(full=True)
        return _only(table, key, values)

    def _footer(self, info: fs.FileInfo, source: pa.NativeFile) -> "_Footer":
        """Return the footer of a file as it is now."""
        known = (info.path, info.size, info.mtime_ns)
        footer = self._footers.pop(known, None)
        if footer is None:
            footer = _Footer(pq.read_metadata(source))
            size = footer.metadata.serialized_size + sum(
                each.metadata.serialized_size for each in tuple(self._footers.values())
            )
            while size > _FOOTERS_BYTES and self._footers:
                size -= self._footers.popitem(last=False)[1].metadata.serialized_size
        self._footers[known] = footer
        return footer


class _Footer:
    """A file's footer, and of its row groups the smallest and largest values, which take longer to ask for than to compare."""

    def __init__(self, metadata: pq.FileMetaData) -> None:
        self.metadata = metadata
        self.names: list[str] = metadata.schema.to_arrow_schema().names
        #: The names of plain columns; of a nested one the path of each part.
        self.paths = [metadata.schema.column(each).path for each in range(metadata.num_columns)]
        self._bounds: dict[str, list[tuple[str, str] | None]] = {}

    def that_may_hold(self, key: str, values: Sequence[str]) -> list[int]:
        """Return the row groups that may have one of these values in a column; those that do not say may.

        Raise ReadingError if one of them takes too much memory.
        """
        bounds = self._bounds_of(key)
        found = sorted(
            {
                group
                for value in values
                for group, each in enumerate(bounds)
                if each is None or each[0] <= value <= each[1]
            }
        )
        if any(map(_is_too_large, map(self.metadata.row_group, found))):
            raise ReadingError(f"a row group is too large to be read for one {key}: write at most {_MOST_ROWS:,} rows")
        return found

    def _bounds_of(self, key: str) -> list[tuple[str, str] | None]:
        if key not in self._bounds:
            column = self.paths.index(key)
            groups = map(self.metadata.row_group, range(self.metadata.num_row_groups))
            self._bounds[key] = [_bounds(each.column(column)) for each in groups]
        return self._bounds[key]

    def advice(self, key: str) -> Iterator[str]:
        """Say what makes the rows of one value expensive to find."""
        metadata = self.metadata
        if key not in self.paths:
            return
        most = max((metadata.row_group(each).num_rows for each in range(metadata.num_row_groups)), default=0)
        if most > _MOST_ROWS:
            yield f"row groups have up to {most:,} rows, all of which are read for one {key}: write at most {_MOST_ROWS:,}"
        bounds = self._bounds_of(key)
        if None in bounds:
            yield f"row groups do not say the smallest and largest {key}, so that all are read: write statistics"
        elif any(later[0] < before[1] for before, later in pairwise(filter(None, bounds))):
            yield f"the rows are not sorted by {key}, so that many row groups are read for one: sort them first"


def _is_too_large(group: pq.RowGroupMetaData) -> bool:
    if group.num_rows > _LARGEST_ROWS:
        return True
    # The bytes of all columns say nearly always that none is too large.
    return group.total_byte_size > _LARGEST_COLUMN and any(
        group.column(each).total_uncompressed_size > _LARGEST_COLUMN for each in range(group.num_columns)
    )


def _bounds(column: pq.ColumnChunkMetaData) -> tuple[str, str] | None:
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return None
    least, most = statistics.min, statistics.max
    return (least, most) if isinstance(least, str) else None


class ParquetRegister(RowRegister):
    """Files with one row for each business's time at a meter, best sorted by number."""

    def __init__(self, settings: ParquetSettings, vouches: bool) -> None:
        """Raise BadSettings."""
        super().__init__(vouches)
        self._folder = _Folder("metering.parquet.register_folder", settings.register_folder, settings)

    def by_number(self, fuel: str, number: str) -> Columns:
        return self._where("number", [number], fuel)

    def of_meters(self, meters: Sequence[str]) -> Columns:
        return self._where("meter", meters)

    def of_business(self, sme: str) -> Columns:
        return self._where("sme", [sme])

    def by_customer(self, customer: str) -> Columns:
        return self._where("customer", [customer])

    def _where(self, key: str, values: Sequence[str], fuel: str | None = None) -> Columns:
        def read() -> Columns:
            found = self._folder.rows(self._folder.files(), TENANCY, key, values)
            if fuel is not None and "fuel" in found.column_names:  # one number may be an MPAN and an MPRN
                found = found.filter(pc.equal(found["fuel"].cast(pa.string()), fuel))
            if found.num_rows > MOST_TENANCIES:
                raise ReadingError("more rows than one business or meter can have")
            return _columns(found) if found.column_names else dict.fromkeys(TENANCY, ())

        return self._folder.read(read)


class ParquetReadings(RowReadings):
    """Files of half-hours in folders prefix=…/month=YYYY-MM, each file sorted by meter and start."""

    def __init__(self, settings: ParquetSettings) -> None:
        """Raise BadSettings."""
        self._prefix = settings.prefix
        self._folder = _Folder("metering.parquet.readings_folder", settings.readings_folder, settings)

    def rows_of(self, request: ReadingsRequest) -> Columns:
        months = {instant.month(request.start), instant.month(request.end - 1)}
        first, last = min(months), max(months)

        def read() -> Columns:
            files = [each for month, each in self._months(request.meter) if first <= month <= last]
            table = self._folder.rows(files, (*_WANTED, *_KNOWN), "meter", [request.meter])
            table = _between(table, request) if table.num_rows else table
            if table.num_rows > MOST_HALF_HOURS:
                raise ReadingError("more half-hours than were asked for")
            return _columns(table) if table.num_rows else dict.fromkeys(_WANTED, ())

        return self._folder.read(read)

    def extents(self, meters: Sequence[str]) -> Columns:
        def read() -> list[tuple[str, int, int]]:
            found = []
            for prefix in {meter[: self._prefix] for meter in meters}:
                those = [meter for meter in meters if meter[: self._prefix] == prefix]
                months = _by_month(self._months(prefix))
                first, last = self._edges(months, those, "min"), self._edges(reversed(months), those, "max")
                found += [(meter, first[meter], last[meter] + HALF_HOUR) for meter in first]
            return found

        found = self._folder.read(read)
        return {name: [each[index] for each in found] for index, name in enumerate(("meter", "first", "until"))}

    def advice(self) -> Sequence[str]:
        """Return what is wrong with the layout of the newest files of one folder."""

        def read() -> list[str]:
            prefix = next((each for each in self._folder.folders() if each.startswith("prefix=")), None)
            if prefix is None:
                return ["there is no folder prefix=… in metering.parquet.readings_folder"]
            months = _by_month(_dated(self._folder.files(prefix)))
            if not months:
                return [f"there are no files month=…/*.parquet in {prefix}"]
            found = list(self._folder.footer(months[-1][-1]).advice("meter"))
            if len(months) > 1 and len(months[-2]) > _MOST_FILES:
                found.append(f"a month that is over has {len(months[-2])} files, each of which is opened: join them")
            return found

        return self._folder.read(read)

    def _edges(self, months: Iterable[list[fs.FileInfo]], meters: Sequence[str], edge: str) -> dict[str, int]:
        """Return meter -> its first (min) or last (max) half-hour, looked for month by month."""
        found: dict[str, int] = {}
        for files in months:
            wanted = [meter for meter in meters if meter not in found]
            if not wanted:
                break
            table = self._folder.rows(files, ("meter", "start"), "meter", wanted)
            if table.num_rows:
                starts = pa.table({"meter": table["meter"].cast(pa.string()), "start": _starts(table)})
                edges = starts.drop_null().group_by("meter", use_threads=False).aggregate([("start", edge)])
                found |= zip(edges["meter"].to_pylist(), edges[f"start_{edge}"].to_pylist(), strict=True)
        return found

    def _months(self, meter: str) -> list[tuple[str, fs.FileInfo]]:
        """Return the files in which a meter may be, in order, each with its month as 2026-03."""
        folder = f"prefix={quote(meter[: self._prefix], safe='')}"
        return _dated(self._folder.files(folder))


def _dated(files: Iterable[fs.FileInfo]) -> list[tuple[str, fs.FileInfo]]:
    found = [(_MONTH.search(each.path), each) for each in files]
    return [(month[1], each) for month, each in found if month]


def _by_month(files: Iterable[tuple[str, fs.FileInfo]]) -> list[list[fs.FileInfo]]:
    return [[info for _, info in those] for _, those in groupby(files, key=lambda each: each[0])]


def _only(table: pa.Table, key: str, values: Sequence[str]) -> pa.Table:
    """Return the rows whose text in a column is one of some values: all of them where each row group is of one meter."""
    return table if _word(table[key]) in values else _where(table, _are(table[key], values))


def _word(column: pa.ChunkedArray) -> str | None:
    """Return the one text that the rows of a dictionary have, or None if there may be others."""
    if not pa.types.is_dictionary(column.type) or column.null_count:
        return None
    words = {word for chunk in column.chunks for word in chunk.dictionary.to_pylist()}
    return words.pop() if len(words) == 1 else None


def _are(column: pa.ChunkedArray, values: Sequence[str]) -> pa.ChunkedArray:
    """Return of each value of a text column whether it is one of some. Of a dictionary the few words are compared."""
    if not pa.types.is_dictionary(column.type):
        return pc.is_in(column.cast(pa.string()), pa.array(values, pa.string()))
    wanted, found = frozenset(values), []
    for chunk in column.chunks:
        numbers = [
            number for number, word in enumerate(chunk.dictionary.cast(pa.string()).to_pylist()) if word in wanted
        ]
        if len(numbers) == 1:
            # Half of what is_in takes, and of what a number without its type takes, which is 64 bits wide.
            found.append(pc.equal(chunk.indices, pa.scalar(numbers[0], chunk.indices.type)))
        else:
            found.append(pc.is_in(chunk.indices, pa.array(numbers, chunk.indices.type)))
    return pa.chunked_array(found, pa.bool_())


def _where(table: pa.Table, wanted: pa.ChunkedArray) -> pa.Table:
    """Return the rows that are wanted, without a copy where they lie together, as in a sorted file."""
    rows = pc.indices_nonzero(wanted)
    if len(rows) and rows[-1].as_py() - rows[0].as_py() == len(rows) - 1:
        return table.slice(rows[0].as_py(), len(rows))
    return table.filter(wanted)


def _between(table: pa.Table, request: ReadingsRequest) -> pa.Table:
    """Return the rows of a window and measure."""
    start = _starts(table)
    if "measure" not in table.column_names:
        raise ReadingError("the rows have no column measure")
    table = table.set_column(table.column_names.index("start"), "start", start)
    if start.null_count or not _is_within(start, request):
        table = _where(table, pc.and_(pc.greater_equal(start, request.start), pc.less(start, request.end)))
    return _only(table, "measure", [request.measure])


def _starts(table: pa.Table) -> pa.ChunkedArray:
    if "start" not in table.column_names:
        raise ReadingError("the rows have no column start")
    return _seconds(table["start"])


def _is_within(start: pa.ChunkedArray, request: ReadingsRequest) -> bool:
    edges = pc.min_max(start).as_py()
    return bool(request.start <= edges["min"] and edges["max"] < request.end)


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
        if (word := _word(column)) is not None:
            columns[name] = [word] * len(column)
        elif name in _SAME and len(values := pc.unique(column)) == 1:
            columns[name] = [values[0].as_py()] * len(column)
        else:
            columns[name] = _listed(column)
    return columns


def _listed(column: pa.ChunkedArray) -> Sequence[Any]:
    """Return a column's values. Those of numbers lie in memory as Python reads them, which is faster than one by one."""
    if column.type == pa.float32():  # 0.1 is 0.10000000149 as Python reads it
        column = column.cast(pa.string()).cast(pa.float64())
    form = _IN_MEMORY.get(column.type)
    if form is None or column.null_count:
        return column.to_pylist()  # type: ignore[no-any-return]
    values = array(form)
    for chunk in column.chunks:
        begin, size = chunk.offset * values.itemsize, len(chunk) * values.itemsize
        values.frombytes(memoryview(chunk.buffers()[1])[begin : begin + size])
    return values
