"""What the EDP holds, as release asks for it; and the trouble that the sandbox adds."""

from dataclasses import dataclass
from typing import Any

import pytest

from consent_server import store
from consent_server.metering import readings as room
from consent_server.metering import synthetic
from consent_server.metering.readings import Held, Source, asked_of, day_blocks, find, readings_source, with_scenarios
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.readings import join
from consent_server.settings import BadSettings
from consent_server.store import datasources, limits, meters, readings

NOW = instant.parse("2026-03-12T09:30:00Z")
START, END = synthetic.span(NOW)


@dataclass(frozen=True)
class Ask:
    source: Source
    measure: str = "import"
    start: int = END - 3 * DAY
    end: int = END
    account: str = "account-1"
    expires: int = NOW + 365 * DAY


def source(scenario: str | None = None) -> Source:
    return Source("ds", "acme-e", "electricity", ("import",), "SW8", scenario)


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
    held = day_blocks("acme-e", "import", start, end)
    assert held.metered == metered
    expected = (metered[1] - metered[0]) // HALF_HOUR if metered else 0
    assert held.count == join(held.blocks).count(b'"from"') == expected
    assert held.complete == (metered is not None)


def test_a_meter_without_readings_has_none(edp: Any) -> None:
    assert day_blocks("acme-g", "import", START, END) == Held()


def test_a_data_source_leads_to_its_meter(edp: Any) -> None:
    with store.writing() as c:
        known = datasources.id_for(c, "https://directory.example/a/cap", "acme", "acme-g")
        meters.set_scenario(c, "acme", "gaps")
    assert find(known) == Source(known, "acme-g", "gas", ("import",), "SW8", "gaps")
    assert find("unknown") is None
    assert "acme-g" not in repr(find(known))


def test_not_ready_is_two_calls_of_a_grant_and_outlives_the_clean_up(filled: Any) -> None:
    ask_for = with_scenarios(asked_of(day_blocks))
    asked = Ask(source("not_ready"))
    assert [ask_for(asked).retry_after for _ in range(2)] == [5, 5]
    with store.writing() as c:
        limits.forget(c, NOW + 30 * DAY)
    assert [ask_for(asked).retry_after for _ in range(2)] == [None, None]
    assert ask_for(asked).count == 3 * 48
    assert ask_for(Ask(source("not_ready"), account="account-2")).retry_after == 5
    assert ask_for(Ask(source("normal"), account="account-3")).retry_after is None


def test_gaps_are_missing_half_hours_that_are_said_to_be_missing(filled: Any) -> None:
    ask_for = with_scenarios(asked_of(day_blocks))
    march = instant.parse("2025-03-01T00:00:00Z")
    whole = ask_for(Ask(source("gaps"), start=instant.next_month(march), end=instant.next_month(march) + 30 * DAY))
    assert whole.complete
    held = ask_for(Ask(source("gaps"), start=march, end=march + 31 * DAY))
    assert not held.complete
    assert held.count == join(held.blocks).count(b'"from"') == 31 * 48 - 48 - 7
    assert held.metered == (march, march + 31 * DAY)
    assert ask_for(Ask(source(), start=march, end=march + 31 * DAY)).complete


def archive(meter: str, measure: str, start: int, end: int) -> Held:
    """A plug-in as an EDP would write it."""
    return Held()


def test_a_plug_in_takes_the_tables_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "archive", archive, raising=False)
    assert readings_source("consent_server.metering.readings:archive") is archive
    assert readings_source("day-blocks") is day_blocks
    with pytest.raises(BadSettings, match=r"metering\.readings_source"):
        readings_source("day_blocks")
