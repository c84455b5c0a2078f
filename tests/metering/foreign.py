"""One business of an EDP, in each place where the EDP may have it: databases, files, a service. All hold the same rows."""

import datetime
import functools
import json
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.settings.metering import MeteringSettings

Row = dict[str, Any]
PAGE = Path(__file__).resolve().parents[2] / "docs/metering.md"
NOW = instant.parse("2026-03-12T09:30:00Z")
FIRST = NOW - NOW % DAY - 40 * DAY
LAST = NOW - NOW % DAY
#: The third half-hour has no row, and the fourth is an estimate; the shop's are in KWH.
SHOP, OVEN, FARM = "12-shop", "34-oven", "12-farm"
BILL = {"postcode": "SW8 1AA", "mpan": "1212345678902", "mprn": "3938424403", "at": NOW}
CUSTOMER = "C-1"


@functools.cache
def tenancies() -> list[Row]:
    acme = {"sme": "customer-1", "business": "Acme Widgets Ltd", "measures": "import", "site": "South Lambeth Road"}
    acme |= {"customer": CUSTOMER}
    shop = {"meter": SHOP, "fuel": "electricity", "number": "1212345678902", "postcode": "SW8 1AA"}
    return [
        {**acme, **shop, "since": FIRST - DAY, "until": None},
        # Those who had the shop before; since then nobody of them may see a half-hour.
        {
            **acme,
            **shop,
            "sme": "customer-0",
            "business": "Before Ltd",
            "customer": "C-0",
            "since": FIRST - 99 * DAY,
            "until": FIRST - 2 * DAY,
        },
        {
            **acme,
            "meter": OVEN,
            "fuel": "gas",
            "number": "3938424403",
            "postcode": "SW8 1AA",
            "since": None,
            "until": None,
        },
        {
            **acme,
            "meter": FARM,
            "fuel": "electricity",
            "number": "1212345678911",
            "postcode": "YO1 7HH",
            "since": None,
            "until": None,
        },
    ]


@functools.cache
def half_hours() -> list[Row]:
    """In the order of meter and start."""
    return [
        {
            "meter": meter,
            "measure": "import",
            "start": start,
            "value": 0.01 + number / 1000,
            "unit": "MTQ" if meter == OVEN else "KWH",
            "taken_at": start + 5000,
            "cumulative": 100 + number / 2,
            "estimated": number == 3,
        }
        for meter in sorted((SHOP, OVEN, FARM))
        for number, start in enumerate(range(FIRST, LAST, HALF_HOUR))
        if number != 2
    ]


def documented(source: str) -> dict[str, Any]:
    """The settings of the page's example whose text names a source, as `postgresql`."""
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = (block for block in blocks if source in block)
    read: dict[str, Any] = tomllib.loads(found)["metering"]
    return read


def page_code(name: str) -> str:
    """The page's Python that is to be saved under a name."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = (block for block in blocks if block.startswith(f"# {name}\n"))
    return str(found)


def write_month(path: Path, meters: Iterable[pa.Table]) -> None:
    """Write a file of half-hours as the page does."""
    code: dict[str, Any] = {}
    exec(page_code("write_month.py"), code)
    code["write"](path, meters)


def at(url: str, source: str) -> MeteringSettings:
    """The page's settings of a database, but for where it is."""
    values = documented(source)
    for section in ("sql_register", "sql_readings"):
        values[section]["url"] = url
    return MeteringSettings(**values, vouches_for_sites=True)


def moment(seconds: int | None) -> datetime.datetime | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC)


_TENANCY = """CREATE TABLE tenancy (meter text, customer text, name text, fuel text, number text, postcode text, measures text,
    street text, log_in text, moved_in timestamptz, moved_out timestamptz)"""
_HALF_HOUR = """CREATE TABLE half_hour (meter text, measure text, begins timestamptz, value {number}, unit text,
    read_at timestamptz, dial {number}, estimated boolean)"""
_RENAMED = {
    "sme": "customer",
    "customer": "log_in",
    "business": "name",
    "site": "street",
    "since": "moved_in",
    "until": "moved_out",
}
_RENAMED |= {"start": "begins", "taken_at": "read_at", "cumulative": "dial"}


def _renamed(row: Row) -> Row:
    times = {"since", "until", "start", "taken_at"}
    return {_RENAMED.get(name, name): moment(value) if name in times else value for name, value in row.items()}


def _fill(connection: sa.Connection, table: str, rows: list[Row]) -> None:
    columns = ", ".join(rows[0])
    values = ", ".join(f":{name}" for name in rows[0])
    connection.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), rows)


def postgresql(url: str) -> MeteringSettings:
    """Half-hours in partitions, one for each month, with numbers in decimal."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(_TENANCY)
        connection.exec_driver_sql(_HALF_HOUR.format(number="numeric(12, 3)") + " PARTITION BY RANGE (begins)")
        month = instant.month_start(FIRST)
        while month < LAST:
            later = instant.next_month(month)
            within = f"FROM ('{instant.text(month)}') TO ('{instant.text(later)}')"
            connection.exec_driver_sql(f"CREATE TABLE half_hour_{month} PARTITION OF half_hour FOR VALUES {within}")
            month = later
        connection.exec_driver_sql("CREATE INDEX ON half_hour (meter, measure, begins)")
        _fill(connection, "tenancy", [_renamed(row) for row in tenancies()])
        _fill(connection, "half_hour", [_renamed(row) for row in half_hours()])
    engine.dispose()
    return at(url, "postgresql+psycopg")


def a_duckdb_file(folder: Path) -> MeteringSettings:
    path = folder / "meters.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(_TENANCY)
        connection.execute(_HALF_HOUR.format(number="double"))
        for table, rows in (("tenancy", tenancies()), ("half_hour", half_hours())):
            told = pa.Table.from_pylist([_renamed(row) for row in rows])  # noqa: F841  # DuckDB finds it by its name
            connection.execute(f"INSERT INTO {table} ({', '.join(_renamed(rows[0]))}) SELECT * FROM told")
    return at(f"duckdb:///{path}", "duckdb")


def a_sqlite_file(folder: Path) -> MeteringSettings:
    """Times as seconds, and columns that are named as they are asked for."""
    path = folder / "meters.sqlite"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for table, rows in (("tenancy", tenancies()), ("half_hour", half_hours())):
            connection.exec_driver_sql(f"CREATE TABLE {table} ({', '.join(rows[0])})")
            _fill(connection, table, rows)
    engine.dispose()
    return MeteringSettings(
        register_source="sql",
        readings_source="sql",
        vouches_for_sites=True,
        sql_register={
            "url": f"sqlite:///{path}",
            "by_number": "SELECT * FROM tenancy WHERE fuel = :fuel AND number = :number",
            "of_meters": "SELECT * FROM tenancy WHERE meter IN :meters",
            "of_business": "SELECT * FROM tenancy WHERE sme = :sme",
            "of_customer": "SELECT * FROM tenancy WHERE customer = :customer",
        },
        sql_readings={
            "url": f"sqlite:///{path}",
            "half_hours": """SELECT * FROM half_hour
                WHERE meter = :meter AND measure = :measure AND start >= :start AND start < :end""",
            "extents": """SELECT meter, min(start) AS first, max(start) + 1800 AS until
                FROM half_hour WHERE meter IN :meters GROUP BY meter""",
        },
    )


def write_readings(folder: Path, rows: list[Row], name: str = "part.parquet", **how: Any) -> None:
    """In the page's folders."""
    places: dict[Path, list[Row]] = {}
    for row in rows:
        where = folder / f"prefix={row['meter'][:2]}" / f"month={instant.text(row['start'])[:7]}"
        places.setdefault(where, []).append(row)
    for where, those in places.items():
        where.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(those), where / name, row_group_size=500, write_page_checksum=True, **how)


def parquet_files(folder: Path) -> MeteringSettings:
    (folder / "register").mkdir()
    pq.write_table(pa.Table.from_pylist(tenancies()), folder / "register/part.parquet")
    write_readings(folder / "readings", half_hours())
    values = documented("/srv/meters/readings")
    values["parquet"] |= {"register_folder": str(folder / "register"), "readings_folder": str(folder / "readings")}
    return MeteringSettings(**values, vouches_for_sites=True)


def service(asked: Row, path: str) -> Any:
    """What the EDP's own service returns: the fake of the contract docs/metering-service.json."""
    if path == "/v1/tenancies":
        meters = asked.pop("meters", None)
        found = [row for row in tenancies() if all(row[name] == value for name, value in asked.items())]
        found = [row for row in found if meters is None or row["meter"] in meters]
        return {
            "tenancies": [
                {**row, "measures": row["measures"].split(","), **_dated(row, "since", "until")} for row in found
            ]
        }
    if path == "/v1/extents":
        known = [meter for meter in asked["meters"] if meter in (SHOP, OVEN, FARM)]
        span = {"from": instant.text(FIRST), "to": instant.text(LAST)}
        return {"extents": [{"meter": meter, **span} for meter in known]}
    start, end = (instant.parse(asked[name]) for name in ("from", "to"))
    rows = [row for row in half_hours() if row["meter"] == asked["meter"] and start <= row["start"] < end]
    rows = [row for row in rows if row["measure"] == asked["measure"]]
    listed = [
        {"from": instant.text(row["start"]), "takenAt": instant.text(row["taken_at"])}
        | {name: row[name] for name in ("value", "cumulative", "estimated")}
        for row in rows
    ]
    told = {name: asked[name] for name in ("meter", "fuel", "measure")}
    return {**told, "unit": "MTQ" if asked["meter"] == OVEN else "KWH", "halfHours": listed}


def _dated(row: Row, *names: str) -> Row:
    return {name: None if row[name] is None else instant.text(row[name]) for name in names}


def served(wire: Any) -> Callable[[Any], Any]:
    """The service as a route of a server."""
    return lambda asked: wire.json(service(json.loads(asked.body), asked.path))
