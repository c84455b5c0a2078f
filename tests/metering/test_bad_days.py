"""What a source of the EDP's own may do on a bad day: never a wrong half-hour, and nobody waits for long."""

import datetime
import gzip
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from consent_server.metering import contract, parquet, sources
from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.metering.unavailable import SourceUnavailable
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.provenance.steps import MISSING
from consent_server.scheme.readings import ReadingError
from consent_server.settings import BadSettings
from consent_server.settings.metering import MeteringSettings
from tests.metering import foreign
from tests.metering.conftest import OwnService
from tests.metering.foreign import CUSTOMER, FARM, FIRST, NOW, SHOP, Row
from tests.outbound.conftest import Answer, json_answer

pytestmark = pytest.mark.usefixtures("held_clock")
REFUSED = (SourceUnavailable, ReadingError)
DAYS = ReadingsRequest(SHOP, "electricity", "import", FIRST, FIRST + 2 * DAY, "account-1", NOW + DAY)
HALF_HOURS = "/v1/half-hours"

Spoilt = Callable[[list[Row]], Any]


def one(**changes: Any) -> Spoilt:
    """Change the fifth row."""
    return lambda rows: rows[4].update(changes)


#: Values that no meter can have counted: a gap, which is said to be missing, and never a figure.
IMPLAUSIBLE = {"endless", "more than any meter counts"}


def every(**changes: Any) -> Spoilt:
    return lambda rows: [row.update(changes) for row in rows]


#: Readings that are wrong in one way, whatever place they come from.
WRONG: dict[str, Spoilt] = {
    "another meter's row": one(meter=FARM),
    "no meter": one(meter=None),
    "two units": one(unit="WHR"),
    "gas": every(unit="MTQ"),
    "no unit": every(unit=None),
    "negative": one(value=-0.5),
    "not a number": one(value=float("nan")),
    "endless": one(value=float("inf")),
    "more than any meter counts": one(value=1e14),
    "twice": lambda rows: rows.append({**rows[4]}),
    "twice with another value": lambda rows: rows.append({**rows[4], "value": 7.0}),
    "off the half-hour": one(start=FIRST + 4 * HALF_HOUR + 60),
    "taken before its end": one(taken_at=FIRST),
    "a register below zero": one(cumulative=-1),
}


def rows_of_two_days() -> list[Row]:
    return [dict(row) for row in foreign.half_hours() if row["meter"] == SHOP and row["start"] < FIRST + 2 * DAY]


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("place", ["sql", "parquet"])
def test_D4_rows_that_cannot_be_so_refuse_the_whole_answer(place: str, name: str, tmp_path: Path) -> None:
    rows = rows_of_two_days()
    WRONG[name](rows)
    if place == "sql":
        settings = foreign.a_sqlite_file(tmp_path)
        with sqlite3.connect(tmp_path / "meters.sqlite") as connection:
            connection.execute("DELETE FROM half_hour")
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO half_hour VALUES ({marks})", [tuple(row.values()) for row in rows])
        connection.close()
        # What a query has that does not look at the meter.
        half_hours = settings.sql_readings.half_hours.replace("meter = :meter", "coalesce(meter, '') != :meter || '-'")
        changed = {"half_hours": half_hours}
        settings = settings.model_copy(update={"sql_readings": settings.sql_readings.model_copy(update=changed)})
    else:
        settings = foreign.parquet_files(tmp_path)
        for old in (tmp_path / "readings").rglob("*.parquet"):
            old.unlink()
        foreign.write_readings(tmp_path / "readings", [{**row, "meter": row["meter"] or SHOP} for row in rows])
    readings = sources.readings_of(settings)
    if place == "parquet" and name in {"another meter's row", "no meter"}:
        assert readings.half_hours(DAYS).count == 95 - (name == "another meter's row"), "a gap, and never another's"
        return
    # SQLite keeps what is not a number as no value.
    if name in IMPLAUSIBLE or (place, name) == ("sql", "not a number"):
        held = readings.half_hours(DAYS)
        assert (held.count, held.missing_data) == (94, MISSING)
        return
    with pytest.raises(REFUSED):
        readings.half_hours(DAYS)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("meter", None),
        ("meter", FARM),
        ("measure", None),
        ("measure", "export"),
        ("start", None),
        ("start", FIRST - HALF_HOUR),
    ],
)
def test_D4_one_row_of_another_among_a_meters_own_is_left_out(
    column: str, said: str | int | None, tmp_path: Path
) -> None:
    settings = foreign.parquet_files(tmp_path)
    foreign.write_readings(tmp_path / "readings", rows_of_two_days())
    path = tmp_path / f"readings/prefix=12/month={instant.month(FIRST)}/part.parquet"
    table = pq.read_table(path, partitioning=None)
    spoilt = pa.array([said, *table[column].to_pylist()[1:]], table[column].type)
    pq.write_table(table.set_column(table.column_names.index(column), column, spoilt), path)
    assert sources.readings_of(settings).half_hours(DAYS).count == 94


def doubled(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: pa.Table.from_arrays([*table.columns, table[name]], names=[*table.column_names, name])


def as_lists(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(
        table.column_names.index(name), name, pa.array([[each] for each in table[name].to_pylist()])
    )


def with_part(name: str) -> Callable[[pa.Table], pa.Table]:
    """Put a nested column first, of which a part has the name of another column."""
    return lambda table: table.add_column(0, "more", pa.array([{name: "other"}] * table.num_rows))


#: Files that say two things, or another thing than their columns' names: the words of the refusal.
LYING_FILES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    **{f"{name} twice": (doubled(name), f"the column {name} is there twice") for name in ("meter", "start", "value")},
    **{
        f"lists in {name}": (as_lists(name), f"the column {name} is nested")
        for name in ("meter", "measure", "unit", "estimated", "value")
    },
    "more rows than may be read": (lambda table: pa.concat_tables([table] * 50), "row group is too large"),
    "text that unpacks to much": (
        lambda table: table.set_column(
            table.column_names.index("unit"), "unit", pa.array(["x" * 40_000] * table.num_rows)
        ),
        "row group is too large",
    ),
}


@pytest.mark.parametrize("name", [*LYING_FILES, "a part of another column"])
def test_D4_a_parquet_file_that_lies_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_LARGEST_ROWS", 2000)
    monkeypatch.setattr(parquet, "_LARGEST_COLUMN", 30_000)
    settings = foreign.parquet_files(tmp_path)
    change, says = LYING_FILES.get(name, (with_part("meter"), ""))
    for path in (tmp_path / "readings").rglob("*.parquet"):
        path.unlink()
    foreign.write_readings(tmp_path / "readings", rows_of_two_days())
    for path in (tmp_path / "readings").rglob("*.parquet"):
        pq.write_table(change(pq.ParquetFile(path).read()), path)
    readings = sources.readings_of(settings)
    if not says:
        assert readings.half_hours(DAYS).count == 95, "the statistics of the part are not the column's"
        return
    with pytest.raises(REFUSED, match=says):
        readings.half_hours(DAYS)


# a service


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set at the end of a test, so that servers that hang end with it."""
    event = threading.Event()
    yield event
    event.set()


def changed(wire: Any, change: Callable[[Row], Any]) -> Any:
    """The good answer with a change."""

    def route(asked: Any) -> Any:
        told = json.loads(json.dumps(foreign.service(json.loads(asked.body), asked.path)))
        change(told)
        return wire.json(told)

    return route


def row(**changes: Any) -> Callable[[Row], Any]:
    return lambda told: told["halfHours"][4].update(changes)


#: What the service says instead of half-hours.
LIES: dict[str, Callable[[Row], Any]] = {
    "another meter": lambda told: told.update(meter=FARM),
    "another measure": lambda told: told.update(measure="export"),
    "another fuel": lambda told: told.update(fuel="gas"),
    "no meter": lambda told: told.pop("meter"),
    "no unit": lambda told: told.pop("unit"),
    "gas": lambda told: told.update(unit="MTQ"),
    "a list of units": lambda told: told.update(unit=["KWH"]),
    "no list": lambda told: told.pop("halfHours"),
    "a list of numbers": lambda told: told.update(halfHours=[1, 2]),
    "negative": row(value=-1),
    "text": row(value="0.5"),
    "truth": row(value=True),
    "an object": row(value={}),
    "endless": row(value=1e300),
    "twice": lambda told: told["halfHours"].append(told["halfHours"][4]),
    "no time": row(**{"from": None}),
    "local time": row(**{"from": "2026-02-01T00:00:00"}),
    "misaligned": row(**{"from": instant.text(FIRST + 4 * HALF_HOUR + 1)}),
    "before the window": row(**{"from": instant.text(FIRST - HALF_HOUR)}),
    "of the future": row(**{"from": instant.text(NOW + DAY - NOW % HALF_HOUR)}),
    "a maybe": row(estimated="yes"),
    "too many": lambda told: told.update(halfHours=told["halfHours"] * 300),
}


@pytest.mark.parametrize("name", LIES)
def test_D4_a_service_that_lies_is_not_believed(own_service: OwnService, wire: Any, name: str) -> None:
    own_service.server.routes[HALF_HOURS] = changed(wire, LIES[name])
    if name in IMPLAUSIBLE:
        held = sources.readings_of(own_service.settings).half_hours(DAYS)
        assert (held.count, held.missing_data) == (94, MISSING)
        return
    with pytest.raises(REFUSED):
        sources.readings_of(own_service.settings).half_hours(DAYS)


def bad_days(over: threading.Event) -> dict[str, Any]:
    good = json.dumps(
        foreign.service({"meter": SHOP, "fuel": "electricity", "measure": "import"} | window(), HALF_HOURS)
    )

    def drip(socket: Any) -> None:
        socket.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n")
        while not over.wait(0.05):
            socket.write(b" ")

    return {
        "500": json_answer({}, 500),
        "404": json_answer({}, 404),
        "401": json_answer({}, 401),
        "a redirect": Answer(307, headers={"Location": "https://localhost:1/elsewhere"}),
        "truncated JSON": Answer(200, good[: len(good) // 2].encode()),
        "cut off": Answer(200, good[:900].encode(), {"Content-Length": str(len(good)), "Connection": "close"}),
        "not a number": Answer(200, good.replace('"value": 0.01,', '"value": NaN,').encode()),
        "a list": Answer(200, b"[]"),
        "nothing": Answer(200),
        "no HTTP": Answer(raw=lambda socket: socket.write(b"hello\r\n\r\n")),
        "100 MB": Answer(200, b" " * 100_000_000),
        "100 MB in 100 kB": Answer(200, gzip.compress(b" " * 100_000_000), {"Content-Encoding": "gzip"}),
        "a drip": Answer(raw=drip),
        "silence": Answer(raw=lambda socket: over.wait(20)),
    }


def window() -> Row:
    return {"from": instant.text(DAYS.start), "to": instant.text(DAYS.end)}


SLOW = ("100 MB", "a drip", "silence")


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[pytest.mark.long] if each in SLOW else []) for each in bad_days(threading.Event())],
)
def test_D4_a_service_that_fails_is_unavailable(own_service: OwnService, over: threading.Event, name: str) -> None:
    own_service.server.routes[HALF_HOURS] = bad_days(over)[name]
    settings = own_service.settings
    if name in SLOW:
        assert settings.http is not None
        settings = settings.model_copy(update={"http": settings.http.model_copy(update={"longest_s": 1})})
    with pytest.raises(SourceUnavailable):
        sources.readings_of(settings).half_hours(DAYS)
    assert not over.is_set()
    assert [asked.path for asked in own_service.server.asked] == [HALF_HOURS], "asked once, and nowhere else"


@pytest.mark.parametrize("name", ["500", "truncated JSON", "a list"])
def test_D4_so_are_its_register_and_its_extents(own_service: OwnService, over: threading.Event, name: str) -> None:
    own_service.server.routes["*"] = bad_days(over)[name]
    with pytest.raises(SourceUnavailable) as refused:
        sources.register_of(own_service.settings).find("SW8 1AA", "1212345678902", None, NOW)
    assert "1212345678902" not in str(refused.value)
    with pytest.raises(SourceUnavailable):
        sources.readings_of(own_service.settings).begin([SHOP])


@pytest.mark.parametrize(("told", "seconds"), [({"Retry-After": "17"}, 17), ({}, 60), ({"Retry-After": "soon"}, 60)])
def test_a_service_that_still_collects_says_when_to_come_back(
    own_service: OwnService, wire: Any, told: Any, seconds: int
) -> None:
    own_service.server.routes[HALF_HOURS] = wire.answer(202, b"", told)
    assert sources.readings_of(own_service.settings).half_hours(DAYS) == Held(retry_after=seconds)
    own_service.server.routes["*"] = wire.answer(202, b"", told)
    with pytest.raises(SourceUnavailable):
        sources.readings_of(own_service.settings).begin([SHOP])
    with pytest.raises(SourceUnavailable):
        sources.register_of(own_service.settings).tenancies("customer-1", [SHOP])


def test_our_certificate_and_token_are_sent_and_no_number_is_in_a_url(own_service: OwnService, tmp_path: Path) -> None:
    assert sources.register_of(own_service.settings).find("SW8 1AA", "1212345678902", None, NOW)
    sources.readings_of(own_service.settings).half_hours(DAYS)
    assert "/v1/extents" not in {asked.path for asked in own_service.server.asked}, "both ends of the window have rows"
    sources.readings_of(own_service.settings).begin([SHOP])
    assert all(
        asked.certificate and asked.headers["authorization"] == "Bearer a-secret" for asked in own_service.server.asked
    )
    assert {asked.path for asked in own_service.server.asked} == {"/v1/tenancies", HALF_HOURS, "/v1/extents"}
    assert not any(asked.query for asked in own_service.server.asked)
    (tmp_path / "token").write_text("another")
    sources.readings_of(own_service.settings).begin([SHOP])
    assert own_service.server.asked[-1].headers["authorization"] == "Bearer another"
    (tmp_path / "token").unlink()
    with pytest.raises(SourceUnavailable):
        sources.readings_of(own_service.settings).begin([SHOP])


# a register


def spoilt_register(told: Row, **changes: Any) -> None:
    for each in told["tenancies"]:
        each.update(changes)


REGISTER_LIES: dict[str, Callable[[Row], Any]] = {
    "another number": lambda told: spoilt_register(told, number="1212345678911"),
    "another fuel": lambda told: spoilt_register(told, fuel="gas"),
    "no fuel of ours": lambda told: spoilt_register(told, fuel=["gas"]),
    "a number that is none": lambda told: spoilt_register(told, number=1212345678902),
    "no postcode": lambda told: spoilt_register(told, postcode="SW8"),
    "a long id": lambda told: spoilt_register(told, meter="x" * 49),
    "no business": lambda told: spoilt_register(told, sme=""),
    "strange measures": lambda told: spoilt_register(told, measures=["import", "import"]),
    "measures within measures": lambda told: spoilt_register(told, measures=[["import"]]),
    "local time": lambda told: spoilt_register(told, since="2026-01-01T00:00:00"),
    "an end before its beginning": lambda told: spoilt_register(told, since=200, until=100),
    "no list": lambda told: told.pop("tenancies"),
    "a million": lambda told: told.update(tenancies=told["tenancies"] * 1000),
}


@pytest.mark.parametrize("name", REGISTER_LIES)
def test_D4_a_register_that_lies_finds_nobody(own_service: OwnService, wire: Any, name: str) -> None:
    own_service.server.routes["/v1/tenancies"] = changed(wire, REGISTER_LIES[name])
    with pytest.raises(SourceUnavailable):
        sources.register_of(own_service.settings).find("SW8 1AA", "1212345678902", None, NOW)


def test_D4_meters_of_another_business_are_not_taken(own_service: OwnService, wire: Any) -> None:
    own_service.server.routes["/v1/tenancies"] = changed(wire, lambda told: spoilt_register(told, sme="customer-9"))
    register = sources.register_of(own_service.settings)
    assert register.tenancies("customer-1", [SHOP]) == {}
    with pytest.raises(SourceUnavailable, match="a row of another business"):
        register.sites("customer-1", NOW)
    own_service.server.routes["/v1/tenancies"] = changed(wire, lambda told: spoilt_register(told, meter=FARM))
    with pytest.raises(SourceUnavailable, match="a row of another meter"):
        register.tenancies("customer-1", [SHOP])


def test_H23_a_meter_in_two_hands_at_once_is_nobodys(own_service: OwnService, wire: Any) -> None:
    own_service.server.routes["/v1/tenancies"] = changed(
        wire, lambda told: spoilt_register(told, since=None, until=None)
    )
    assert sources.register_of(own_service.settings).find("SW8 1AA", "1212345678902", None, NOW) is None


#: What the service says of a customer -> whether anybody is to try again; otherwise the log-in leads to no business.
CUSTOMER_LIES: dict[str, tuple[Callable[[Row], Any], bool]] = {
    "another customer": (lambda told: spoilt_register(told, customer="C-2"), True),
    "another case": (lambda told: spoilt_register(told, customer="c-1"), True),
    "one row of another's": (lambda told: told["tenancies"][1].update(customer="C-2"), True),
    "no customer": (lambda told: [row.pop("customer") for row in told["tenancies"]], True),
    "a list of customers": (lambda told: spoilt_register(told, customer=[CUSTOMER]), True),
    "no list": (lambda told: told.pop("tenancies"), True),
    "a million": (lambda told: told.update(tenancies=told["tenancies"] * 10_000), True),
    "two businesses": (lambda told: told["tenancies"][1].update(sme="customer-9"), False),
    "a meter twice": (lambda told: told["tenancies"].append(told["tenancies"][1]), False),
    "all ended": (lambda told: spoilt_register(told, since=None, until="2026-01-01T00:00:00Z"), False),
}


@pytest.mark.parametrize("name", CUSTOMER_LIES)
def test_O1_a_register_that_lies_lets_no_customer_in(own_service: OwnService, wire: Any, name: str) -> None:
    change, unavailable = CUSTOMER_LIES[name]
    own_service.server.routes["/v1/tenancies"] = changed(wire, change)
    register = sources.register_of(own_service.settings)
    if not unavailable:
        assert register.of_customer(CUSTOMER, NOW) is None
        return
    with pytest.raises(SourceUnavailable) as refused:
        register.of_customer(CUSTOMER, NOW)
    assert CUSTOMER not in str(refused.value)


def test_O1_a_query_that_compares_loosely_lets_nobody_in(tmp_path: Path) -> None:
    settings = foreign.a_sqlite_file(tmp_path)
    loose = {"of_customer": "SELECT * FROM tenancy WHERE customer LIKE :customer"}
    settings = settings.model_copy(update={"sql_register": settings.sql_register.model_copy(update=loose)})
    register = sources.register_of(settings)
    assert register.of_customer(CUSTOMER, NOW)
    for customer in ("c-1", "%", "C-_"):
        with pytest.raises(SourceUnavailable, match="a row of another customer"):
            register.of_customer(customer, NOW)


def test_O1_files_and_queries_without_customers_say_what_is_missing(tmp_path: Path) -> None:
    files, database = foreign.parquet_files(tmp_path), foreign.a_sqlite_file(tmp_path)
    register = tmp_path / "register/part.parquet"
    pq.write_table(pq.read_table(register).drop_columns(["customer"]), register)
    none = {"sql_register": database.sql_register.model_copy(update={"of_customer": ""})}
    for settings, says in (
        (files, "the rows have no column customer"),
        (database.model_copy(update=none), r"metering\.sql_register\.of_customer is empty"),
    ):
        held = sources.register_of(settings)
        assert held.find("SW8 1AA", "1212345678902", None, NOW)
        with pytest.raises(SourceUnavailable, match=says):
            held.of_customer(CUSTOMER, NOW)
        sample = contract.Sample(held, sources.readings_of(settings), at=NOW, logs_in=False)
        assert [verdict for verdict in contract.verdicts(sample) if verdict.fault] == []


# databases


def sql(settings: MeteringSettings, **changes: Any) -> MeteringSettings:
    return settings.model_copy(update={"sql_readings": settings.sql_readings.model_copy(update=changes)})


def test_nothing_can_be_written_to_a_database_of_the_edps(warehouse: str, tmp_path: Path) -> None:
    # What a careless account would let a query do.
    settings = foreign.postgresql(warehouse)
    engine = sa.create_engine(warehouse)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SEQUENCE counter")
    for writes, refused in (
        ("SELECT nextval('counter'), :meter, :measure, :start, :end", "ReadOnlySqlTransaction"),
        ("WITH gone AS (DELETE FROM half_hour RETURNING 1) SELECT :meter, :measure, :start, :end FROM gone", ""),
    ):
        with pytest.raises(SourceUnavailable, match=refused):
            sources.readings_of(sql(settings, half_hours=writes)).half_hours(DAYS)
    drops = "DELETE FROM half_hour WHERE :meter != '' OR :measure = '' OR :start = :end RETURNING *"
    for made in (foreign.a_sqlite_file, foreign.a_duckdb_file):
        settings = made(tmp_path)
        with pytest.raises(SourceUnavailable):
            sources.readings_of(sql(settings, half_hours=drops)).half_hours(DAYS)
        assert sources.readings_of(settings).half_hours(DAYS).count == 95
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM half_hour")) == len(foreign.half_hours())
    engine.dispose()


def test_a_query_that_does_not_end_is_given_up(warehouse: str, tmp_path: Path) -> None:
    slow = "SELECT pg_sleep(20), :meter, :measure, :start, :end"
    with pytest.raises(SourceUnavailable, match="QueryCanceled"):
        sources.readings_of(sql(foreign.postgresql(warehouse), half_hours=slow, longest_s=1)).half_hours(DAYS)
    slow = """WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 8000000)
        SELECT max(n), :meter, :measure, :start, :end FROM count"""
    with pytest.raises(SourceUnavailable, match="no response in time"):
        sources.readings_of(sql(foreign.a_sqlite_file(tmp_path), half_hours=slow, longest_s=1)).half_hours(DAYS)


def test_a_database_that_hangs_holds_nobody(warehouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not keep the time that it was given, as when its machine stands still."""
    monkeypatch.setattr("consent_server.store.foreign.ForeignDatabase._only_reads", lambda *_: None)
    slow = "SELECT pg_sleep(5), :meter, :measure, :start, :end"
    with pytest.raises(SourceUnavailable, match="no response in time"):
        sources.readings_of(sql(foreign.postgresql(warehouse), half_hours=slow, longest_s=1)).half_hours(DAYS)


UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys
import time
import gevent
from consent_server.metering import sources
from consent_server.aside import aside, in_time
from consent_server.settings.metering import MeteringSettings
from tests.metering.test_bad_days import DAYS

ticks = 0
def tick():
    global ticks
    while True:
        gevent.sleep(0.01)
        ticks += 1
gevent.spawn(tick)
in_c = monkey.get_original("time", "sleep")
aside(lambda: in_c(0.5), 5, "metering")
print(ticks > 5)
for way, wait in ((lambda *how: aside(*how, "metering"), in_c), (in_time, time.sleep)):
    try:
        way(lambda: wait(3), 0.2)
    except TimeoutError:
        print("given up")
for line in sys.stdin:
    readings = sources.readings_of(MeteringSettings.model_validate_json(line))
    try:
        print(readings.half_hours(DAYS).count)
    except Exception as error:
        print(error)
"""


@pytest.mark.long
def test_under_gevent_nobody_waits_for_them(warehouse: str, tmp_path: Path) -> None:
    hangs = "SELECT pg_sleep(20), :meter, :measure, :start, :end"
    places = [foreign.postgresql(warehouse), foreign.a_duckdb_file(tmp_path), foreign.a_sqlite_file(tmp_path)]
    places += [foreign.parquet_files(tmp_path), sql(places[0], half_hours=hangs, longest_s=1), places[0]]
    told = "\n".join(place.model_dump_json() for place in places)
    command = [sys.executable, "-c", UNDER_GEVENT]
    said = subprocess.run(command, input=told, capture_output=True, text=True, timeout=100, check=False)
    good = ["True", "given up", "given up", *["95"] * 4, "metering.sql_readings.half_hours: QueryCanceled", "95"]
    assert said.stdout.splitlines() == good, said.stderr


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://reader:hidden@127.0.0.1:1/none", "sqlite:////no/such.db", "duckdb:////no/such"]
)
def test_a_database_that_is_not_there_is_unavailable(url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"metering\.sql_readings\.half_hours: ") as refused:
        sources.readings_of(sql(foreign.a_sqlite_file(tmp_path), url=url)).half_hours(DAYS)
    assert "hidden" not in repr(refused.value)
    assert not Path("/no").exists()


def test_what_a_database_says_is_for_the_operator_alone(tmp_path: Path) -> None:
    broken = """SELECT 'meter ' || :meter AS meter, :measure, :start, :end FROM
        nowhere"""
    with pytest.raises(SourceUnavailable) as refused:
        sources.readings_of(sql(foreign.a_sqlite_file(tmp_path), half_hours=broken)).half_hours(DAYS)
    assert refused.value.said == "no such table: nowhere"
    assert str(refused.value) == refused.value.private == "metering.sql_readings.half_hours: OperationalError"
    assert SourceUnavailable(said="\n one\x1b[2J\ntwo" + 1000 * "x").said == "one[2J"


def test_whoever_loads_a_duckdb_file_can_have_it_alone(tmp_path: Path) -> None:
    settings = foreign.a_duckdb_file(tmp_path)
    assert sources.readings_of(settings).half_hours(DAYS).count == 95
    with duckdb.connect(str(tmp_path / "meters.duckdb")) as connection:
        connection.execute("UPDATE half_hour SET value = 1")
    assert sources.readings_of(settings).half_hours(DAYS).count == 95


# files


def test_a_file_that_is_not_whole_refuses_its_month_and_no_other(tmp_path: Path) -> None:
    readings = sources.readings_of(foreign.parquet_files(tmp_path))
    (march,) = (tmp_path / "readings").glob("prefix=12/month=2026-03/*")
    whole = march.read_bytes()
    for spoilt in (whole[:-1], whole[: len(whole) // 2], b"", b"PAR1"):
        march.write_bytes(spoilt)
        with pytest.raises(REFUSED):
            readings.half_hours(ReadingsRequest(SHOP, "electricity", "import", NOW - 20 * DAY, NOW, "a", NOW))
    # Still being written.
    march.rename(march.with_name("_part.parquet"))
    assert readings.half_hours(DAYS).count == 95
    march.write_bytes(whole)
    assert readings.half_hours(DAYS).count == 95


def test_a_disk_that_is_not_mounted_is_no_meter_without_readings(tmp_path: Path) -> None:
    readings = sources.readings_of(foreign.parquet_files(tmp_path))
    unknown = ReadingsRequest("99-none", "electricity", "import", FIRST, FIRST + DAY, "a", NOW)
    folder = tmp_path / "readings"
    assert (readings.half_hours(unknown), readings.begin(["99-none"])) == (Held(), {})
    folder.rename(tmp_path / "elsewhere")
    for _ in ("no folder", "an empty one"):
        for ask in (lambda: readings.half_hours(DAYS), lambda: readings.begin([SHOP])):
            with pytest.raises(SourceUnavailable, match="readings_folder: FileNotFoundError"):
                ask()
        folder.mkdir(exist_ok=True)


def test_a_bit_that_flipped_on_the_disk_changes_no_half_hour(tmp_path: Path) -> None:
    readings = sources.readings_of(foreign.parquet_files(tmp_path))
    asked = ReadingsRequest(SHOP, "electricity", "import", NOW - 10 * DAY, NOW, "a", NOW)
    good = readings.half_hours(asked)
    (march,) = (tmp_path / "readings").glob("prefix=12/month=2026-03/*")
    whole = march.read_bytes()
    footer, refused = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), 0
    for offset in range(4, footer, 97):
        march.write_bytes(whole[:offset] + bytes([whole[offset] ^ 16]) + whole[offset + 1 :])
        try:
            assert readings.half_hours(asked) == good
        except REFUSED:
            refused += 1
    assert refused > 10


def test_a_number_of_a_dictionary_that_has_no_word_is_refused(tmp_path: Path) -> None:
    """Where a file has no checksums, and all its rows are of one meter."""
    settings = foreign.parquet_files(tmp_path)
    path = tmp_path / f"readings/prefix=12/month={instant.month(FIRST)}/part.parquet"
    day = replace(DAYS, end=FIRST + DAY)
    table = pa.Table.from_pylist([row for row in rows_of_two_days() if row["start"] < day.end])
    table = table.cast(table.schema.set(0, pa.field("meter", pa.string(), nullable=False)))
    pq.write_table(table, path, compression="none", use_dictionary=["meter"], write_page_checksum=False)
    readings = sources.readings_of(settings)
    assert readings.half_hours(day).count == 47
    whole = path.read_bytes()
    meter = pq.read_metadata(path).row_group(0).column(0)
    last = meter.dictionary_page_offset + meter.total_compressed_size - 1
    assert whole[last] == 0, "the first word, for all rows"
    path.write_bytes(whole[:last] + b"\1" + whole[last + 1 :])
    with pytest.raises(SourceUnavailable):
        readings.half_hours(day)


@pytest.mark.parametrize("column", ["meter", "measure", "start", "value", "unit"])
def test_a_file_without_a_column_is_refused(tmp_path: Path, column: str) -> None:
    settings = foreign.parquet_files(tmp_path)
    for path in (tmp_path / "readings").rglob("*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns([column]), path)
    readings = sources.readings_of(settings)
    with pytest.raises(ReadingError, match=column):
        readings.half_hours(DAYS)
    if column in {"meter", "start"}:
        with pytest.raises(SourceUnavailable, match=column):
            readings.begin([SHOP])


@pytest.mark.parametrize("kind", [pa.int64(), pa.null()])
def test_rows_without_a_start_are_left_out(tmp_path: Path, kind: pa.DataType) -> None:
    settings = foreign.parquet_files(tmp_path)
    for path in (tmp_path / "readings").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.set_column(2, "start", pa.nulls(len(table), kind)), path)
    readings = sources.readings_of(settings)
    assert (readings.half_hours(DAYS), readings.begin([SHOP])) == (Held(), {})


def test_files_whose_columns_are_of_other_kinds_are_unavailable(tmp_path: Path) -> None:
    settings = foreign.parquet_files(tmp_path)
    register = tmp_path / "register/part.parquet"
    rows = foreign.tenancies()
    halves = [{**row, "since": datetime.datetime(2025, 1, 1, 0, 0, 0, 500)} for row in rows]
    for spoilt in (
        [{**row, "number": int(row["number"])} for row in rows],
        halves,
        [{**row, "since": each["since"].replace(tzinfo=datetime.UTC)} for row, each in zip(rows, halves, strict=True)],
        [{name: value for name, value in row.items() if name != "number"} for row in rows],
        [{name: value for name, value in row.items() if name != "fuel"} for row in rows],
    ):
        pq.write_table(pa.Table.from_pylist(spoilt), register)
        with pytest.raises(SourceUnavailable):
            sources.register_of(settings).find("SW8 1AA", "1212345678902", None, NOW)
    for path in (tmp_path / "readings").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.set_column(2, "start", table["start"].cast(pa.string())), path)
    with pytest.raises(SourceUnavailable):
        sources.readings_of(settings).begin([SHOP])


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        (pa.timestamp("us", "UTC"), True),
        (pa.timestamp("ms", "Europe/London"), True),
        (pa.timestamp("us"), False),
        (pa.string(), False),
    ],
)
def test_a_time_has_its_zone(tmp_path: Path, kind: pa.DataType, good: bool) -> None:
    settings = foreign.parquet_files(tmp_path)
    for path in (tmp_path / "readings").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        start = table["start"].cast(pa.timestamp("s")).cast(kind) if pa.types.is_string(kind) else table["start"]
        if pa.types.is_timestamp(kind):
            start = pa.chunked_array(
                [
                    pa.array(start.to_pylist(), pa.int64())
                    .cast(pa.timestamp("s"))
                    .cast(pa.timestamp(kind.unit))
                    .cast(kind)
                ]
            )
        pq.write_table(table.set_column(table.column_names.index("start"), "start", start), path)
    if good:
        assert sources.readings_of(settings).half_hours(DAYS).count == 95
    else:
        with pytest.raises(ReadingError):
            sources.readings_of(settings).half_hours(DAYS)


# settings


@pytest.mark.parametrize(
    ("section", "changes", "says"),
    [
        ("sql_readings", {"url": "nonsense"}, r"metering\.sql_readings\.url: a SQLAlchemy URL"),
        ("sql_readings", {"url": "nosuch://host/x"}, r"install the dialect nosuch"),
        ("sql_readings", {"url": "oracle+cx_oracle://h/x"}, "install cx_Oracle"),
        ("sql_readings", {"half_hours": ""}, r"half_hours: a query with the parameters :meter, :measure, :start, :end"),
        ("sql_readings", {"half_hours": "SELECT * FROM t WHERE meter = :meter"}, "and no others"),
        ("sql_readings", {"extents": "SELECT :meters, :more"}, "and no others"),
        ("parquet", {"readings_folder": ""}, r"metering\.parquet\.readings_folder: a folder"),
        ("parquet", {"readings_folder": "nosuch://x"}, r"metering\.parquet\.readings_folder"),
        ("http", {"url": ""}, r"metering\.http\.url"),
        ("http", {"url": "https://x", "token": "/no/such"}, r"metering\.http: token: cannot be used"),
        ("http", {"url": "https://x", "roots": __file__}, r"metering\.http: roots: cannot be used"),
    ],
)
def test_settings_that_cannot_be_used_stop_the_start(tmp_path: Path, section: str, changes: Row, says: str) -> None:
    settings = foreign.a_sqlite_file(tmp_path)
    source = {"sql_readings": "sql"}.get(section, section)
    changed_section = getattr(settings, section).model_copy(update=changes)
    with pytest.raises(BadSettings, match=says):
        sources.readings_of(settings.model_copy(update={section: changed_section, "readings_source": source}))


@pytest.mark.parametrize("query", [" ", "SELECT * FROM tenancy", "SELECT * FROM tenancy WHERE sme = :sme"])
def test_O1_a_query_for_customers_that_cannot_be_used_stops_the_start(tmp_path: Path, query: str) -> None:
    settings = foreign.a_sqlite_file(tmp_path)
    section = settings.sql_register.model_copy(update={"of_customer": query})
    with pytest.raises(BadSettings, match=r"of_customer: a query with the parameters :customer, and no others"):
        sources.register_of(settings.model_copy(update={"sql_register": section}))


@pytest.mark.parametrize(
    ("source", "module", "extra"), [("parquet", "pyarrow", "parquet"), ("sql", "duckdb_engine", "duckdb")]
)
def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, module: str, extra: str
) -> None:
    settings = {"parquet": foreign.parquet_files, "sql": foreign.a_duckdb_file}[source](tmp_path)
    for name in [each for each in sys.modules if each.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "consent_server.metering.parquet", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    sources.readings_of.cache_clear()
    with pytest.raises(BadSettings, match=rf"consent-server\[{extra}\]"):
        sources.readings_of(settings)
