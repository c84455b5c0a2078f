"""When power is cleanest: what the worker has fetched, in words, chart and table; the page itself asks nobody."""

from dataclasses import replace
from typing import Any

import pytest

from consent_server import clock, store
from consent_server.collect import forecast as ahead
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.intensity import GridDay
from consent_server.portal import forecast
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.store import rows
from consent_server.store.intensity import StoredGridDays
from consent_server.store.tables.collecting import MeterMonth

#: A clock at 09:30, so that a day is clean from 13:00 to 16:00.
CLEAN = range(26, 32)


def day(at: int, **changes: Any) -> GridDay:
    values = tuple(50.0 if slot in CLEAN else 200.0 + slot for slot in range(48))
    return replace(GridDay(13, at, clock.now(), values), **changes)


def with_meter(portal: Any) -> Any:
    browser = portal.connected()
    month = instant.months_later(instant.month_start(clock.now()), -1)
    connection = portal.connections()[0].id
    portal.collected(connection)
    with store.writing() as c:
        rows.put(
            c,
            MeterMonth(
                connection, "m", month, "electricity", "SW8", None, "", 1344, 1.0, 1.0, True, month, month, month,
                region=13, region_by="outcode",
            ),
        )  # fmt: skip
    return browser


def test_the_cleanest_hours_where_the_meters_are(portal: Any) -> None:
    browser = with_meter(portal)
    assert "There is no forecast yet" in browser.open("/forecast").html
    today = instant.day_start(clock.now())
    StoredGridDays().put([day(today + number * DAY) for number in range(3)])
    StoredGridDays().put([day(today, region=1)])
    html = browser.open("/account").html
    assert 'href="/forecast"' in html
    html = browser.open("/forecast").html
    assert '<h2 id="region-1"><bdi lang="en">London</bdi></h2>' in html
    assert "North Scotland" not in html, "no meter of this business is there"
    assert "Cleanest: 12 March 2026 at 13:00, UK time to 12 March 2026 at 16:00, UK time" in html
    assert html.count("<rect") == 96
    assert html.count('<th scope="row">') == 47


def test_another_accounts_regions_are_not_shown(portal: Any) -> None:
    with_meter(portal)
    StoredGridDays().put([day(instant.day_start(clock.now()) + number * DAY) for number in range(3)])
    assert "London" not in portal.signed_in("other@example.org").open("/forecast").html


@pytest.mark.parametrize("gap", [0, 3, 5])
def test_a_stretch_has_no_gap(gap: int) -> None:
    values = {slot * HALF_HOUR: 10.0 if slot < 6 else 100.0 for slot in range(48) if slot != gap}
    found = forecast.forecast(13, values)
    assert found is not None
    assert found.cleanest.start == (gap + 1) * HALF_HOUR
    assert len(found.hours) == 23


@pytest.mark.parametrize("values", [{}, {0: 1.0}, {slot * 2 * HALF_HOUR: 1.0 for slot in range(48)}])
def test_too_little_is_no_forecast(values: dict[int, float]) -> None:
    assert forecast.forecast(13, values) is None


def test_the_worker_fetches_the_regions_that_have_meters(portal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with_meter(portal)
    asked: list[tuple[int, int, int]] = []
    grid = portal.deployment.intensity
    monkeypatch.setattr(grid, "fetch", lambda *span: asked.append(span))
    assert ahead.fetch_forecasts() == 0
    start = clock.now() - clock.now() % HALF_HOUR
    assert asked == [(13, start, start + 2 * DAY)]

    def down(*span: int) -> None:
        raise Unreachable("time", "grid.example")

    monkeypatch.setattr(grid, "fetch", down)
    assert ahead.fetch_forecasts() == 1
