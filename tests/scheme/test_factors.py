"""The table of conversion factors, which set applies when, and what is no table."""

from dataclasses import replace

import pytest

from consent_server.scheme import factors, instant
from consent_server.scheme.factors import (
    CALENDAR_YEAR,
    FOR_EVER,
    LATEST_PUBLISHED,
    PUBLISHED,
    FactorError,
    FactorPeriod,
    FactorSet,
    in_force,
    merged,
    used,
)
from consent_server.scheme.instant import DAY, HALF_HOUR

SET_2024, SET_2025, SET_2026 = PUBLISHED
SET_2027 = replace(SET_2026, year=2027, published=instant.parse("2027-06-09T09:30:00+01:00"), kg_per_m3=2.03)


def at(text):
    return instant.parse(f"{text}T00:00:00Z")


def test_the_table_of_this_release_is_one():
    factors.check(PUBLISHED)
    assert all(each.source.startswith("https://www.gov.uk/") and str(each.year) in each.title for each in PUBLISHED)
    assert not any(each.file_sha256 for each in PUBLISHED)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(
            LATEST_PUBLISHED,
            # published at 23:00:00Z, 08:30:03Z and 08:30:00Z
            ["2024-07-07T23:00:00Z", "2025-06-10T09:00:00Z", "2026-06-11T08:30:00Z", FOR_EVER],
            id="latest published",
        ),
        pytest.param(
            CALENDAR_YEAR,
            ["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z", at("2027-01-01")],
            id="calendar year",
        ),
    ],
)
def test_which_set_applies_when(rule, expected):
    edges = [each if isinstance(each, int) else instant.parse(each) for each in expected]
    periods = in_force(reversed(PUBLISHED), rule)
    assert [each.factor for each in periods] == list(PUBLISHED)
    assert [each.start for each in periods] == edges[:-1]
    assert [each.end for each in periods] == edges[1:]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        pytest.param("2025-07-01", "2026-06-01", [SET_2025], id="one set"),
        pytest.param("2024-07-01", "2024-08-01", [SET_2024], id="from the first set"),
        pytest.param("2025-05-01", "2026-07-01", [SET_2024, SET_2025, SET_2026], id="all three"),
        pytest.param("2026-07-01", "2026-07-01", [], id="nothing"),
        pytest.param("2020-01-01", "2020-02-01", [], id="before the first set"),
    ],
)
def test_which_sets_a_stretch_uses(start, end, expected):
    uses = used(in_force(PUBLISHED, LATEST_PUBLISHED), at(start), at(end))
    assert [use.factor for use in uses] == expected
    assert [use.end for use in uses[:-1]] == [use.start for use in uses[1:]]
    assert all(at(start) <= use.start < use.end <= at(end) for use in uses)


@pytest.mark.parametrize(
    ("rule", "newer", "stretches"),
    [
        (LATEST_PUBLISHED, SET_2027, [(SET_2027.published, FOR_EVER)]),
        (CALENDAR_YEAR, SET_2027, [(at("2027-01-01"), at("2028-01-01"))]),
        (
            LATEST_PUBLISHED,
            replace(SET_2025, kg_per_m3=2.07),
            [(at("2025-06-10") + 18 * HALF_HOUR, SET_2026.published)],
        ),
        (LATEST_PUBLISHED, replace(SET_2025, file_sha256="0" * 64), []),
        (LATEST_PUBLISHED, replace(SET_2025, region="North", kg_per_m3=2.07), []),
    ],
    ids=[
        "a new set",
        "a new set by year",
        "a corrected one",
        "the same from a file",
        "a region, which no rule looks at",
    ],
)
def test_a_new_set_changes_what_the_rule_says_and_nothing_else(rule, newer, stretches):
    before, after = in_force(PUBLISHED, rule), in_force(merged(PUBLISHED, [newer]), rule)
    assert [(each.start, each.end) for each in factors.changes(before, after)] == stretches


def test_gas_in_kwh_is_by_the_sets_own_ratio():
    # 2.06672 kg/m3 / 0.18296 kg/kWh
    assert SET_2025.kwh_per_m3 == pytest.approx(11.29602, abs=1e-5)


def test_the_biomethane_share_is_told_where_the_file_tells_it():
    assert SET_2024.biomethane_share is None
    # 1 - 2.04542 / 2.06318
    assert replace(SET_2024, mineral_kg_per_m3=2.06318).biomethane_share == pytest.approx(0.0086, abs=1e-4)


BAD: dict[str, tuple[list[FactorSet], str]] = {
    "a year is missing": ([SET_2024, SET_2026], "2025: the set is missing"),
    "two of one year": ([SET_2024, replace(SET_2024, kg_per_m3=2.05)], "overlap"),
    "published in the wrong order": (
        [replace(SET_2024, published=at("2024-12-31")), replace(SET_2025, published=at("2024-12-31"))],
        "published in its own year",
    ),
    "not of its year": ([replace(SET_2025, published=at("2026-01-01"))], "published in its own year"),
    "grams": ([replace(SET_2025, kg_per_m3=2066.72)], "2066.72 kg CO2e per cubic metre"),
    "nothing": ([replace(SET_2025, kg_per_m3=0.0)], "is not between"),
    "not a number": ([replace(SET_2025, kg_per_m3=float("nan"))], "is not between"),
    "net calorific value": ([replace(SET_2025, kg_per_kwh=0.20270)], "0.2027 kg CO2e per kWh is not between"),
    "kWh that do not fit": ([replace(SET_2025, kg_per_m3=2.29, kg_per_kwh=0.171)], r"imply 13\.39 kWh"),
    "kWh in place of m3": ([replace(SET_2025, kg_per_m3=0.18296)], "is not between"),
    "less without biomethane": ([replace(SET_2025, mineral_kg_per_m3=2.0)], "smaller factor"),
    "a jump": ([SET_2025, replace(SET_2026, kg_per_m3=1.82, kg_per_kwh=0.172)], "differs by more than 10%"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table(name):
    sets, said = BAD[name]
    with pytest.raises(FactorError, match=said):
        factors.check(sets)


def test_the_next_set_is_overdue_after_fourteen_months():
    *_, (newest) = in_force(PUBLISHED, LATEST_PUBLISHED)
    due = instant.months_later(SET_2026.published, 14)
    assert [factors.is_overdue(newest, when) for when in (due - DAY, due)] == [False, True]
    assert not factors.is_overdue(FactorPeriod(SET_2025, 0, SET_2026.published), due)
