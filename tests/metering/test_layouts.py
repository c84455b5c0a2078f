"""What files look like, and what is refused in them: a row of each table is a file."""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from consent_server import store
from consent_server.metering.importing import files
from consent_server.metering.importing import load as load_module
from consent_server.metering.importing.layouts import LAYOUTS
from consent_server.metering.importing.load import How, load
from consent_server.metering.importing.report import FileFault, LoadReport
from consent_server.metering.importing.rows import Rows, Stated
from consent_server.metering.importing.times import Times
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.store import meters
from consent_server.store.tables.metering import Meter
from tests.metering.conftest import NOW
from tests.metering.loading import csv, held, loaded
from tests.metering.test_pieces import objects, window

DAY_1 = "2026-03-01T00:00:00Z"
AT = instant.parse(DAY_1)
#: What files say is the same for every database; test_pieces has both.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

SHORT, LONG = "2025-03-30", "2025-10-26"


@pytest.fixture
def trial(edp: Flask) -> Flask:
    with store.writing() as c:
        meters.add(c, Meter("MAC000002", "lcl", "L", "electricity", "1200000000099", "SW8 1AA", "SW8", ["import"]))
    return edp


def values(meter: str, start: str) -> list[tuple[str, float]]:
    at = instant.parse(start)
    return [(each["from"][11:16], each["energy"]["value"]) for each in objects(window(at, at + DAY, meter))]


LCL = "LCLid,stdorToU,DateTime,KWH/hh (per half hour) \n"
FILES: dict[str, tuple[str, str, How, list[tuple[str, float]]]] = {
    "ours": (
        "acme-e",
        f"\ufeffMeter_ID, FROM ,value,unit\r\nacme-e,{DAY_1},1.25,kWh\r\n\r\nacme-e,2026-03-01T00:30:00+00:00,7,wh\r\n",
        How(),
        [("00:00", 1250), ("00:30", 7)],
    ),
    "semicolons and quotation marks": (
        "acme-e",
        f'meter_id;from;value;unit\n"acme-e";"{DAY_1}";"3";WHR\n',
        How(),
        [("00:00", 3)],
    ),
    "gas": ("acme-g", f"meter_id,from,value,unit\nacme-g,{DAY_1},0.5,m3\n", How(), [("00:00", 0.5)]),
    "the London trial": (
        "MAC000002",
        LCL + "MAC000002,Std,2012-10-12 00:30:00.0000000, 0.5 \nMAC000002,Std,2012-12-18 15:13:41.0000000,Null\n",
        How("low-carbon-london"),
        [("00:30", 500)],
    ),
    "synthetic": (
        "acme-e",
        "meter_id,timestamp,kwh\nacme-e,2026-03-01 00:00:00,0.37922367453575134\n",
        How("faraday", zone="UTC"),
        [("00:00", 379.223675)],
    ),
    "settlement periods": (
        "acme-e",
        f"meter_id,settlement_date,settlement_period,kwh\nacme-e,{LONG},1,1\nacme-e,{LONG},3,2\nacme-e,{LONG},50,3\n",
        How("settlement"),
        [("00:00", 2000), ("23:30", 3000)],
    ),
    "named by their ends": (
        "acme-e",
        f"meter_id,from,value,unit\nacme-e,{DAY_1[:11]}00:30:00Z,7,WHR\n",
        How(ends=True),
        [("00:00", 7)],
    ),
    "objects on lines": (
        "acme-e",
        "\n".join(
            json.dumps({"meter_id": "acme-e", "from": each, "value": 5, "unit": "WHR"}) for each in (DAY_1, DAY_1)
        ),
        How(),
        [("00:00", 5)],
    ),
    "what we release": (
        "acme-e",
        json.dumps(
            {
                "data": [
                    {
                        "type": "electricity",
                        "from": DAY_1,
                        "to": "2026-03-01T00:30:00Z",
                        "takenAt": "2026-03-01T01:00:00Z",
                        "energy": {"value": 976, "unitCode": "WHR"},
                        "cumulative": {"value": 1.81, "unitCode": "KWH"},
                    }
                ]
            }
        ),
        How("standard", stated=Stated("acme-e")),
        [("00:00", 976)],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_layout(trial: Flask, tmp_path: Path, name: str) -> None:
    meter, text, how, expected = FILES[name]
    report = loaded(tmp_path / "file", text, how)
    assert report.refused == {}
    day = {"the London trial": "2012-10-12", "settlement periods": LONG}.get(name, "2026-03-01")
    assert values(meter, f"{day}T00:00:00Z") == expected


def test_the_old_demos_readings_are_mended(edp: Flask, tmp_path: Path, shared_documents: Path) -> None:
    text = (shared_documents / "data" / "half-hourly-electricity-london-2012.json").read_text(encoding="utf-8")
    report = loaded(tmp_path / "demo.json", text, How("demo", stated=Stated("acme-e")))
    assert (report.taken, report.refused) == (100, {})
    assert [noted.count for noted in report.noted.values()] == [100, 100]
    start = instant.parse("2012-02-20T00:00:00Z")
    got = objects(window(start, start + 4 * DAY))
    assert [each["energy"] for each in got] == [each["energy"] for each in json.loads(text)]
    assert [each["cumulative"] for each in got] == [each["cumulative"] for each in json.loads(text)]
    assert {each["type"] for each in got} == {"electricity"}
    assert all(each["takenAt"] > each["to"] for each in got)
    assert loaded(tmp_path / "demo.json", text, How("standard", stated=Stated("acme-e"))).status == 1


# local time


def local(day: str, clock: list[str]) -> str:
    return csv(
        (f"acme-e,{day} {each},{number + 1},WHR" for number, each in enumerate(clock)), "meter_id,from,value,unit"
    )


HOURS = [f"{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 30)]
TWICE = [*HOURS[:4], "01:00", "01:30", *HOURS[4:]]


@pytest.mark.parametrize(
    ("day", "clock", "count"),
    [
        (SHORT, [*HOURS[:2], *HOURS[4:]], 46),
        (LONG, TWICE, 50),
        (LONG, sorted(TWICE), 50),
        ("2025-07-01", HOURS, 48),
    ],
    ids=["46 half-hours", "50", "50, sorted", "summer"],
)
def test_a_local_day_is_whole(
    edp: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day: str, clock: list[str], count: int
) -> None:
    # What was gathered is kept while the rows of a doubled hour still wait.
    monkeypatch.setattr(files, "_AT_ONCE", 10)
    monkeypatch.setattr(load_module, "_GATHERED", 1)
    assert loaded(tmp_path / "a.csv", local(day, clock), How(zone="Europe/London")).refused == {}
    start = instant.parse(f"{day}T00:00:00{'+00:00' if day == SHORT else '+01:00'}")
    got = objects(window(start, start + count * HALF_HOUR))
    assert [instant.parse(each["from"]) for each in got] == [start + each * HALF_HOUR for each in range(count)]
    in_order = clock is not TWICE and sorted(clock) == clock and count == 50
    assert [each["energy"]["value"] for each in got][:8] == (
        [1, 2, 3, 5, 4, 6, 7, 8] if in_order else list(range(1, 9))
    )


@pytest.mark.parametrize(
    ("day", "clock", "refused"),
    [
        (LONG, HOURS, [4, 5]),
        (LONG, TWICE[:-1][::-1], None),
        (LONG, TWICE[4:], [2, 3]),
        (LONG, [*TWICE, "01:00"], None),
        (SHORT, HOURS, [4, 5]),
    ],
    ids=["once", "backwards", "cut within the hour", "a fifth", "a time that was not"],
)
def test_a_clock_change_that_cannot_be_resolved_is_refused(
    edp: Flask, tmp_path: Path, day: str, clock: list[str], refused: list[int] | None
) -> None:
    report = loaded(tmp_path / "a.csv", local(day, clock), How(zone="Europe/London"))
    (noted,) = report.refused.values()
    assert report.status == 3
    assert noted.lines == refused if refused else noted.count >= 4
    start = instant.parse(f"{LONG}T00:00:00Z")
    assert window(start, start + 2 * HALF_HOUR * 2).count == 0 or day == SHORT


# what is refused


def row(**changed: str) -> str:
    good = {
        "meter_id": "acme-e",
        "from": DAY_1,
        "value": "1",
        "unit": "WHR",
        "taken_at": "",
        "cumulative": "",
        "quality": "",
    }
    return ",".join((good | changed).values())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row(meter_id="nobody"), "the register has no such meter: load it first, with `meters load`"),
        (row(meter_id=""), "the row names no meter, and --meter was not given"),
        (row(meter_id="acme-g"), "the unit is not of the meter's fuel"),
        (row(value="-1"), "the value is below zero, or beyond any meter"),
        (row(value="1e400"), "the value is below zero, or beyond any meter"),
        (row(value="1_0"), "the value is no number such as 0.42"),
        (row(value="٣"), "the value is no number such as 0.42"),
        (row(value="0x1F"), "the value is no number such as 0.42"),
        (row(value='"1,5"'), "the value is no number such as 0.42"),
        (row(unit="GJ"), "the unit is none of Wh (WHR), kWh (KWH) and m3 (MTQ)"),
        (row(unit=""), "the unit is none of Wh (WHR), kWh (KWH) and m3 (MTQ)"),
        (row(**{"from": "2026-03-01T00:10:00Z"}), "the time is not on the hour or the half-hour"),
        (row(**{"from": "2026-03-01"}), "the time is not written as 2026-03-12T09:30:00Z"),
        (row(**{"from": "2026-02-30T00:00:00Z"}), "the time is not written as 2026-03-12T09:30:00Z, or does not exist"),
        (row(**{"from": "2026-03-01T00:00:00"}), "the time names no zone, and --zone was not given"),
        (row(**{"from": "2026-03-01T00:00:00.5Z"}), "the time has a fraction of a second"),
        (row(**{"from": "1970-01-01T00:00:00Z"}), "the half-hour is before the year 2000"),
        (row(**{"from": instant.text(NOW)}), "the half-hour has not ended yet"),
        (row(taken_at="2026-03-01T00:30:00Z"), "takenAt is not after the half-hour's end"),
        (row(taken_at=instant.text(NOW + 1)), "takenAt is in the future"),
        (row(cumulative="-1"), "the value is below zero, or beyond any meter"),
        (row(quality="guessed"), "the quality is neither measured nor estimated"),
        (row() + ",more", "the line has not 7 columns, as the first line has"),
        (row(meter_id='"acme-e'), "a quotation mark is not closed, or not where one may be"),
        (row(quality="x" * 70_000), "the line is longer than 65536 bytes"),
        (row(quality="\0"), "the line is not text in UTF-8"),
        ("x" * 200_000, "the line is longer than 65536 bytes"),
    ],
)
def test_a_line_is_refused_by_itself(edp: Flask, tmp_path: Path, line: str, reason: str) -> None:
    good = row(**{"from": "2026-03-01T00:30:00Z"})
    report = loaded(tmp_path / "a.csv", csv([line, good]))
    assert {reason: noted.lines for reason, noted in report.refused.items()} == {reason: [2]}
    assert (report.taken, report.status) == (1, 3)
    assert values("acme-e", DAY_1) == [("00:30", 1)]
    assert held()["set_aside"] == []


def test_a_line_that_is_no_utf_8_is_refused_by_itself(edp: Flask, tmp_path: Path) -> None:
    report = loaded(tmp_path / "a.csv", csv([row(), row()]).encode().replace(b"acme", b"acm\xff", 1))
    assert [noted.lines for noted in report.refused.values()] == [[2]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no line with the names"),
        (b"meter_id,value,unit\n", "there is no column from"),
        (b"meter_id,from,value\n", "there is no column unit"),
        (b"meter_id,from,from,value,unit\n", "is there twice"),
        ("meter_id,from,value,unit\n".encode("utf-16"), "text in UTF-16: save it in UTF-8"),
        ("meter_id,from,value,unit\n".encode("utf-16-be"), "not text in UTF-8"),
        (b"PK\x03\x04 and more", "a workbook or an archive: save it as CSV"),
        (zlib.compress(b"meter_id,from,value,unit\n", wbits=31), "compressed: unpack it first"),
        (b'{"data": 1}', "no list of readings"),
        (b'{"data": [], "data": []}', "the member data twice"),
        (b"[" * 100_000, "the file is no JSON"),
        (b'[{"from": NaN}]', "the file is no JSON"),
        (b"PAR1 and no more", "damaged after row 0"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault(edp: Flask, tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(FileFault, match=says):
        loaded(tmp_path / "a", content)
    assert held()["day_block"] == []


@pytest.mark.parametrize(
    "item",
    [
        "1",
        "[]",
        f'{{"meter_id": "acme-e", "from": "{DAY_1}", "value": 5, "Value": 7, "unit": "WHR"}}',
        f'{{"meter_id": "acme-e", "from": "{DAY_1}", "value": 5, "value": 7, "unit": "WHR"}}',
        f'{{"meter_id": "acme-e", "from": "{DAY_1}", "value": 5, "value":5, "unit": "WHR"}}',
        f'{{"meter_id": "acme-e", "from": "{DAY_1}", "energy": {{"value": 5, "value": 7}}, "unit": "WHR"}}',
        f'{{"meter_id": "acme-e", "from": "{DAY_1}", "value": 5, "value": 7, "unit": "WHR", "note": "\\u003a"}}',
        '{"meter_id": ["acme-e"]}',
        '{"meter_id": "acme-e", "from": {"a": 1}, "value": true, "unit": 4}',
    ],
)
@pytest.mark.parametrize("around", ["[{},{}]", '{{"data": [{},{}]}}', "{}\n{}\n"], ids=["list", "data", "lines"])
def test_json_of_other_shapes_is_refused_by_itself(edp: Flask, tmp_path: Path, item: str, around: str) -> None:
    good = json.dumps({"meter_id": "acme-e", "from": DAY_1, "value": 5, "unit": "WHR", "note": "12:30, “\\"})
    report = loaded(tmp_path / "a.json", around.format(good, item))
    assert (report.taken, [noted.lines for noted in report.refused.values()]) == (1, [[2]])


def test_a_file_that_changes_while_it_is_read_is_a_fault(edp: Flask, tmp_path: Path) -> None:
    path, report = tmp_path / "a.csv", LoadReport()
    path.write_text(csv([row()] * 5000), encoding="utf-8")

    def grows(_read: int) -> None:
        with path.open("a") as file:
            file.write(f"{row(value='7')}\n")

    with pytest.raises(FileFault, match="the file changed while it was read"):
        load(path, How(), NOW, report, grows)
    assert report.taken >= 5000


@pytest.mark.parametrize(("end", "noted"), [("", [[2]]), ("\n", []), ("\r\n", []), ("\n\n", [])])
def test_a_last_line_without_an_end_is_taken_and_said(
    edp: Flask, tmp_path: Path, end: str, noted: list[list[int]]
) -> None:
    report = loaded(tmp_path / "a.csv", csv([row()]).rstrip("\n") + end)
    assert (report.taken, [each.lines for each in report.noted.values()]) == (1, noted)


def test_a_dry_run_keeps_nothing(edp: Flask, tmp_path: Path) -> None:
    assert loaded(tmp_path / "a.csv", csv([row(), row(value="-1")]), How(dry_run=True)).status == 3
    assert held()["day_block"] == []


def test_when_a_file_was_taken_decides_where_its_rows_do_not_say(edp: Flask, tmp_path: Path) -> None:
    corrected = How(stated=Stated(taken_at=NOW - 60))
    for path, value, how in (("b", "2", corrected), ("a", "1", How())):
        loaded(tmp_path / path, csv([row(value=value)]), how)
    assert values("acme-e", DAY_1) == [("00:00", 2)]


# Parquet


def parquet(path: Path, **given: Any) -> bytes:
    table = pytest.importorskip("pyarrow").table(given)
    pytest.importorskip("pyarrow.parquet").write_table(table, path, row_group_size=500)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["with a zone", "without", "text"])
def test_parquet(edp: Flask, tmp_path: Path, kind: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    starts = list(range(AT, AT + 8 * DAY, HALF_HOUR))
    seconds = pyarrow.array(starts, pyarrow.timestamp("s", tz="UTC"))
    times = {"with a zone": seconds, "without": seconds.cast(pyarrow.timestamp("ns"))}
    names = pyarrow.array(["acme-e"] * len(starts)).dictionary_encode()
    content = parquet(
        tmp_path / "made",
        meter_id=names,
        timestamp=times.get(kind, [instant.text(each) for each in starts]),
        kwh=[None, float("nan"), *[0.5] * (len(starts) - 2)],
        more=[1] * len(starts),
    )
    report = loaded(tmp_path / "a.parquet", content, How("faraday", zone="UTC"))
    assert (report.taken, report.empty, report.refused) == (len(starts) - 2, 2, {})
    assert window(AT, AT + 8 * DAY).count == len(starts) - 2
    with pytest.raises(FileFault, match="damaged"):
        loaded(tmp_path / "cut.parquet", content[:-500], How("faraday", zone="UTC"))


def test_numbers_of_single_precision_are_those_that_were_written(edp: Flask, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    starts = [AT, AT + HALF_HOUR, AT + 2 * HALF_HOUR]
    numbers = arrow.array([0.1, None, 0.007], arrow.float32())
    content = parquet(
        tmp_path / "made",
        meter_id=["acme-e"] * 3,
        timestamp=arrow.array(starts, arrow.timestamp("s", "Europe/London")),
        kwh=numbers,
    )
    assert loaded(tmp_path / "a.parquet", content, How("faraday")).empty == 1
    assert values("acme-e", DAY_1) == [("00:00", 100), ("01:00", 7)]


@pytest.mark.parametrize("name", ["meter_id", "timestamp", "kwh"])
def test_a_nested_column_is_a_fault(edp: Flask, tmp_path: Path, name: str) -> None:
    columns = {"meter_id": ["acme-e"], "timestamp": [DAY_1], "kwh": [1.0]}
    content = parquet(tmp_path / "made", **columns | {name: [columns[name]]})
    with pytest.raises(FileFault, match=f"the column {name} is nested"):
        loaded(tmp_path / "a.parquet", content, How("faraday"))


def test_ids_of_meters_that_a_spreadsheet_made_decimal_are_a_fault(edp: Flask, tmp_path: Path) -> None:
    content = parquet(tmp_path / "made", meter_id=[1.2e12], timestamp=[DAY_1], kwh=[0.5])
    with pytest.raises(FileFault, match="decimal numbers, as spreadsheets make of them"):
        loaded(tmp_path / "a.parquet", content, How("faraday"))


def test_meters_without_one_value_take_no_memory_for_long(edp: Flask) -> None:
    judged = Rows(LAYOUTS["ours"], Times(), Stated(), NOW, LoadReport(), None, "a.csv")
    for number in range(5):
        judged.take((number, f"m-{number}", None, DAY_1, None, "", "kWh", *[None] * 6))
    assert (judged.count, judged.report.empty) == (5, 5)
    assert (judged.emptied(), judged.count) == ([], 0)


def test_a_row_of_another_length_is_refused(edp: Flask, tmp_path: Path) -> None:
    hours = [f"acme-e,{DAY_1},{to},1,kWh" for to in ("2026-03-01T01:00:00Z", "2026-03-01T00:30:00Z", "")]
    report = loaded(tmp_path / "a.csv", csv(hours, "meter_id,from,to,value,unit"))
    assert {reason: noted.lines for reason, noted in report.refused.items()} == {"the row is not of half an hour": [2]}


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (lambda arrow: arrow.array([2**62], arrow.timestamp("us")), "date value out of range"),
        (lambda arrow: arrow.array([2**60], arrow.date64()), "date value out of range"),
        (lambda arrow: arrow.array(["x" * 9000]), "larger than 256 MiB"),
    ],
    ids=["after the last year", "a date after it", "a text that unpacks to much"],
)
def test_a_parquet_file_that_lies_is_a_fault(
    edp: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: Any, says: str
) -> None:
    monkeypatch.setattr(files, "_LARGEST_COLUMN", 8192)
    content = parquet(tmp_path / "made", meter_id=["acme-e"], timestamp=at(pytest.importorskip("pyarrow")), kwh=[1.0])
    with pytest.raises(FileFault, match=says):
        loaded(tmp_path / "a.parquet", content, How("faraday", zone="UTC"))


def test_what_is_before_the_damage_in_a_file_is_kept_as_the_report_says(edp: Flask, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    starts = list(range(AT - 200 * DAY, AT, HALF_HOUR))
    names = ["acme-e"] * len(starts)
    content = bytearray(
        parquet(
            tmp_path / "made",
            meter_id=names,
            timestamp=[instant.text(each) for each in starts],
            kwh=[0.5] * len(starts),
        )
    )
    middle = len(content) * 2 // 3
    content[middle : middle + 2000] = b"\xff" * 2000
    report = LoadReport()
    (tmp_path / "damaged.parquet").write_bytes(content)
    with pytest.raises(FileFault, match=r"damaged after row [1-9]"):
        load(tmp_path / "damaged.parquet", How("faraday"), NOW, report, lambda _: None)
    assert 0 < report.taken == window(AT - 200 * DAY, AT).count


def test_without_pyarrow_parquet_says_what_is_missing(
    edp: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FileFault, match=r"consent-server\[parquet\]"):
        loaded(tmp_path / "a.parquet", b"PAR1")
