"""Measure one meter's year from Parquet: python -m bench.readings

100 meters of two fuels over 13 months, in the folders of docs/metering.md. A national provider has the same row groups and
more of them, so that one meter costs the same but for longer footers. Figures are processor time, which other programs on the
machine disturb least, medians over 20 meters; bytes are those that the process read. Last comes the whole answer at the data
door, as `bench.own_readings` has it for our own tables. Nothing is asserted.
"""

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bench.own_readings import register, year_at_the_door
from consent_server import clock
from consent_server.metering.parquet import ParquetReadings
from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.sandbox.synthetic import Supply, day_blocks
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.readings import join, parse
from consent_server.settings.metering import ParquetSettings
from tests.deployments import START, in_new_database, settings_of
from tests.metering import foreign
from tests.resource.conftest import ResourceServer

METERS, MONTHS = 100, 13


def fill(folder: Path, start: int, end: int) -> tuple[list[tuple[str, str]], int, int]:
    """Return the meters with their fuels, the number of rows, and the bytes of all files."""
    meters = [(f"12-{number:06}", "electricity" if number % 2 else "gas") for number in range(METERS)]
    shapes = {}
    for fuel in ("electricity", "gas"):
        blocks = day_blocks(Supply(f"bench-{fuel}", "bench", fuel, "S3"), "import", start, end)
        shapes[fuel] = parse(orjson.loads(join(block for _, block in blocks))).value
    rows, month = 0, start
    while month < end:
        later = min(instant.next_month(month), end)
        count, offset = (later - month) // HALF_HOUR, (month - start) // HALF_HOUR
        starts = list(range(month, later, HALF_HOUR))
        tables = []
        for number, (meter, fuel) in enumerate(meters):
            # Each meter its own figures, so that nothing is packed for being the same.
            values = [round(value * (1 + number / 97), 3) for value in shapes[fuel][offset : offset + count]]
            columns = {
                "meter": [meter] * count,
                "measure": ["import"] * count,
                "start": starts,
                "value": values,
                "unit": ["WHR" if fuel == "electricity" else "MTQ"] * count,
                "taken_at": [each + 5400 for each in starts],
                "cumulative": [round(1e6 + offset * 7 + sum(values[:1]) + each, 3) for each in range(count)],
                "estimated": [False] * count,
            }
            tables.append(pa.table(columns))
        where = folder / "prefix=12" / f"month={instant.text(month)[:7]}"
        where.mkdir(parents=True)
        foreign.write_month(where / "part.parquet", tables)
        rows += count * len(meters)
        month = later
    return meters, rows, sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def forget(folder: Path) -> None:
    """Drop the files from the kernel's cache, as far as it lets us."""
    for path in folder.rglob("*.parquet"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_bytes() -> int:
    return int(Path("/proc/self/io").read_text(encoding="ascii").split()[1])


def resident() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 2**20


def measured(work: Callable[[], Held]) -> tuple[float, float, int]:
    """Return milliseconds of processor time, of waiting and working together, and kilobytes read."""
    began, cpu, before = time.perf_counter(), time.process_time(), read_bytes()
    held = work()
    assert held.count > 17_000, held.count
    return (time.process_time() - cpu) * 1e3, (time.perf_counter() - began) * 1e3, (read_bytes() - before) >> 10


def show(what: str, figures: list[tuple[float, float, int]]) -> None:
    cpu, whole, kilobytes = (statistics.median(column) for column in zip(*figures, strict=True))
    print(f"{what:44} {cpu:8.1f} ms of processor {whole:8.1f} ms in all {kilobytes:8.0f} kB read")


def at_the_door(folder: str, meter: str, end: int) -> None:
    server = ResourceServer(
        settings_of(
            "edp",
            f"sqlite:///{folder}/bench.db",
            {"metering.readings_source": "parquet", "metering.parquet.readings_folder": folder},
        ),
        "electricity_and_gas",
        "cap",
    )
    with in_new_database(server.app):
        register(server.granted().client_id, meter)
        for accepted in ("identity", "gzip", "zstd"):
            year_at_the_door(server, end, accepted)


def main() -> None:
    clock.now = lambda: START  # certificates and tokens of the tests are of then
    end = instant.month_start(START)
    start = instant.months_later(end, -MONTHS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        meters, rows, size = fill(folder, start, end)
        print(f"{METERS} meters, {rows:,} half-hours, {size:,} bytes: {size / rows:.2f} bytes each")
        settings = ParquetSettings(readings_folder=name)

        def year(readings: ParquetReadings, meter: str, fuel: str) -> Held:
            return readings.half_hours(ReadingsRequest(meter, fuel, "import", end - 365 * DAY, end, "bench", end))

        print(
            f"files for each month: 1, with {pq.read_metadata(next(folder.rglob('*.parquet'))).num_row_groups} row groups"
        )
        year(ParquetReadings(settings), *meters[0])  # what the library makes once
        cold, warm = [], []
        for meter in meters[:20]:
            forget(folder)
            readings = ParquetReadings(settings)
            cold.append(measured(lambda r=readings, m=meter: year(r, *m)))  # type: ignore[misc]
            warm.append(measured(lambda r=readings, m=meter: year(r, *m)))  # type: ignore[misc]
        show("a meter's year, no footer known, no file cached", cold)
        show("the same again", warm)
        readings = ParquetReadings(settings)
        sizes = []
        for _ in range(3):
            for meter in meters:
                year(readings, *meter)
            sizes.append(f"{resident():.0f}")
        print(f"resident MB after 100, 200 and 300 meters' years: {', '.join(sizes)}")
        at_the_door(name, meters[1][0], end)


if __name__ == "__main__":
    main()
