"""Register and readings where an EDP has them: every place holds the same rows, and keeps the same contract."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from consent_server.metering import contract, sources
from consent_server.metering.parquet import ParquetReadings
from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.metering.unavailable import SourceUnavailable
from consent_server.parties.operator.doctor import house
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.provenance.steps import MISSING, SUBSTITUTED
from consent_server.scheme.readings import join
from consent_server.settings.metering import MeteringSettings
from tests.conftest import HeldClock
from tests.deployments import settings_of
from tests.metering import foreign
from tests.metering.conftest import NOW
from tests.metering.foreign import BILL, CUSTOMER, FARM, FIRST, LAST, OVEN, SHOP

PLACES = ("PostgreSQL", "DuckDB", "SQLite", "Parquet", "HTTP service")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, held_clock: HeldClock) -> MeteringSettings:
    """The settings of one place, filled."""
    made: dict[str, Callable[[], MeteringSettings]] = {
        "PostgreSQL": lambda: foreign.postgresql(request.getfixturevalue("warehouse")),
        "DuckDB": lambda: foreign.a_duckdb_file(tmp_path),
        "SQLite": lambda: foreign.a_sqlite_file(tmp_path),
        "Parquet": lambda: foreign.parquet_files(tmp_path),
        "HTTP service": lambda: request.getfixturevalue("own_service").settings,
    }
    return made[request.param]()


def window(start: int, end: int, meter: str = SHOP, fuel: str = "electricity") -> ReadingsRequest:
    return ReadingsRequest(meter, fuel, "import", start, end, "account-1", NOW + DAY)


def told(held: Held) -> list[Any]:
    return list(orjson.loads(join(held.blocks)))


def test_D4_every_place_keeps_the_contract(place: MeteringSettings) -> None:
    register, readings = sources.register_of(place), sources.readings_of(place)
    sample = contract.Sample(register, readings, **BILL, customer=CUSTOMER)
    assert sample.found is not None
    assert [verdict for verdict in contract.verdicts(sample) if verdict.fault] == []
    assert [meter.meter for meter in register.sites("customer-1", NOW)] == [SHOP, OVEN, FARM]
    # Who had the meter before has its time alone, and nothing by the bill.
    before = register.tenancies("customer-0", [SHOP, OVEN])
    assert {meter: (row.since, row.until) for meter, row in before.items()} == {
        SHOP: (FIRST - 99 * DAY, FIRST - 2 * DAY)
    }
    assert (sample.found.sme, sample.found.meters[0].since) == ("customer-1", FIRST - DAY)


def test_D4_every_place_says_the_same_of_a_half_hour(place: MeteringSettings) -> None:
    readings = sources.readings_of(place)
    held = readings.half_hours(window(FIRST - 9 * DAY, FIRST + 3 * DAY))
    assert (held.metered, held.count, held.missing_data) == ((FIRST, FIRST + 3 * DAY), 143, MISSING)
    first = told(held)[0]
    assert (first["energy"], first["cumulative"]) == (
        {"value": 10.0, "unitCode": "WHR"},
        {"value": 100000.0, "unitCode": "WHR"},
    )
    assert first["takenAt"] == first["from"][:11] + "01:23:20Z"
    assert readings.half_hours(window(FIRST + 3 * HALF_HOUR, FIRST + DAY)).missing_data == SUBSTITUTED
    gas = readings.half_hours(window(LAST - DAY, LAST + 90 * DAY, OVEN, "gas"))
    assert (gas.metered, gas.count) == ((LAST - DAY, LAST), 48)
    assert told(gas)[-1]["energy"] == {"value": 1.929, "unitCode": "MTQ"}
    assert readings.begin([SHOP, FARM, "12-none", "99-none"]) == {SHOP: FIRST, FARM: FIRST}


def test_D4_no_place_takes_what_is_not_asked_for(place: MeteringSettings) -> None:
    readings, days = sources.readings_of(place), (FIRST, FIRST + DAY)
    with pytest.raises(Exception, match="unit: gas is in MTQ"):
        readings.half_hours(window(*days, fuel="gas"))
    for odd in ("12", "12-shop' OR '1'='1", "../12-shop", "12-Shop", "\N{SNOWMAN}", "12-shop\x00"[:48]):
        try:
            assert readings.half_hours(window(*days, odd)) == Held()
            assert sources.register_of(place).tenancies(odd, [SHOP]) == {}
        except SourceUnavailable:
            assert "\x00" in odd, "PostgreSQL has no such text"
    assert readings.half_hours(ReadingsRequest(SHOP, "electricity", "export", *days, "a", 1)).count == 0
    assert readings.half_hours(window(NOW, NOW + DAY)) == Held()


@pytest.mark.parametrize(
    ("customer", "at", "expected"),
    [
        (CUSTOMER, NOW, [SHOP, OVEN, FARM]),
        (CUSTOMER, FIRST - DAY - 1, [OVEN, FARM]),
        ("C-0", FIRST - 2 * DAY - 1, [SHOP]),
        ("C-0", NOW, []),
        *((odd, NOW, []) for odd in ("", "c-1", "C-1 ", "C-%", "C-1' OR '1'='1", "customer-1", "\N{SNOWMAN}")),
    ],
)
def test_O1_every_place_knows_whose_meters_a_customer_has(
    place: MeteringSettings, customer: str, at: int, expected: list[str]
) -> None:
    found = sources.register_of(place).of_customer(customer, at)
    assert sorted(meter.meter for meter in found.meters) == sorted(expected) if found else not expected


def test_the_doctor_calls_them(place: MeteringSettings, tmp_path: Path) -> None:
    ours = tmp_path / "ours.db"
    ours.touch()
    settings = settings_of("edp", f"sqlite:///{ours}").model_copy(update={"metering": place})
    (found,) = house.metering(settings, NOW)
    assert f"{place.register_source} and {place.readings_source} respond" in str(found)
    section = {"sql": "sql_readings", "http": "http"}.get(place.readings_source)
    if section is None:
        return
    nowhere = {"sql": "postgresql+psycopg://reader@127.0.0.1:1/none", "http": "https://localhost:1"}[
        place.readings_source
    ]
    gone = place.model_copy(update={section: getattr(place, section).model_copy(update={"url": nowhere})})
    faults = [str(each) for each in house.metering(settings.model_copy(update={"metering": gone}), NOW)]
    assert faults
    assert all("SourceUnavailable" in fault for fault in faults)


def test_D4_columns_may_be_in_any_order_and_more_may_be_there(tmp_path: Path, held_clock: HeldClock) -> None:
    settings = foreign.parquet_files(tmp_path)
    wanted = window(FIRST, LAST)
    before = sources.readings_of(settings).half_hours(wanted)
    for path in (tmp_path / "readings").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        table = table.append_column("added", pa.array(["x"] * table.num_rows))
        pq.write_table(table.select(sorted(table.column_names, reverse=True)), path)
    readings = ParquetReadings(settings.parquet)
    assert (readings.half_hours(wanted), readings.begin([SHOP])) == (before, {SHOP: FIRST})


def test_files_as_the_page_writes_them_are_read_and_need_no_advice(tmp_path: Path, held_clock: HeldClock) -> None:
    settings = foreign.parquet_files(tmp_path)
    wanted = window(FIRST, LAST)
    before = sources.readings_of(settings).half_hours(wanted)
    for path in (tmp_path / "readings/prefix=12").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        foreign.write_month(path, [table.filter(pc.equal(table["meter"], meter)) for meter in (FARM, SHOP)])
        assert pq.read_metadata(path).num_row_groups == 2
    readings = ParquetReadings(settings.parquet)
    assert (readings.half_hours(wanted), readings.begin([SHOP]), readings.advice()) == (before, {SHOP: FIRST}, [])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, []),
        ({"row_group_size": 30_000, "times": 30}, ["row groups have up to 30,000 rows"]),
        ({"write_statistics": False}, ["do not say the smallest and largest meter"]),
        ({"reverse": True}, ["not sorted by meter"]),
        ({"files": 5}, ["has 5 files"]),
    ],
    ids=["good", "large row groups", "no statistics", "not sorted", "many files"],
)
def test_the_layout_of_files_is_judged(tmp_path: Path, how: dict[str, Any], said: list[str]) -> None:
    folder = tmp_path / "prefix=12"
    months = [folder / f"month=2026-0{month}" for month in (1, 2)]
    many, times, backwards = how.pop("files", 1), how.pop("times", 1), how.pop("reverse", False)
    rows = sorted(({"meter": f"12-{each:03}", "start": 0} for each in range(1000)), key=str, reverse=backwards)
    table = pa.Table.from_pylist([row for row in rows for _ in range(times)])
    for month in months:
        month.mkdir(parents=True)
        for number in range(many):
            pq.write_table(table, month / f"{number}.parquet", **{"row_group_size": 100, **how})
    place = MeteringSettings(readings_source="parquet", parquet={"readings_folder": str(tmp_path)})
    found = sources.readings_of(place).advice()  # type: ignore[attr-defined]
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


def test_a_folder_without_the_layout_is_said(tmp_path: Path) -> None:
    place = MeteringSettings(readings_source="parquet", parquet={"readings_folder": str(tmp_path)})
    readings = sources.readings_of(place)
    assert "no folder prefix=" in readings.advice()[0]  # type: ignore[attr-defined]
    (tmp_path / "prefix=12").mkdir()
    assert "no files" in readings.advice()[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "unit", "values"),
    [(pa.float32(), "KWH", [10.0, 11.0, 13.0]), (pa.int64(), "WHR", [10, 11, 13])],
    ids=["single precision", "whole"],
)
def test_parquet_numbers_are_those_that_were_written(
    tmp_path: Path, held_clock: HeldClock, kind: pa.DataType, unit: str, values: list[float]
) -> None:
    settings = foreign.parquet_files(tmp_path)
    for path in (tmp_path / "readings").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        factor = 1 if unit == "KWH" else 1000
        changed = {
            "value": pa.array([round(each * factor, 3) for each in table["value"].to_pylist()], kind, safe=False),
            "unit": pa.array([unit] * table.num_rows),
        }
        for name, column in changed.items():
            table = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(table, path)
    held = sources.readings_of(settings).half_hours(window(FIRST, FIRST + DAY))
    assert repr([each["energy"]["value"] for each in told(held)][:3]) == repr(values)
