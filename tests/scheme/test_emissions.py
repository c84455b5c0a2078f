"""Readings times factors: whole months, worked out by hand here and there."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_server.scheme import instant
from consent_server.scheme.emissions import (
    GAS_FACTORS,
    EmissionsError,
    FactorUse,
    GasFactor,
    MonthEmissions,
    add,
    electricity,
    factors_used,
    gas,
)
from consent_server.scheme.instant import HALF_HOUR

MAY = instant.parse("2025-05-01T00:00:00Z")
JUNE = instant.parse("2025-06-01T00:00:00Z")
JULY = instant.parse("2025-07-01T00:00:00Z")
AUGUST = instant.parse("2025-08-01T00:00:00Z")
SET_2024, SET_2025, SET_2026 = GAS_FACTORS


def slots(start, end):
    return range(start, end, HALF_HOUR)


def flat(start, end, value):
    return [(at, value) for at in slots(start, end)]


def test_electricity_is_energy_times_intensity():
    # 1,440 half-hours of half a kilowatt-hour at 200 g are 144 kg
    months = electricity(flat(JUNE, JULY, 500.0), dict(flat(JUNE, JULY, 200)))
    assert months == {JUNE: MonthEmissions("electricity", JUNE, JULY, pytest.approx(144.0), True)}


def test_each_half_hour_has_its_own_intensity():
    readings = flat(JUNE, JULY, 0.0)
    readings[0], readings[-1] = (JUNE, 1000.0), (JULY - HALF_HOUR, 2000.0)
    intensity = dict(flat(JUNE, JULY, 999)) | {JUNE: 100, JULY - HALF_HOUR: 300}
    assert electricity(readings, intensity)[JUNE].kilograms == pytest.approx(0.1 + 0.6)


def test_months_are_cut_at_midnight_utc_and_keyed_in_order():
    months = electricity(flat(JUNE, AUGUST, 1000.0), dict(flat(JUNE, JULY, 100)) | dict(flat(JULY, AUGUST, 200)))
    assert [(m.start, m.end, m.complete) for m in months.values()] == [(JUNE, JULY, True), (JULY, AUGUST, True)]
    assert [round(m.kilograms, 9) for m in months.values()] == [144.0, 297.6]


@pytest.mark.parametrize(
    ("present", "known", "kilograms"),
    [
        pytest.param(slots(JUNE + HALF_HOUR, JULY), slots(JUNE, JULY), 143.9, id="first reading missing"),
        pytest.param(slots(JUNE, JULY - HALF_HOUR), slots(JUNE, JULY), 143.9, id="last reading missing"),
        pytest.param(slots(JUNE, JULY), slots(JUNE, JULY - HALF_HOUR), 143.9, id="last intensity missing"),
        pytest.param(slots(JUNE, JULY), [], 0.0, id="no intensity at all"),
    ],
)
def test_a_gap_leaves_a_month_incomplete(present, known, kilograms):
    months = electricity([(at, 500.0) for at in present], dict.fromkeys(known, 200))
    assert not months[JUNE].complete
    assert months[JUNE].kilograms == pytest.approx(kilograms)


def test_only_whole_months_are_complete():
    start, end = instant.parse("2025-05-15T00:00:00Z"), instant.parse("2026-03-26T00:00:00Z")
    months = gas(flat(start, end, 1.0))
    complete = [instant.text(at)[:7] for at, month in months.items() if month.complete]
    assert complete == [f"2025-{n:02}" for n in range(6, 13)] + ["2026-01", "2026-02"]
    assert len(months) == 11


def test_the_order_of_readings_does_not_matter():
    readings = [(at, 0.1 * number) for number, at in enumerate(slots(MAY, AUGUST))]
    shuffled = random.Random(1).sample(readings, len(readings))
    assert gas(shuffled) == gas(readings)
    assert gas(iter(shuffled)) == gas(readings)


def test_no_readings_no_months():
    assert electricity([], {}) == {}
    assert gas([]) == {}
    assert add([]) == {}


@pytest.mark.parametrize(
    "readings",
    [
        pytest.param([(JUNE, 1.0), (JUNE, 1.0)], id="a half-hour twice"),
        pytest.param([*flat(JUNE, JULY, 1.0), (JUNE, 1.0)], id="twice in a whole month"),
        pytest.param([*flat(JUNE, JULY - HALF_HOUR, 1.0), (JUNE, 1.0)], id="twice in place of a gap"),
        pytest.param([(JUNE + 1, 1.0)], id="off the half-hour"),
    ],
)
def test_misfits_are_refused(readings):
    for work_out in (gas, lambda given_readings: electricity(given_readings, {})):
        with pytest.raises(EmissionsError):
            work_out(readings)


def test_gas_takes_the_latest_factor_published_at_the_time():
    # June 2025 changes sets on the 10th at 08:30:03Z: the half-hour that had begun keeps the older one.
    change = instant.parse("2025-06-10T09:00:00Z")
    before, after = len(slots(JUNE, change)), len(slots(change, JULY))
    june = gas(flat(JUNE, JULY, 1.0))[JUNE]
    assert june.complete
    assert june.kilograms == pytest.approx(before * 2.04542 + after * 2.06672)
    assert factors_used(JUNE, JULY) == [FactorUse(SET_2024, JUNE, change), FactorUse(SET_2025, change, JULY)]


def test_a_factor_published_on_the_half_hour_holds_from_then():
    factor = GasFactor(JUNE + HALF_HOUR, 2.0, "later", "https://example.org/later")
    months = gas(flat(JUNE, JULY, 1.0), [GasFactor(MAY, 1.0, "earlier", "https://example.org/earlier"), factor])
    assert months[JUNE].kilograms == pytest.approx(1 + 2 * 1439)


def test_gas_before_the_first_factor_is_not_worked_out():
    month = instant.parse("2024-07-01T00:00:00Z")
    july = gas(flat(month, instant.next_month(month), 1.0))[month]
    assert not july.complete
    assert factors_used(month, instant.parse("2024-07-02T00:00:00Z")) == []


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        pytest.param("2025-07-01", "2026-06-01", [SET_2025], id="one set"),
        pytest.param("2024-07-01", "2024-08-01", [SET_2024], id="from the first set"),
        pytest.param("2025-05-01", "2026-07-01", [SET_2024, SET_2025, SET_2026], id="all three"),
        pytest.param("2026-07-01", "2026-07-01", [], id="nothing"),
    ],
)
def test_which_sets_a_period_uses(start, end, expected):
    first, last = instant.parse(f"{start}T00:00:00Z"), instant.parse(f"{end}T00:00:00Z")
    uses = factors_used(first, last)
    assert [use.factor for use in uses] == expected
    assert [use.end for use in uses[:-1]] == [use.start for use in uses[1:]]


def test_the_table_of_factors_is_dated_sourced_and_in_order():
    published = [factor.published for factor in GAS_FACTORS]
    assert published == sorted(set(published))
    assert all(
        factor.source.startswith("https://www.gov.uk/") and 1.9 < factor.kg_per_m3 < 2.2 for factor in GAS_FACTORS
    )


def test_meters_are_added_month_by_month():
    one = electricity(flat(JUNE, AUGUST, 1000.0), dict(flat(JUNE, AUGUST, 100)))
    other = electricity(flat(JUNE, JULY, 500.0), dict(flat(JUNE, JULY, 300)))
    total = add([one, other])
    assert total[JUNE] == MonthEmissions("electricity", JUNE, JULY, pytest.approx(144 + 216), True)
    # In July one meter says nothing, so the sum is short by an unknown amount.
    assert total[JULY].kilograms == one[JULY].kilograms
    assert not total[JULY].complete
    assert add([one]) == one


def test_fuels_are_never_added():
    with pytest.raises(EmissionsError):
        add([gas(flat(JUNE, JULY, 1.0)), electricity(flat(JUNE, JULY, 1.0), {})])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2000), unique=True, max_size=60), st.floats(0, 1000), st.integers(0, 500))
def test_the_months_add_up_to_the_half_hours(numbers, amount, grams):
    readings = [(MAY + number * HALF_HOUR, amount) for number in numbers]
    months = electricity(readings, {at: grams for at, _ in readings})
    assert sum(month.kilograms for month in months.values()) == pytest.approx(len(numbers) * amount * grams / 1e6)
