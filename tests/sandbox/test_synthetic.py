"""Made-up readings: the same for the same seed, and shaped like a business."""

import json
import subprocess
import sys
from statistics import fmean

import pytest

from consent_server.sandbox import synthetic
from consent_server.sandbox.synthetic import Supply, day_blocks, day_values, lost, span
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.scheme.readings import parse
from tests.work import calls

NOW = instant.parse("2026-11-22T09:30:00Z")
ELECTRICITY = Supply("m-1", "acme", "electricity", "SW8")
GAS = Supply("m-2", "acme", "gas", "SW8")


def test_the_span_is_fourteen_months_up_to_the_last_midnight() -> None:
    start, end = span(NOW)
    assert (instant.text(start), instant.text(end)) == ("2025-09-22T00:00:00Z", "2026-11-22T00:00:00Z")


@pytest.mark.parametrize("day", ["2026-03-31", "2026-05-01", "2028-02-29", "2026-12-31"])
def test_the_span_holds_thirteen_whole_months(day: str) -> None:
    start, end = span(instant.parse(f"{day}T00:00:00Z"))
    first = start if start == instant.month_start(start) else instant.next_month(start)
    assert instant.months_later(first, 13) <= end


@pytest.mark.parametrize(
    ("supply", "measure", "unit"),
    [(ELECTRICITY, "import", "WHR"), (ELECTRICITY, "export", "WHR"), (GAS, "import", "MTQ")],
    ids=["electricity", "export", "gas"],
)
def test_blocks_are_what_the_standard_says(supply: Supply, measure: str, unit: str) -> None:
    _, end = span(NOW)
    blocks = dict(day_blocks(supply, measure, end - 20 * DAY, end))
    data = json.loads(b"[" + b",".join(blocks.values()) + b"]")
    readings = parse(data)
    assert readings.start == list(range(end - 20 * DAY, end, 1800))
    assert {item["energy"]["unitCode"] for item in data} == {unit}
    registers = [item["cumulative"]["value"] for item in data]
    assert registers == sorted(registers)


def test_a_register_counts_on_wherever_the_window_begins() -> None:
    _, end = span(NOW)
    long = dict(day_blocks(GAS, "import", end - 40 * DAY, end))
    assert dict(day_blocks(GAS, "import", end - 3 * DAY, end)) == {
        day: block for day, block in long.items() if day >= end - 3 * DAY
    }


def test_another_process_makes_the_same_readings() -> None:
    program = (
        "from consent_server.sandbox.synthetic import *;"
        "print(day_values(Supply('m-1','acme','electricity','SW8'),'import',1795219200))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == day_values(ELECTRICITY, "import", 1795219200)


def test_meters_and_days_differ() -> None:
    day = span(NOW)[1] - DAY
    assert day_values(ELECTRICITY, "import", day) != day_values(
        Supply("m-9", "acme", "electricity", "SW8"), "import", day
    )
    assert day_values(ELECTRICITY, "import", day) != day_values(ELECTRICITY, "import", day - 7 * DAY)


def days_of(supply: Supply, measure: str) -> dict[int, list[float]]:
    start, end = span(NOW)
    return {day: day_values(supply, measure, day) for day in range(start, end, DAY)}


def test_there_is_day_week_and_season_in_them() -> None:
    electricity, gas, export = (
        days_of(*which) for which in ((ELECTRICITY, "import"), (GAS, "import"), (ELECTRICITY, "export"))
    )
    assert fmean(values[26] for values in electricity.values()) > 1.5 * fmean(
        values[4] for values in electricity.values()
    )
    sunday = {day for day in electricity if (day // DAY + 4) % 7 == 0}
    assert fmean(sum(electricity[day]) for day in sunday) < 0.9 * fmean(
        sum(electricity[day]) for day in electricity.keys() - sunday
    )
    january = [sum(values) for day, values in gas.items() if instant.text(day)[5:7] == "01"]
    july = [sum(values) for day, values in gas.items() if instant.text(day)[5:7] == "07"]
    assert fmean(january) > 4 * fmean(july)
    june = [sum(values) for day, values in export.items() if instant.text(day)[5:7] == "06"]
    december = [sum(values) for day, values in export.items() if instant.text(day)[5:7] == "12"]
    assert fmean(june) > 5 * fmean(december)
    assert all(values[0] == 0 for values in export.values())


def test_weather_is_shared_by_neighbours() -> None:
    """Two meters of one postcode area have their cold days together."""
    one, other = (
        [sum(day_values(Supply(meter, "acme", "gas", "SW8"), "import", day)) for day in range(*span(NOW), DAY)]
        for meter in ("m-2", "m-3")
    )
    top = {tuple(sorted(range(len(one)), key=values.__getitem__)[-60:]) for values in (one, other)}
    assert len(set.intersection(*map(set, top))) > 45


def test_gaps_leave_every_other_month_whole() -> None:
    start, end = span(NOW)
    months = {instant.text(day)[:7] for day in range(start, end, DAY) if lost("m-1", day)}
    assert months == {"2025-11", "2026-01", "2026-03", "2026-05", "2026-07", "2026-09", "2026-11"}
    for day in range(start, end, DAY):
        stretch = lost("m-1", day)
        assert stretch is None or day <= stretch[0] < stretch[1] <= day + DAY


def test_a_meter_year_is_little_work() -> None:
    """The sandbox fills a dozen meters at its start."""
    _, end = span(NOW)
    assert calls(lambda: dict(day_blocks(ELECTRICITY, "import", end - 365 * DAY, end))) < 365 * 48 * 64, (
        "32 for each half-hour"
    )


def test_every_trade_is_open_at_some_time() -> None:
    for trade in synthetic._TRADES:
        assert max(synthetic._open_hours(trade, 2)) == 1
