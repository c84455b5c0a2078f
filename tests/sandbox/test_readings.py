"""The trouble that a business meets on purpose, through the interface that an EDP's own source of readings has."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consent_server import store
from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.sandbox import scenarios, synthetic
from consent_server.sandbox.layout import Layout
from consent_server.sandbox.readings import troubled
from consent_server.sandbox.smes import register_rows
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.scheme.provenance.steps import COMPLETE, MISSING
from consent_server.scheme.readings import join
from consent_server.store import meters, retention
from consent_server.store.schema import migrate
from tests.database import new_database

NOW = instant.parse("2026-03-12T09:30:00Z")
END = synthetic.span(NOW)[1]
MARCH = instant.parse("2025-03-01T00:00:00Z")
METER = next(row for row in register_rows() if row.sme == "normal" and row.fuel == "electricity")

Met = Callable[[str], Callable[..., Held]]


@pytest.fixture
def meets(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Met]:
    """Let the business meet a scenario; ask for its half-hours."""
    monkeypatch.setenv("SANDBOX_DIRECTORY", str(tmp_path))
    layout = Layout(tmp_path, 18400)
    layout.party("edp").mkdir()

    def ask(start: int = END - 3 * DAY, end: int = END, account: str = "account-1") -> Held:
        return troubled.half_hours(
            ReadingsRequest(METER.id, METER.fuel, "import", start, end, account, NOW + 365 * DAY)
        )

    def choose(scenario: str) -> Callable[..., Held]:
        scenarios.change(layout, METER.sme, scenario)
        return ask

    with new_database(database_url, migrate):
        with store.writing() as c:
            meters.add(c, METER)
            synthetic.fill(c, [METER], NOW)
        yield choose


def test_not_ready_is_two_calls_of_a_grant_and_outlives_the_clean_up(meets: Met) -> None:
    ask = meets("not_ready")
    assert [ask().retry_after for _ in range(2)] == [5, 5]
    with store.writing() as c:
        retention.forget_alone(c, "attempt", NOW + 30 * DAY)
    assert [ask().retry_after for _ in range(2)] == [None, None]
    assert ask().count == 3 * 48
    assert ask(account="account-2").retry_after == 5
    assert meets("normal")(account="account-3").retry_after is None


def test_gaps_are_missing_half_hours_that_are_said_to_be_missing(meets: Met) -> None:
    ask = meets("gaps")
    whole = ask(instant.next_month(MARCH), instant.next_month(MARCH) + 30 * DAY)
    assert whole.missing_data == COMPLETE
    held = ask(MARCH, MARCH + 31 * DAY)
    assert held.missing_data == MISSING
    assert held.count == join(held.blocks).count(b'"from"') == 31 * 48 - 48 - 7
    assert held.metered == (MARCH, MARCH + 31 * DAY)
    assert ask(END, NOW) == Held()
    assert meets("normal")(MARCH, MARCH + 31 * DAY).missing_data == COMPLETE


def test_a_window_within_a_day_that_has_a_gap_is_cut_all_the_same(meets: Met) -> None:
    day = MARCH + 16 * DAY  # the 17th, all of which is missing
    held = meets("gaps")(day + 3600, day + DAY + 3600)
    assert (held.count, held.metered) == (2, (day + 3600, day + DAY + 3600))


def test_a_business_meets_what_it_began_with_until_another_is_chosen(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 18400)
    layout.party("edp").mkdir()
    late = next(row.id for row in register_rows() if row.sme == "not_ready")
    assert scenarios.of_meter(layout.scenarios, late) == "not_ready"
    scenarios.change(layout, "not_ready", "gaps")
    assert scenarios.of_meter(layout.scenarios, late) == "gaps"
    assert scenarios.of_meter(layout.scenarios, METER.id) == "normal"
    assert scenarios.of_meter(layout.scenarios, "somebody else's") == "normal"
