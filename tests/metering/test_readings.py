"""What the EDP holds, as its data API asks for it."""

from typing import Any

import pytest

from consent_server import store
from consent_server.metering import readings as room
from consent_server.metering.readings import Held, ReadingsRequest, Source, day_blocks, find, readings_source
from consent_server.sandbox import synthetic
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.readings import join
from consent_server.settings import BadSettings
from consent_server.store import datasources, meters, readings

NOW = instant.parse("2026-03-12T09:30:00Z")
START, END = synthetic.span(NOW)


def half_hours(start: int, end: int, meter: str = "acme-e") -> ReadingsRequest:
    return ReadingsRequest(meter, "electricity", "import", start, end, account="account-1", expires=NOW + 365 * DAY)


@pytest.fixture
def filled(edp: Any) -> Any:
    with store.writing() as c:
        row = meters.find(c, "acme-e")
        assert synthetic.fill(c, [row], NOW) == (END - START) // DAY
    return edp


def test_fill_goes_on_where_it_was(filled: Any) -> None:
    with store.writing() as c:
        row = meters.find(c, "acme-e")
        assert synthetic.fill(c, [row], NOW) == 0
        assert synthetic.fill(c, [row], NOW + 2 * DAY) == 2
        assert readings.extent(c, "edp", "acme-e", "import") == (START, END + DAY)


@pytest.mark.parametrize(
    ("start", "end", "metered"),
    [
        (END - 3 * DAY, END, (END - 3 * DAY, END)),
        (END - DAY + HALF_HOUR, END - HALF_HOUR, (END - DAY + HALF_HOUR, END - HALF_HOUR)),
        (END - DAY - HALF_HOUR, END - DAY + HALF_HOUR, (END - DAY - HALF_HOUR, END - DAY + HALF_HOUR)),
        (END - DAY, NOW, (END - DAY, END)),
        (START - 5 * DAY, START + DAY, (START, START + DAY)),
        (START - 5 * DAY, START, None),
        (END, NOW, None),
        (END - DAY, END - DAY, None),
        (-(10**10), -(10**10) + DAY, None),
    ],
    ids=[
        "days",
        "within a day",
        "over midnight",
        "up to now",
        "before the first",
        "too early",
        "too late",
        "empty",
        "long ago",
    ],
)
def test_windows(filled: Any, start: int, end: int, metered: tuple[int, int] | None) -> None:
    held = day_blocks(half_hours(start, end))
    assert held.metered == metered
    expected = (metered[1] - metered[0]) // HALF_HOUR if metered else 0
    assert held.count == join(held.blocks).count(b'"from"') == expected
    assert held.complete == (metered is not None)


def test_a_meter_without_readings_has_none(edp: Any) -> None:
    assert day_blocks(half_hours(START, END, "acme-g")) == Held()


def test_a_data_source_leads_to_its_meter(edp: Any) -> None:
    with store.writing() as c:
        known = datasources.id_for(c, "https://directory.example/a/cap", "acme", "acme-g")
    assert find(known) == Source(known, "acme-g", "gas", ("import",), "SW8")
    assert find("unknown") is None
    assert "acme-g" not in repr(find(known))


def archive(request: ReadingsRequest) -> Held:
    """A plug-in as an EDP would write it."""
    return Held()


def test_a_plug_in_takes_the_tables_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "archive", archive, raising=False)
    assert readings_source("consent_server.metering.readings:archive") is archive
    assert readings_source("day-blocks") is day_blocks
    with pytest.raises(BadSettings, match=r"metering\.readings_source"):
        readings_source("day_blocks")
