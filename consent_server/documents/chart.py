"""The chart of a report: emissions by month, as SVG. The figures are in a table beside it, and it has a legend.

Bars of the two fuels differ in darkness and pattern, not only in colour. A month that is left out has a dash instead of a bar.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from consent_server.documents.dates import month_in_short
from consent_server.scheme.emissions import GASES
from consent_server.scheme.report import KILOGRAMS_PER_TONNE

#: Fill and name by fuel: 7:1 and 3.4:1 on white (WCAG 2.2, 1.4.11 asks for 3:1), hatched and plain.
_FILL: Final = {"electricity": "#1d4a7d", "gas": "url(#hatched)"}
_NAMES: Final = {"electricity": "Electricity", "gas": "Gas, hatched"}
_WIDTH, _HEIGHT, _BASE, _TOP, _STEP = 720, 250, 212, 34, 58
_TALL: Final = _BASE - _TOP - 16

#: First instant of a month, fuel, tonnes; None for a month that is left out.
Bars = Sequence[tuple[int, Sequence[tuple[str, float | None]]]]


def bars_of(starts: Sequence[int], fuels: Sequence[str], kilograms: Mapping[tuple[str, int], float]) -> Bars:
    """Return the months that begin at `starts`, from kilograms by fuel and first instant; one that has none is left out."""
    found = {key: each / KILOGRAMS_PER_TONNE for key, each in kilograms.items()}
    return [(start, [(fuel, found.get((fuel, start))) for fuel in fuels]) for start in starts]


def svg(bars: Bars) -> str:
    """Return the chart of months with the tonnes of each fuel."""
    fuels = [fuel for fuel, _ in bars[0][1]]
    most = max((tonnes or 0 for _, of_month in bars for _, tonnes in of_month), default=0) or 1
    step = min(_STEP, (_WIDTH - 20) // len(bars))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="12" '
        'fill="#111111">',
        f"<title>{escape(describe(bars))}</title>",
        '<defs><pattern id="hatched" width="5" height="5" patternUnits="userSpaceOnUse">'
        '<rect width="5" height="5" fill="#ffffff"/><path d="M0 5 L5 0" stroke="#9a4a00" stroke-width="2.4"/>'
        "</pattern></defs>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *(_legend(number, fuel, f"{_NAMES[fuel]}: tonnes of {GASES[fuel]}") for number, fuel in enumerate(fuels)),
        f'<path d="M10 {_BASE} H{_WIDTH - 10}" stroke="#444444"/>',
    ]
    for number, (start, of_month) in enumerate(bars):
        left = 14 + number * step
        parts.append(f'<text x="{left}" y="{_BASE + 18}">{month_in_short(start)}</text>')
        wide = (step - 10) // max(2, len(fuels))
        parts += [_bar(left + at * wide, wide - 3, fuel, t, most) for at, (fuel, t) in enumerate(of_month)]
    return "\n".join([*parts, "</svg>", ""])


def describe(bars: Bars) -> str:
    """Return the chart in words."""
    fuels = [fuel for fuel, _ in bars[0][1]]
    told = []
    for at, fuel in enumerate(fuels):
        found = [(of_month[at][1], start) for start, of_month in bars if of_month[at][1] is not None]
        if found:
            (least, first), (most, last) = min(found), max(found)
            told.append(
                f"{fuel} between {least:,.3f} t {GASES[fuel]} in {month_in_short(first)} and {most:,.3f} t {GASES[fuel]} "
                f"in {month_in_short(last)}"
            )
    return f"Emissions by month: {'; '.join(told) or 'nothing'}. The table has every figure."


def _legend(number: int, fuel: str, text: str) -> str:
    x = 14 + number * 260
    return (
        f'<rect x="{x}" y="6" width="14" height="14" fill="{_FILL[fuel]}" stroke="#444444"/>'
        f'<text x="{x + 20}" y="18">{escape(text)}</text>'
    )


def _bar(x: int, wide: int, fuel: str, tonnes: float | None, most: float) -> str:
    if tonnes is None:
        return f'<text x="{x + 2}" y="{_BASE - 4}">–</text>'
    tall = round(tonnes / most * _TALL, 1)
    top = round(_BASE - tall, 1)
    return (
        f'<rect x="{x}" y="{top}" width="{wide}" height="{tall}" fill="{_FILL[fuel]}" stroke="#444444"/>'
        f'<text x="{x}" y="{round(top - 4, 1)}" font-size="9">{_short(tonnes)}</text>'
    )


def _short(tonnes: float) -> str:
    return f"{tonnes:.2f}" if tonnes < 10 else f"{tonnes:.0f}"
