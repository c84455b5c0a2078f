"""Readings times factors: whole months, worked out by hand here and there."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_server.scheme import emissions, instant
from consent_server.scheme.emissions import Amounts, EmissionsError, MonthEmissions, add
from consent_server.scheme.factors import CALENDAR_YEAR, LATEST_PUBLISHED, PUBLISHED, FactorPeriod, in_force
from consent_server.scheme.instant import DAY, HALF_HOUR

MAY = instant.parse("2025-05-01T00:00:00Z")
JUNE = instant.parse("2025-06-01T00:00:00Z")
JULY = instant.parse("2025-07-01T00:00:00Z")
AUGUST = instant.parse("2025-08-01T00:00:00Z")
PERIODS = in_force(PUBLISHED, LATEST_PUBLISHED)


def electricity(readings, intensity, filled=()):
    return emissions.electricity(Amounts.of(readings), intensity, filled)


def gas(readings, periods=PERIODS, filled=()):
    return emissions.gas(Amounts.of(readings), periods, filled)


def filled_in(readings):
    found, estimates = emissions.filled(Amounts.of(readings))
    return list(zip(*found, strict=True)), estimates


def at(text):
    return instant.parse(f"{text}T00:00:00Z")


def slots(start, end):
    return range(start, end, HALF_HOUR)


def flat(start, end, value):
    return [(slot, value) for slot in slots(start, end)]


# Worked by hand


def test_electricity_is_energy_times_intensity():
    # 30 days of 48 half-hours of 0.5 kWh: 1,440 x 0.5 = 720 kWh; at 200 g/kWh 144,000 g = 144 kg of CO2
    (june,) = electricity(flat(JUNE, JULY, 500.0), dict(flat(JUNE, JULY, 200))).values()
    assert june == MonthEmissions("electricity", JUNE, JULY, pytest.approx(720.0), pytest.approx(144.0))
    assert june.complete


def test_a_leap_day_is_in_its_month():
    start, end = at("2024-02-01"), at("2024-03-01")
    # 29 x 48 = 1,392 half-hours of 1 kWh at 100 g: 139.2 kg; 28 days would have been 134.4 kg
    months = electricity(flat(start, end, 1000.0), dict(flat(start, end, 100)))
    assert months[start].kilograms == pytest.approx(139.2)
    assert months[start].complete
    without = [each for each in flat(start, end, 1000.0) if not at("2024-02-29") <= each[0]]
    assert electricity(without, dict(flat(start, end, 100)))[start].missing == 48


@pytest.mark.parametrize(
    ("first", "change", "local", "half_hours"),
    [
        # In spring the local day has 46 half-hours and the local month 31 x 48 - 2 = 1,486; in autumn 50 and 1,490.
        ("2026-03-01", "2026-03-29", 1486, 1488),
        ("2025-10-01", "2025-10-26", 1490, 1488),
    ],
    ids=["spring", "autumn"],
)
def test_a_month_has_48_half_hours_a_day_also_when_clocks_change(first, change, local, half_hours):
    start = at(first)
    end = instant.next_month(start)
    readings = flat(start, end, 1000.0)
    assert len(readings) == half_hours != local
    # 1,488 half-hours of 1 kWh at 100 g/kWh, and 400 g/kWh in the 48 of the day of the change: 1,440 x 0.1 + 48 x 0.4 = 163.2
    grams = {slot: 400 if at(change) <= slot < at(change) + DAY else 100 for slot in slots(start, end)}
    month = electricity(readings, grams)[start]
    assert month.kilograms == pytest.approx(163.2)
    assert month.complete


def test_a_factor_changes_inside_a_month():
    # The set of 2025 was published on 10 June 2025 at 08:30:03Z: the half-hour that had begun keeps the set of 2024.
    change = instant.parse("2025-06-10T09:00:00Z")
    before, after = len(slots(JUNE, change)), len(slots(change, JULY))
    assert (before, after) == (9 * 48 + 18, 20 * 48 + 30) == (450, 990)
    june = gas(flat(JUNE, JULY, 1.0))[JUNE]
    # 450 m3 x 2.04542 = 920.439; 990 m3 x 2.06672 = 2,046.0528; together 2,966.4918
    assert june.kilograms == pytest.approx(2966.4918)
    assert june.by_set == {2024: 450.0, 2025: 990.0}
    assert (june.amount, june.complete) == (1440.0, True)


def test_the_other_rule_takes_the_set_of_the_year():
    june = gas(flat(JUNE, JULY, 1.0), in_force(PUBLISHED, CALENDAR_YEAR))[JUNE]
    # 1,440 m3 x 2.06672, the set of 2025, although most of it had not been published when June began
    assert june.kilograms == pytest.approx(2976.0768)
    assert june.by_set == {2025: 1440.0}


def test_a_missing_hour_leaves_its_month_out():
    noon = JUNE + 14 * DAY + 12 * 3600
    readings = [each for each in flat(JUNE, JULY, 500.0) if each[0] not in (noon, noon + HALF_HOUR)]
    june = electricity(readings, dict(flat(JUNE, JULY, 200)))[JUNE]
    # 1,438 half-hours of 0.5 kWh at 200 g/kWh
    assert (june.complete, june.missing, june.kilograms) == (False, 2, pytest.approx(143.8))


def test_a_missing_hour_is_filled_where_that_is_wanted():
    noon = JUNE + 14 * DAY + 12 * 3600
    values = dict(flat(JUNE, JULY, 500.0)) | {noon - 7 * DAY: 400.0, noon + 7 * DAY: 800.0}
    del values[noon], values[noon + HALF_HOUR]
    readings, estimates = filled_in(values.items())
    # noon: (400 + 800) / 2 = 600; half past: (500 + 500) / 2 = 500
    assert {slot: dict(readings)[slot] for slot in estimates} == {noon: 600.0, noon + HALF_HOUR: 500.0}
    june = electricity(readings, dict(flat(JUNE, JULY, 200)), estimates)[JUNE]
    # 1,436 + 1 half-hours of 0.5 kWh, and 0.4, 0.8, 0.6 kWh: 720.3 kWh at 200 g/kWh
    assert (june.complete, june.filled, june.kilograms) == (True, 2, pytest.approx(144.06))


def test_two_meters_in_two_regions():
    south = electricity(flat(JUNE, JULY, 1000.0), dict(flat(JUNE, JULY, 100)))
    north = electricity(flat(JUNE, JULY, 3000.0), dict(flat(JUNE, JULY, 20)))
    # 1,440 x 1 kWh x 100 g = 144 kg, 1,440 x 3 kWh x 20 g = 86.4 kg. The mean of both intensities, 60 g, on all 5,760 kWh
    # would have been 345.6 kg.
    total = add("electricity", [south, north])[JUNE]
    assert (total.amount, total.kilograms) == (pytest.approx(5760.0), pytest.approx(230.4))


def test_a_revised_reading_changes_its_month_by_its_own_half_hour():
    grams = dict(flat(JUNE, JULY, 200)) | {JUNE + DAY: 350}
    readings = dict(flat(JUNE, JULY, 500.0))
    before = electricity(readings.items(), grams)[JUNE]
    after = electricity((readings | {JUNE + DAY: 2500.0}).items(), grams)[JUNE]
    # 2 kWh more at 350 g/kWh
    assert after.kilograms - before.kilograms == pytest.approx(0.7)


def test_a_tenancy_that_begins_in_the_middle_of_a_month():
    # From 12 June: 19 of 30 days. June is left out, also where gaps are filled, and July is the first month.
    readings = flat(at("2025-06-12"), AUGUST, 1.0)
    june = [each for each in readings if each[0] < JULY]
    assert filled_in(june) == (june, frozenset())
    months = gas(readings)
    assert (months[JUNE].complete, months[JUNE].missing, months[JUNE].filled) == (False, 11 * 48, 0)
    assert months[JULY].complete
    # 1,488 m3 x 2.06672
    assert months[JULY].kilograms == pytest.approx(3075.27936)


# Months


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
    ("present", "known", "kilograms", "missing", "unknown"),
    [
        pytest.param(slots(JUNE + HALF_HOUR, JULY), slots(JUNE, JULY), 143.9, 1, 0, id="first reading missing"),
        pytest.param(slots(JUNE, JULY - HALF_HOUR), slots(JUNE, JULY), 143.9, 1, 0, id="last reading missing"),
        pytest.param(slots(JUNE, JULY), slots(JUNE, JULY - HALF_HOUR), 143.9, 0, 1, id="last intensity missing"),
        pytest.param(slots(JUNE, JULY), [], 0.0, 0, 1440, id="no intensity at all"),
    ],
)
def test_a_gap_leaves_a_month_incomplete(present, known, kilograms, missing, unknown):
    june = electricity([(slot, 500.0) for slot in present], dict.fromkeys(known, 200))[JUNE]
    assert (june.complete, june.missing, june.unknown) == (False, missing, unknown)
    assert june.kilograms == pytest.approx(kilograms)


def test_only_whole_months_are_complete():
    months = gas(flat(at("2025-05-15"), at("2026-03-26"), 1.0))
    complete = [instant.text(start)[:7] for start, month in months.items() if month.complete]
    assert complete == [f"2025-{n:02}" for n in range(6, 13)] + ["2026-01", "2026-02"]
    assert len(months) == 11


def test_the_order_of_readings_does_not_matter():
    readings = [(slot, 0.1 * number) for number, slot in enumerate(slots(MAY, AUGUST))]
    shuffled = random.Random(1).sample(readings, len(readings))
    assert gas(shuffled) == gas(readings)
    assert gas(iter(shuffled)) == gas(readings)


def test_without_readings_there_are_no_months():
    assert electricity([], {}) == {}
    assert gas([]) == {}
    assert filled_in([]) == ([], frozenset())
    assert add("gas", []) == {}


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
    for work_out in (
        gas,
        lambda given_readings: electricity(given_readings, {}),
        lambda given_readings: gas(*filled_in(given_readings)[:1]),
    ):
        with pytest.raises(EmissionsError):
            work_out(readings)


def test_a_half_hour_without_a_set_has_no_factor():
    month = at("2024-07-01")
    july = gas(flat(month, at("2024-08-01"), 1.0))[month]
    # The first set is of 8 July at midnight, 7 July at 23:00Z: 6 days and 46 half-hours come before it.
    assert (july.complete, july.unknown, july.amount) == (False, 6 * 48 + 46, 1488.0 - 334.0)


def test_the_basis_of_a_month_is_the_figures_in_it():
    newer = replace(PUBLISHED[2], kg_per_m3=2.0)
    corrected = in_force([*PUBLISHED[:2], newer], LATEST_PUBLISHED)
    year = flat(MAY, at("2026-08-01"), 1.0)
    changed = [start for start, month in gas(year).items() if gas(year, corrected)[start].basis != month.basis]
    assert changed == [at("2026-06-01"), at("2026-07-01")]


# Gaps that are filled


@pytest.mark.parametrize(
    ("lacking", "filled"),
    [
        pytest.param(slots(JUNE + 9 * DAY, JUNE + 10 * DAY), 48, id="a day"),
        pytest.param(slots(JUNE + 9 * DAY, JUNE + 10 * DAY + HALF_HOUR), 0, id="more than a day"),
        pytest.param([JUNE + 15 * DAY + week * 7 * DAY for week in (-1, 0, 1)], 2, id="nothing beside the middle one"),
        pytest.param(slots(JUNE, JUNE + HALF_HOUR), 0, id="before the first reading"),
        pytest.param(slots(JULY - HALF_HOUR, JULY), 0, id="after the last reading"),
        pytest.param([JUNE + HALF_HOUR, JULY - 2 * HALF_HOUR], 2, id="with one neighbour each"),
    ],
)
def test_short_gaps_are_filled_with_estimates(lacking, filled):
    readings = [each for each in flat(JUNE, JULY, 1.0) if each[0] not in set(lacking)]
    found, estimates = filled_in(readings)
    assert len(estimates) == filled
    assert dict(found).keys() == dict(readings).keys() | estimates


# Meters


def test_meters_are_added_month_by_month():
    one = electricity(flat(JUNE, AUGUST, 1000.0), dict(flat(JUNE, AUGUST, 100)))
    other = electricity(flat(JUNE, JULY, 500.0), dict(flat(JUNE, JULY, 300)))
    total = add("electricity", [one, other])
    assert total[JUNE] == MonthEmissions("electricity", JUNE, JULY, pytest.approx(2160.0), pytest.approx(144 + 216))
    # In July one meter says nothing, so the sum is short by an unknown amount.
    assert total[JULY].kilograms == one[JULY].kilograms
    assert total[JULY].missing == 31 * 48
    assert add("electricity", [one]) == one


def test_fuels_are_never_added():
    for fuel in ("electricity", "gas"):
        with pytest.raises(EmissionsError):
            add(fuel, [gas(flat(JUNE, JULY, 1.0)), electricity(flat(JUNE, JULY, 1.0), {})])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2000), unique=True, max_size=60), st.floats(0, 1000), st.integers(0, 500))
def test_the_months_add_up_to_the_half_hours(numbers, amount, grams):
    readings = [(MAY + number * HALF_HOUR, amount) for number in numbers]
    months = electricity(readings, {slot: grams for slot, _ in readings})
    assert sum(month.kilograms for month in months.values()) == pytest.approx(len(numbers) * amount * grams / 1e6)


def test_a_period_that_ends_leaves_what_follows_without_a_factor():
    (only,) = in_force(PUBLISHED[:1], CALENDAR_YEAR)
    months = gas(flat(at("2024-12-01"), at("2025-02-01"), 1.0), [FactorPeriod(only.factor, only.start, only.end)])
    assert [month.complete for month in months.values()] == [True, False]
