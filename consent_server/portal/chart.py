"""The chart of a result: its places in per cent, so that it is as wide as any page while its text keeps the page's size.

The template draws it. Every figure is in the table below it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_LEFT, _RIGHT, _TOP, _BASE = 10.0, 100.0, 6.0, 88.0
#: Of a month's width: what its bars fill.
_FILLED: Final = 0.76
_MOST_LINES: Final = 5


class Bar(NamedTuple):
    """One fuel in one month; no `height` for a month that is left out."""

    fuel: str
    x: float
    width: float
    height: float | None


class Month(NamedTuple):
    start: int
    middle: float
    bars: Sequence[Bar]


class Line(NamedTuple):
    """A line across the chart, at so many tonnes."""

    tonnes: str
    y: float


class Chart(NamedTuple):
    lines: Sequence[Line]
    months: Sequence[Month]


def chart_of(starts: Sequence[int], fuels: Sequence[str], tonnes: Mapping[tuple[str, int], float]) -> Chart:
    """Return the chart of the months that begin at `starts`; `tonnes`, by fuel and first instant, must not be empty."""
    most = max(tonnes.values())
    step = _step(most)
    tall, wide = (_BASE - _TOP) / (most or 1), (_RIGHT - _LEFT) / len(starts)
    lines = [Line(f"{number * step:,g}", _BASE - number * step * tall) for number in range(int(most / step) + 1)]
    bar = wide * _FILLED / len(fuels)
    months = []
    for number, start in enumerate(starts):
        left = _LEFT + number * wide + wide * (1 - _FILLED) / 2
        heights = [tonnes.get((fuel, start)) for fuel in fuels]
        bars = [
            Bar(fuel, left + at * bar, bar * 0.9, None if height is None else height * tall)
            for at, (fuel, height) in enumerate(zip(fuels, heights, strict=True))
        ]
        months.append(Month(start, left + wide * _FILLED / 2, bars))
    return Chart(lines, months)


def _step(most: float) -> float:
    """Return the distance of the lines: 1, 2 or 5 times a power of ten, so that few are needed up to `most`."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return min(each * power for each in (0.5, 1, 2, 5) if most / (each * power) <= _MOST_LINES)
