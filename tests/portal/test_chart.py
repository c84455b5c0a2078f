"""The chart of a result: where bars and lines are, in per cent of its width and height."""

from itertools import pairwise

import pytest

from consent_server.portal.chart import Bar, chart_of

STARTS = [0, 1]
BOTH = ("electricity", "gas")


def test_each_fuel_has_its_place_beside_the_other_and_a_month_left_out_no_height() -> None:
    chart = chart_of(STARTS, BOTH, {("electricity", 0): 4.0, ("electricity", 1): 1.0, ("gas", 1): 2.0})
    heights = [(bar.fuel, bar.height) for month in chart.months for bar in month.bars]
    assert heights == [("electricity", 82.0), ("gas", None), ("electricity", 20.5), ("gas", 41.0)]
    bars = [bar for month in chart.months for bar in month.bars]
    assert all(bar.x + bar.width < beside.x for bar, beside in pairwise(bars))
    assert bars[0].x > 10
    assert bars[-1].x + bars[-1].width < 100
    assert [month.start for month in chart.months] == STARTS
    assert 10 < chart.months[0].middle < 55 < chart.months[1].middle < 100


@pytest.mark.parametrize(
    ("most", "lines"),
    [
        (0.0, ["0"]),
        (0.0012, ["0", "0.0005", "0.001"]),
        (0.34, ["0", "0.1", "0.2", "0.3"]),
        (1.0, ["0", "0.5", "1"]),
        (1.18, ["0", "0.5", "1"]),
        (7.9, ["0", "2", "4", "6"]),
        (9.99, ["0", "2", "4", "6", "8"]),
        (4300.0, ["0", "1,000", "2,000", "3,000", "4,000"]),
    ],
)
def test_a_few_lines_at_round_figures(most: float, lines: list[str]) -> None:
    chart = chart_of(STARTS, ("gas",), {("gas", 0): most})
    assert [line.tonnes for line in chart.lines] == lines
    assert chart.lines[0].y == 88
    assert all(6 <= line.y <= 88 for line in chart.lines)
    assert isinstance(chart.months[1].bars[0], Bar)
    assert chart.months[1].bars[0].height is None
