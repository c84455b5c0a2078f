"""The data of a report: what contradicts itself or the published factors, whoever has signed it."""

from collections.abc import Callable
from typing import Any

import pytest

from consent_server.documents import data
from consent_server.documents.data import FactorData, ReportData
from consent_server.scheme import instant, report
from consent_server.scheme.emissions import MonthEmissions
from consent_server.scheme.report import MonthOfMeter, ReportedMeter
from tests.documents import sample


def scaled(told: ReportData, fuel: str, by: float) -> ReportData:
    """Every figure of a fuel is other than it was, and all of them agree."""

    def change(parts: Any) -> Any:
        return tuple(
            each.model_copy(update={"kilograms": each.kilograms * by}) if each.fuel == fuel else each for each in parts
        )

    totals = change(told.totals)
    whole = told.whole.model_copy(update={"kilograms": sum(each.kilograms for each in totals)})
    return told.model_copy(
        update={"months": change(told.months), "sites": change(told.sites), "totals": totals, "whole": whole}
    )


def with_gas(change: Callable[[FactorData], dict[str, Any]]) -> ReportData:
    """The factors for gas are others."""
    told = sample.report_data()
    factors = [each.model_copy(update=change(each)) if each.fuel == "gas" else each for each in told.factors]
    return told.model_copy(update={"factors": tuple(factors)})


def of_2024(each: FactorData) -> dict[str, Any]:
    """The set of 2024 for all of the year, and what it makes of the gas."""
    older, newer = (factor for factor in sample.report_data().factors if factor.fuel == "gas")
    if each == newer:
        return {"amount": 0.0}
    return {"amount": older.amount + newer.amount, "end": newer.end}


NOT_MADE = "the figures are not what the factors make of the energy"
NOT_PUBLISHED = "a factor for gas is not the published one of its time"


@pytest.mark.parametrize(
    ("told", "fault"),
    {
        "as it is": (sample.report_data, None),
        "figures of electricity that no factor gives": (
            lambda: scaled(sample.report_data(), "electricity", 0.9),
            NOT_MADE,
        ),
        "figures that are off by a millionth": (
            lambda: scaled(sample.report_data(), "electricity", 1 + 9e-7),
            NOT_MADE,
        ),
        "figures of gas that no factor gives": (lambda: scaled(sample.report_data(), "gas", 0.9), NOT_MADE),
        "a factor for less than was used": (lambda: with_gas(lambda each: {"amount": each.amount / 2}), NOT_MADE),
        "a smaller factor": (lambda: with_gas(lambda each: {"value": 1.9}), NOT_PUBLISHED),
        "the set of another year": (lambda: with_gas(of_2024), NOT_PUBLISHED),
        "a set before it was published": (lambda: with_gas(lambda _: {"start": "2025-03-01T00:00:00Z"}), NOT_PUBLISHED),
        "by the other rule": (
            lambda: sample.report_data().model_copy(update={"factor_rule": "calendar-year"}),
            NOT_PUBLISHED,
        ),
        "a set of nobody": (lambda: with_gas(lambda _: {"source": "https://other.example"}), NOT_PUBLISHED),
        "loaded from a file": (lambda: with_gas(lambda _: {"start": "2025-03-01T00:00:00Z", "digest": "ab"}), None),
    }.values(),
)
def test_data_that_do_not_hold(told: Callable[[], ReportData], fault: str | None) -> None:
    found = [*data.faults(told())]
    assert fault in found if fault else not found


@pytest.mark.parametrize(("at", "held"), [("2026-07-11T09:30:00Z", True), ("2026-12-11T09:30:00Z", False)])
def test_a_report_may_lack_a_set_that_was_published_shortly_before(at: str, held: bool) -> None:
    """The end of June 2026 with the set of 2025, after which that of 2026 was published on the 11th."""
    told = with_gas(lambda each: {"end": "2026-07-01T00:00:00Z"} if "2025" in each.source else {})
    assert (NOT_PUBLISHED not in data.faults(told.model_copy(update={"at": at}))) is held


def test_a_mean_intensity_of_next_to_nothing_is_rounded_like_any_other() -> None:
    """392 t over 3,532.8 GWh: the mean of 0.110960145 g/kWh is told with six decimals, which make half a kilogram less."""
    usual, end = sample.reported(), instant.next_month(sample.START)
    month = MonthEmissions("electricity", sample.START, end, 3_532_800_000.0, 392_000.0)
    meter = ReportedMeter("m", "electricity", "AB10", {sample.START: MonthOfMeter(month, sample.NOW)}, "North Scotland")
    found = report.make(
        by=usual.by,
        about=usual.about,
        to=usual.to,
        start=sample.START,
        end=end,
        at=usual.at,
        meters=[meter],
        sources=usual.sources,
        periods=(),
        method=usual.method,
    )
    told = sample.report_data(found)
    assert [each.value for each in told.factors] == [0.11096]
    assert [*data.faults(told)] == []
