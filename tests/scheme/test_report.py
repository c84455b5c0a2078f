"""The report as a value: sums by month, site and fuel, what is left out and why, the factors and the score."""

import math
from dataclasses import replace
from typing import Any

import pytest

from consent_server.scheme import emissions, instant, pcaf
from consent_server.scheme.factors import CALENDAR_YEAR, LATEST_PUBLISHED, PUBLISHED, in_force
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.provenance.steps import COMPLETE, MISSING, SUBSTITUTED
from consent_server.scheme.report import GapReason, Method, MonthOfMeter, Report, ReportedMeter, ReportParty, make

MAY = instant.parse("2026-05-01T00:00:00Z")
JUNE = instant.parse("2026-06-01T00:00:00Z")
JULY = instant.parse("2026-07-01T00:00:00Z")
AUGUST = instant.parse("2026-08-01T00:00:00Z")
NOW = AUGUST + 3600
PERIODS = in_force(PUBLISHED, LATEST_PUBLISHED)


def meter(fuel: str, value: float, site: str = "SW8", name: str = "m", lacking: Any = (), **more: Any) -> ReportedMeter:
    """A meter with the same reading in each half-hour of May, June and July, at 100 g/kWh in SW8 and 20 elsewhere."""
    readings = emissions.Amounts.of((at, value) for at in range(MAY, AUGUST, HALF_HOUR) if at not in lacking)
    if fuel == "gas":
        months = emissions.gas(readings, PERIODS, more.get("filled", ()))
    else:
        grams = dict.fromkeys(range(MAY, AUGUST, HALF_HOUR), 100 if site == "SW8" else 20)
        for at in more.get("ungraded", ()):
            del grams[at]
        months = emissions.electricity(readings, grams, more.get("filled", ()))
    return ReportedMeter(name, fuel, site, {at: MonthOfMeter(month, NOW) for at, month in months.items()})


def report(*meters: ReportedMeter, **more: Any) -> Report:
    given: dict[str, Any] = {
        "by": ReportParty("Tallyleaf", "https://directory.example/m/cap"),
        "about": ReportParty("Acme", id="acme"),
        "to": None,
        "start": MAY,
        "end": AUGUST,
        "at": NOW,
        "sources": (),
        "periods": PERIODS,
        "method": Method(LATEST_PUBLISHED, False),
    }
    return make(meters=meters, **given | more)


BOTH = (meter("electricity", 1000.0), meter("electricity", 3000.0, "AB1", "n"), meter("gas", 2.0, name="g"))


def test_months_sites_and_totals_are_the_same_figures() -> None:
    found = report(*BOTH)
    assert [(month.fuel, month.start) for month in found.months] == [
        (fuel, start) for fuel in ("electricity", "gas") for start in (MAY, JUNE, JULY)
    ]
    for total in found.totals:
        months = [month.figure for month in found.months if month.fuel == total.fuel]
        sites = [site.figure for site in found.sites if site.figure.fuel == total.fuel]
        for parts in (months, sites):
            assert math.fsum(each.kilograms for each in parts) == pytest.approx(total.figure.kilograms)
            assert math.fsum(each.kwh for each in parts) == pytest.approx(total.figure.kwh)
        assert total.months == 3
    # 92 days are 4,416 half-hours: 441.6 kg in SW8 (1 kWh at 100 g), 264.96 kg in AB1 (3 kWh at 20 g)
    assert [(site.site, site.meters, round(site.figure.kilograms, 6)) for site in found.sites[:2]] == [
        ("AB1", 1, 264.96),
        ("SW8", 1, 441.6),
    ]
    electricity, gas = found.totals
    assert (electricity.figure.unit, gas.figure.unit) == ("kg CO2", "kg CO2e")
    assert (electricity.figure.m3, gas.figure.m3) == (None, pytest.approx(8832.0))
    assert found.kilograms == pytest.approx(electricity.figure.kilograms + gas.figure.kilograms)


def test_every_figure_is_rounded_once_whoever_shows_it() -> None:
    """A third of a watt-hour and of a cubic metre in each half-hour: no figure has more than six decimals."""
    found = report(meter("electricity", 1 / 3, name="e"), meter("gas", 1 / 3, "AB1"))
    figures = [each.figure for part in (found.months, found.sites, found.totals) for each in part]
    numbers = [value for each in figures for value in (each.kwh, each.m3 or 0.0, each.kilograms)]
    numbers += [found.kilograms, *(each.amount for each in found.factors)]
    assert all(value == round(value, 6) for value in numbers)
    # 1,488 and 1,440 half-hours: 0.496 and 0.48 kWh at 100 g/kWh
    assert [each.figure.kilograms for each in found.months][:2] == [0.0496, 0.048]


def test_nothing_used_is_nothing_emitted_and_no_month_is_left_out() -> None:
    found = report(meter("electricity", 0.0, name="e"), meter("gas", 0.0))
    assert (len(found.months), found.gaps, found.kilograms) == (6, (), 0.0)
    assert [(each.fuel, each.amount, each.value) for each in found.factors] == [
        ("electricity", 0.0, 0.0),
        *(("gas", 0.0, each.value) for each in found.factors[1:]),
    ]


def test_gas_by_hand_over_a_new_set() -> None:
    found = report(meter("gas", 2.0))
    # The set of 2026 applies from 11 June, 08:30Z: 31 x 48 + 10 x 48 + 17 = 1,985 half-hours before, 2,431 from then on.
    before, after = 1985 * 2.0, 2431 * 2.0
    (total,) = found.totals
    assert total.figure.kilograms == pytest.approx(before * 2.06672 + after * 2.02633)
    assert total.figure.kwh == pytest.approx(before * 2.06672 / 0.18296 + after * 2.02633 / 0.18231)
    change = instant.parse("2026-06-11T08:30:00Z")
    assert [(each.set.year, each.start, each.end, each.amount) for each in found.factors if each.set] == [
        (2025, MAY, change, before),
        (2026, change, AUGUST, after),
    ]


def test_factors_are_those_in_the_figures_and_no_others() -> None:
    # Without July and most of June left, no figure has the set of 2026.
    gone = range(JUNE, AUGUST, HALF_HOUR)
    found = report(meter("gas", 2.0, lacking=gone), meter("electricity", 1000.0, name="e"))
    assert [(each.fuel, each.site, each.set and each.set.year, each.end) for each in found.factors] == [
        ("electricity", "SW8", None, AUGUST),
        ("gas", "", 2025, JUNE),
    ]
    assert found.factors[0].value == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("meters", "gaps"),
    [
        ([meter("gas", 1.0, lacking=[JUNE])], [(JUNE, GapReason.SOME_READINGS, 1)]),
        ([meter("gas", 1.0, lacking=range(JUNE, JULY, HALF_HOUR))], [(JUNE, GapReason.NO_READINGS, 1440)]),
        (
            [meter("electricity", 1.0, ungraded=[JUNE, MAY])],
            [(MAY, GapReason.NO_FACTOR, 1), (JUNE, GapReason.NO_FACTOR, 1)],
        ),
        (
            [meter("gas", 1.0), meter("gas", 1.0, name="silent", lacking=range(JUNE, JULY, HALF_HOUR))],
            [(JUNE, GapReason.SOME_READINGS, 1440)],
        ),
    ],
    ids=["a half-hour", "a month", "grid figures", "one meter of two"],
)
def test_what_is_left_out_and_why(meters: list[ReportedMeter], gaps: list[tuple[int, GapReason, int]]) -> None:
    found = report(*meters)
    assert [(each.start, each.reason, each.half_hours) for each in found.gaps] == gaps
    assert {month.start for month in found.months} == {MAY, JUNE, JULY} - {start for start, _, _ in gaps}


def test_a_meter_that_came_through_two_connections_is_not_counted_twice() -> None:
    """In June the second one is another's, and months in which nothing was used are no sign of anything."""
    one = replace(meter("electricity", 1000.0), connection="c1")
    idle = [replace(meter("electricity", 0.0, name=name), connection=name) for name in ("c3", "c4")]
    same = replace(one, meter="n", connection="c2")
    june = meter("electricity", 1001.0).months[JUNE]
    found = report(one, *idle, replace(same, months={**same.months, JUNE: june}))
    assert [(each.start, each.reason, each.sites) for each in found.gaps] == [
        (start, GapReason.DOUBLED, ("SW8",)) for start in (MAY, JULY)
    ]
    assert [month.start for month in found.months] == [JUNE]
    for other in (
        replace(same, connection="c1"),  # one provider's meters are apart by their ids
        replace(meter("electricity", 1000.0, "AB1", "n"), connection="c2"),
    ):
        assert len(report(one, other).months) == 3


def test_a_gap_names_the_sites_that_lack_something() -> None:
    whole, gap = meter("electricity", 1.0), meter("electricity", 1.0, "AB1", "n", lacking=[JUNE])
    assert [each.sites for each in report(whole, gap).gaps] == [("AB1",)]
    silent = replace(gap, months={})
    assert [each.sites for each in report(whole, silent).gaps] == [("AB1",)] * 3
    assert [each.sites for each in report(replace(whole, months={}), silent).gaps] == [("AB1", "SW8")] * 3


def test_a_stand_in_is_a_factor_of_its_own() -> None:
    by_outcode = replace(meter("electricity", 1.0), region="London")
    stand_in = replace(meter("electricity", 1.0, name="n"), region="England", stands_in=True)
    found = report(by_outcode, stand_in).factors
    assert [(each.site, each.region, each.stands_in) for each in found] == [
        ("SW8", "England", True),
        ("SW8", "London", False),
    ]


def test_a_month_that_is_not_over_is_neither_reported_nor_missing() -> None:
    found = report(*BOTH, at=AUGUST - 1)
    assert {month.start for month in found.months} == {MAY, JUNE}
    assert found.gaps == ()


def test_a_month_from_other_figures_than_todays_is_left_out() -> None:
    corrected = in_force([*PUBLISHED[:2], replace(PUBLISHED[2], kg_per_m3=2.03)], LATEST_PUBLISHED)
    for periods, left in ((corrected, {MAY}), (in_force(PUBLISHED, CALENDAR_YEAR), {JULY})):
        found = report(*BOTH, periods=periods)
        assert {month.start for month in found.months if month.fuel == "gas"} == left
        assert {gap.reason for gap in found.gaps} == {GapReason.OTHER_FACTOR}
        assert {month.start for month in found.months if month.fuel == "electricity"} == {MAY, JUNE, JULY}


def test_fuels_that_are_not_asked_for_are_not_there() -> None:
    found = report(*BOTH, fuels=("gas",))
    assert found.fuels == ("gas",)
    assert {each.fuel for part in (found.months, found.totals, found.factors) for each in part} == {"gas"}


def test_a_report_without_meters_is_empty() -> None:
    found = report()
    assert (found.fuels, found.months, found.totals, found.kilograms) == ((), (), (), 0)


def test_the_score_is_pcafs() -> None:
    scores = [pcaf.of_fuel("electricity", COMPLETE), pcaf.of_fuel("gas", COMPLETE)]
    assert [(each.fuel, each.scope, each.option, each.score) for each in scores] == [
        ("electricity", 2, "2a", 2),
        ("gas", 1, "2a", 2),
    ]
    whole = pcaf.of_all(scores)
    assert whole is not None
    assert (whole.score, whole.scope) == (2, None)
    assert "Table 5-7" in pcaf.STANDARD
    for said in (SUBSTITUTED, MISSING):
        worse = pcaf.of_fuel("gas", said)
        assert (worse.score, f"readings behind gas: {said.lower()}." in worse.reason) == (3, True)
        whole = pcaf.of_all([scores[0], worse])
        assert whole is not None
        assert whole.score == 3
    assert pcaf.of_all([]) is None


def test_estimates_are_counted() -> None:
    estimated = report(meter("gas", 1.0, filled=[JUNE]), meter("electricity", 1.0, name="e"))
    assert estimated.filled == 1
