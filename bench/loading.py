"""How fast half-hours are loaded, and what a meter's year takes: `python -m bench.loading [DATABASE_URL]`.

Half-hours for each second of this process's CPU, and for each second that went by, which has the database's part too: from CSV
and from Parquet, into an empty table and (a day of many meters, as a daily feed brings it) onto what is there.
"""

import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.metering.importing.load import How, load
from consent_server.metering.importing.report import LoadReport
from consent_server.sandbox.synthetic import Supply, day_values
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.store import meters
from consent_server.store.database import db
from consent_server.store.schema import migrate
from consent_server.store.tables.metering import Meter

END = instant.parse("2026-03-01T00:00:00Z")
METERS, DAYS = 20, 200


def feed(first: int, days: int, count: int) -> list[tuple[str, int, float]]:
    found = []
    for number in range(count):
        supply = Supply(f"bench-{number}", "bench", "electricity", "S3")
        for day in range(first, first + days * DAY, DAY):
            values = day_values(supply, "import", day)
            found += [(supply.meter, day + slot * HALF_HOUR, value) for slot, value in enumerate(values)]
    return found


def as_csv(path: Path, rows: list[tuple[str, int, float]]) -> Path:
    lines = (f"{meter},{instant.text(start)},{value / 1000}" for meter, start, value in rows)
    path.write_text("\n".join(("meter_id,timestamp,kwh", *lines, "")), encoding="utf-8")
    return path


def as_parquet(path: Path, rows: list[tuple[str, int, float]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    names, starts, values = zip(*rows, strict=True)
    columns = {
        "meter_id": names,
        "timestamp": pyarrow.array(starts, pyarrow.timestamp("s", tz="UTC")),
        "kwh": [value / 1000 for value in values],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def timed(path: Path, count: int, what: str, dry_run: bool = False) -> None:
    report = LoadReport()
    own, whole = time.process_time(), time.perf_counter()
    load(path, How("faraday", dry_run=dry_run), END + DAY, report, lambda _: None)
    own, whole = time.process_time() - own, time.perf_counter() - whole
    assert report.taken == count, list(report.lines())
    print(f"{what:44} {count / own:10,.0f} half-hours/s of this process's CPU   {count / whole:10,.0f}/s elapsed")


def emptied() -> None:
    with store.writing() as c:
        c.execute(sa.delete(db.metadata.tables["day_block"]))


def size() -> int:
    """Return the bytes of the table with its index."""
    with store.reading() as c:
        if c.dialect.name == "postgresql":
            return int(c.execute(sa.text("SELECT pg_total_relation_size('day_block')")).scalar_one())
        return int(c.execute(sa.text("SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%day_block%'")).scalar_one())


def main(url: str, folder: Path) -> None:
    app = Flask("bench-loading")
    store.init(app, url)
    with app.app_context():
        migrate()
        with store.writing() as c:
            rows = [
                Meter(f"bench-{number}", "bench", "Bench", "electricity", f"12{number:011}", "S3 8ZQ", "S3", ["import"])
                for number in range(1000)
            ]
            meters.put(c, *rows)
        emptied()
        year = feed(END - (DAYS + 1) * DAY, DAYS, METERS)
        csv, parquet = as_csv(folder / "year.csv", year), as_parquet(folder / "year.parquet", year)
        timed(csv, len(year), "CSV, read and judged alone", dry_run=True)
        timed(parquet, len(year), "Parquet, read and judged alone", dry_run=True)
        timed(csv, len(year), "CSV, into an empty table")
        emptied()
        before = size()
        timed(parquet, len(year), "Parquet, into an empty table")
        print(f"{'bytes of a meter-year':44} {(size() - before) * 365 / DAYS / METERS:10,.0f}")
        timed(parquet, len(year), "Parquet, the same again")
        for day, what in ((END - DAY, "a first day of 1000 meters"), (END, "the next day of 1000 meters")):
            daily = feed(day, 1, 1000)
            timed(as_parquet(folder / "day.parquet", daily), len(daily), f"Parquet, {what}")
        emptied()
        db.engine.dispose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{made}/bench.db", Path(made))
