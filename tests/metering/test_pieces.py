"""D2, D3: any pieces of a feed, in any order and overlap, end in the same readings as the whole feed at once."""

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent_server import store
from consent_server.metering.importing import keep
from consent_server.metering.own import OwnReadings
from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.parties.operator import packing
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.provenance.steps import COMPLETE, MISSING, SUBSTITUTED
from consent_server.scheme.readings import join, parse
from consent_server.store.database import db
from tests.metering.conftest import NOW
from tests.metering.loading import csv, held, loaded

BEGIN = instant.day_start(NOW) - 20 * DAY


def window(start: int, end: int, meter: str = "acme-e") -> Held:
    fuel = "gas" if meter.endswith("g") else "electricity"
    return OwnReadings().half_hours(ReadingsRequest(meter, fuel, "import", start, end, "account-1", NOW + DAY))


def objects(found: Held) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = json.loads(join(found.blocks))
    return data


def line(start: int, value: object = 100, taken: int | None = None, register: object = "", quality: str = "") -> str:
    taken_at = "" if taken is None else instant.text(taken)
    return f"acme-e,{instant.text(start)},{value},WHR,{taken_at},{register},{quality}"


# Few values, times and registers, so that corrections, disputes and equal rows are common.
ROWS = st.builds(
    line,
    start=st.sampled_from([0, 1, 47, 48, 96, 190]).map(lambda slot: BEGIN + slot * HALF_HOUR),
    value=st.sampled_from([0, 1.5, 5_000_000, 4294967295]),
    taken=st.sampled_from([None, NOW - DAY, NOW - DAY + 1]),
    register=st.sampled_from(["", "", 70, 80.25]),
    quality=st.sampled_from(["", "estimated"]),
)


def empty() -> None:
    with store.writing() as c:
        for name in ("day_block", "set_aside"):
            c.execute(sa.delete(db.metadata.tables[name]))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(ROWS, min_size=1, max_size=20), data=st.data())
def test_D2_any_pieces_end_as_the_whole(edp: Flask, tmp_path: Path, rows: list[str], data: st.DataObject) -> None:
    empty()
    loaded(tmp_path / "whole.csv", csv(rows))
    whole = held()
    empty()
    again = data.draw(st.permutations(rows)) + data.draw(st.lists(st.sampled_from(rows), max_size=5))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(again)), max_size=6)))
    for first, last in zip([0, *cuts], [*cuts, len(again)], strict=True):
        loaded(tmp_path / "piece.csv", csv(again[first:last]))
    assert held() == whole


def test_D2_files_cut_at_local_midnight_lose_nothing(edp: Flask, tmp_path: Path) -> None:
    midnight = instant.parse("2025-07-01T00:00:00+01:00")
    for number in (2, 0, 3, 1):
        start = midnight + number * DAY
        loaded(tmp_path / f"{number}.csv", csv(line(each) for each in range(start, start + DAY, HALF_HOUR)))
    found = window(midnight, midnight + 4 * DAY)
    assert (found.count, found.missing_data) == (192, COMPLETE)
    assert objects(found)[-1]["cumulative"] == {"value": 19200, "unitCode": "WHR"}


def test_D3_what_the_source_said_stays(edp: Flask, tmp_path: Path) -> None:
    taken = BEGIN + HALF_HOUR + 47
    loaded(tmp_path / "a.csv", csv([line(BEGIN, 5, taken, 5928), line(BEGIN + HALF_HOUR, 7)]))
    first, second = objects(window(BEGIN, BEGIN + DAY))
    assert (first["takenAt"], first["cumulative"]["value"]) == (instant.text(taken), 5928)
    assert second["cumulative"]["value"] == 5935, "counted on from what the meter said"
    loaded(tmp_path / "b.csv", csv([line(BEGIN + 2 * HALF_HOUR, 1)]))
    assert objects(window(BEGIN, BEGIN + DAY))[2]["cumulative"]["value"] == 5936, "and not from 0 with each file"


def test_D3_a_late_piece_moves_the_registers_that_were_counted_after_it(edp: Flask, tmp_path: Path) -> None:
    days = [BEGIN + number * DAY for number in range(40)]
    days = [day for day in days if day < NOW - DAY]
    for day in reversed(days):
        loaded(tmp_path / "day.csv", csv([line(day), line(day + HALF_HOUR)]))
    registers = [each["cumulative"]["value"] for each in objects(window(BEGIN, NOW - DAY))]
    assert registers == [100 * number for number in range(1, 2 * len(days) + 1)]


def test_a_later_value_corrects_and_an_equal_one_is_in_dispute(edp: Flask, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    loaded(path, csv([line(BEGIN, 5, NOW - 9), line(BEGIN, 6, NOW - 8)]))
    loaded(path, csv([line(BEGIN, 4, NOW - 10)]))
    assert [each["energy"]["value"] for each in objects(window(BEGIN, BEGIN + DAY))] == [6]
    assert loaded(path, csv([line(BEGIN, 7, NOW - 8)])).disputed == 1
    found = window(BEGIN, BEGIN + DAY)
    assert (found.count, found.missing_data) == (0, MISSING)
    assert [row[3] for row in held()["set_aside"]] == ["two values that were taken at the same time"]
    loaded(path, csv([line(BEGIN, 8, NOW - 7)]))
    assert [each["energy"]["value"] for each in objects(window(BEGIN, BEGIN + DAY))] == [8]
    assert held()["set_aside"] == []


def test_D7_an_estimate_is_said_and_gives_way_to_a_measured_value(edp: Flask, tmp_path: Path) -> None:
    day = [line(start, 5, quality="estimated") for start in range(BEGIN, BEGIN + DAY, HALF_HOUR)]
    loaded(tmp_path / "a.csv", csv(day))
    assert window(BEGIN, BEGIN + DAY).missing_data == SUBSTITUTED
    loaded(tmp_path / "b.csv", csv([line(BEGIN, 3)]))
    found = window(BEGIN, BEGIN + HALF_HOUR)
    assert (objects(found)[0]["energy"]["value"], found.missing_data) == (3, COMPLETE)
    assert window(BEGIN, BEGIN + DAY).missing_data == SUBSTITUTED


@pytest.mark.parametrize(
    ("meter", "value", "reason"),
    [
        ("acme-g", "16777.215", "the register code 0xFFFFFF"),
        ("acme-e", "4294967295", "the register code 0xFFFFFFFF"),
        ("acme-e", "4295103", "more than the supply can carry"),
    ],
)
def test_D1_what_no_meter_can_have_counted_is_kept_apart(
    edp: Flask, tmp_path: Path, meter: str, value: str, reason: str
) -> None:
    unit = "MTQ" if meter == "acme-g" else "WHR"
    starts = range(BEGIN, BEGIN + DAY, HALF_HOUR)
    lines = [f"{meter},{instant.text(start)},{value if start == BEGIN else 1},{unit},,," for start in starts]
    report = loaded(tmp_path / "a.csv", csv(lines))
    assert (report.taken, report.status, report.aside[reason].lines) == (47, 0, [2])
    found = window(BEGIN, BEGIN + DAY, meter)
    assert (found.count, found.missing_data) == (47, MISSING)
    assert [row[3] for row in held()["set_aside"]] == [reason]
    assert parse(objects(found)).start[0] == BEGIN + HALF_HOUR


def test_D1_a_day_of_nothing_else_is_missing_and_not_unknown(edp: Flask, tmp_path: Path) -> None:
    loaded(tmp_path / "a.csv", csv([line(BEGIN, 4294967295)]))
    assert window(BEGIN, BEGIN + DAY).metered == (BEGIN, BEGIN + DAY)


def test_a_load_that_was_cut_off_is_begun_again(edp: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "_AT_ONCE", 40)
    text = csv(
        f"{meter},{instant.text(start)},1,{unit},,,"
        for meter, unit in (("acme-e", "WHR"), ("acme-g", "MTQ"), ("bakery-e", "WHR"))
        for start in range(BEGIN, BEGIN + 3 * DAY, HALF_HOUR)
    )
    merge, calls = keep.merge, count()

    def cut_off(*arguments: Any) -> int:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return merge(*arguments)

    monkeypatch.setattr(keep, "merge", cut_off)
    with pytest.raises(KeyboardInterrupt):
        loaded(tmp_path / "a.csv", text)
    half = held()
    assert {row[1] for row in half["day_block"]} == {"acme-e"}, "one meter whole, the others not at all"
    monkeypatch.setattr(keep, "merge", merge)
    loaded(tmp_path / "a.csv", text)
    assert len(held()["day_block"]) == 9
    before = held()
    loaded(tmp_path / "a.csv", text)
    assert held() == before


def test_a_piece_is_joined_to_days_that_an_older_release_kept(edp: Flask, tmp_path: Path) -> None:
    feed = [line(start, 2, taken=NOW - 2 * DAY) for start in range(BEGIN, BEGIN + 4 * DAY, HALF_HOUR)]
    late = [line(BEGIN - HALF_HOUR, 1), *(line(BEGIN + day * DAY, 3, taken=NOW - DAY) for day in (0, 2))]
    loaded(tmp_path / "whole.csv", csv(feed + late))
    whole = held()
    empty()
    loaded(tmp_path / "feed.csv", csv(feed))
    assert packing.repack(undo=True) == 4
    loaded(tmp_path / "late.csv", csv(late))
    packing.repack(undo=False)
    assert held() == whole
