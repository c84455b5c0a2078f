"""Real readings in the shape of the scheme's old demo, mended on the way in."""

import json
from pathlib import Path
from typing import Any

import pytest

from consent_server import store
from consent_server.metering.importer import take_in
from consent_server.metering.own import OwnReadings
from consent_server.metering.readings import ReadingsRequest
from consent_server.scheme import instant
from consent_server.scheme.provenance.steps import MISSING
from consent_server.scheme.readings import ReadingError, join, parse


def half_hours(start: int, end: int) -> ReadingsRequest:
    return ReadingsRequest("acme-e", "electricity", "import", start, end, account="account-1", expires=end)


@pytest.fixture
def london(shared_documents: Path) -> list[dict[str, Any]]:
    text = (shared_documents / "data" / "half-hourly-electricity-london-2012.json").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def test_the_old_demos_readings_are_taken_in_and_mended(edp: Any, london: list[dict[str, Any]]) -> None:
    with store.writing() as c:
        taken = take_in(c, "acme-e", "import", london)
    assert (taken.readings, len(taken.mended)) == (100, 2)
    assert "100 readings" in taken.mended[0]
    assert "takenAt" in taken.mended[1]
    start, end = (instant.parse(f"2012-02-{day}T00:00:00Z") for day in ("20", "24"))
    held = OwnReadings().half_hours(half_hours(start, end))
    data = json.loads(join(held.blocks))
    readings = parse(data)
    assert [reading.value for reading in readings] == [row["energy"]["value"] for row in london]
    assert {row["type"] for row in data} == {"electricity"}
    assert all(reading.taken_at > reading.end for reading in readings)
    assert data[-1]["cumulative"]["value"] == london[-1]["cumulative"]["value"]
    assert held.missing_data == MISSING  # it begins and ends within a day


def test_what_cannot_be_mended_is_refused_and_nothing_is_kept(edp: Any, london: list[dict[str, Any]]) -> None:
    both = [london[0], {**london[1], "type": "gas", "energy": {"value": 1, "unitCode": "MTQ"}}]
    both[1].pop("cumulative")
    for bad in ([{**london[0], "energy": {"value": -1, "unitCode": "WHR"}}], [london[0], london[0]], both, {}):
        with pytest.raises(ReadingError), store.writing() as c:
            take_in(c, "acme-e", "import", bad)
    assert OwnReadings().half_hours(half_hours(0, 2**31)).count == 0
