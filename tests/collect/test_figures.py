"""A meter's month and its figures: what a new set of factors makes of months that are there, and what filling gaps does."""

from dataclasses import replace

import pytest

from consent_server import store
from consent_server.scheme.factors import PUBLISHED
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.store import connections, factors
from tests.collect.conftest import FEBRUARY, MARCH, Cap, Meter, report_on_acme
from tests.scheme.signing import NOW

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

JANUARY, DECEMBER = FEBRUARY - 31 * DAY, FEBRUARY - 62 * DAY


def kilograms(fuel: str) -> dict[int, float]:
    return {month.start: month.figure.kilograms for month in report_on_acme(DECEMBER, MARCH, (fuel,)).months}


def test_a_corrected_set_works_gas_out_again_from_what_is_kept_and_fetches_the_rest(cap: Cap) -> None:
    cap.configure(months=3)
    provider = cap.provider("edp", Meter("e"), Meter("g", "gas"))
    cap.collected(provider)
    of = cap.kept().of["g"]
    assert [of[start].readings is not None for start in (DECEMBER, JANUARY, FEBRUARY)] == [False, True, True]
    provider.windows.clear()
    cap.clock.step(3600)
    with store.writing() as c:
        factors.put(c, replace(PUBLISHED[1], kg_per_m3=2.05), NOW)
        assert connections.work_out_anew(c, "gas", NOW + 3600) == 1
    assert kilograms("gas") == {}, "left out until it is worked out again"
    assert len(kilograms("electricity")) == 3
    assert cap.collect() == 1
    assert provider.windows == [("g", DECEMBER, JANUARY)]
    assert kilograms("gas") == {
        start: pytest.approx(days * 48 * 1000 * 2.05) for start, days in ((DECEMBER, 31), (JANUARY, 31), (FEBRUARY, 28))
    }
    months = report_on_acme(DECEMBER, MARCH, ("gas",)).months
    assert {(month.taken_at, month.revised) for month in months} == {(NOW + 3600, None)}, "no reading was revised"
    provider.windows.clear()
    with store.writing() as c:
        connections.work_out_anew(c, "gas", NOW + 3600)
    assert cap.collect() == 1
    assert provider.windows == [], "nothing rests on another set any more"


def test_a_month_without_readings_does_not_ask_again_and_again_for_a_factor(cap: Cap) -> None:
    cap.configure(months=3)
    provider = cap.provider("edp", Meter("g", "gas", amount=lambda at: 2.0 if at >= FEBRUARY else None))
    cap.collected(provider)
    provider.windows.clear()
    cap.clock.step(3600)
    with store.writing() as c:
        connections.work_out_anew(c, "gas", NOW + 3600)
    assert cap.collect() == 1
    assert provider.windows == []


@pytest.mark.parametrize("fuel", ["electricity", "gas"])
def test_an_estimate_is_kept_as_one_and_gives_way_to_a_reading(cap: Cap, fuel: str) -> None:
    at = FEBRUARY + 9 * DAY
    meter = Meter("m", fuel, amount=lambda start: None if start == at else 2.0)
    cap.configure(fill_gaps=True)
    cap.collected(cap.provider("edp", meter))
    month = cap.kept().of["m"][FEBRUARY]
    assert (month.half_hours, month.filled, month.unknown, month.complete) == (28 * 48 - 1, 1, 0, True)
    (whole,) = kilograms(fuel).values()
    meter.amount = lambda start: 4.0 if start == at else 2.0
    cap.clock.step(DAY)
    assert cap.collect() == 1
    month = cap.kept().of["m"][FEBRUARY]
    assert (month.half_hours, month.filled, month.complete) == (28 * 48, 0, True)
    assert kilograms(fuel) == {FEBRUARY: pytest.approx(whole * (28 * 48 + 1) / (28 * 48))}


def test_gaps_at_the_edge_of_a_month_stay(cap: Cap) -> None:
    cap.configure(fill_gaps=True)
    edges = {FEBRUARY, MARCH - HALF_HOUR}
    cap.collected(cap.provider("edp", Meter("m", amount=lambda at: None if at in edges else 1000.0)))
    assert kilograms("electricity") == {}
