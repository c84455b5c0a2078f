"""Rows that are judged together end as they do one by one: the same half-hours, lines and reasons."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from consent_server.metering.importing.layouts import FACTS, LAYOUTS
from consent_server.metering.importing.report import LoadReport
from consent_server.metering.importing.rows import KnownMeter, Rows, Stated
from consent_server.metering.importing.times import Times
from consent_server.scheme import instant
from consent_server.scheme.instant import HALF_HOUR
from tests.metering.conftest import NOW

DAY_1 = "2026-03-01T00:00:00Z"
AT = instant.parse(DAY_1)
OFTEN = [instant.text(AT + slot * HALF_HOUR) for slot in range(6)]
#: What a row may say that most do not.
ODD: dict[str, list[Any]] = {
    "meter": ["m-2", "nobody", None],
    "measure": ["export", "import"],
    "at": [
        AT,
        instant.text(NOW),
        instant.text(NOW + HALF_HOUR),
        "1999-12-31 12:00",
        "2025-10-26 01:30",
        "2026-03-01 00:10",
        "",
    ],
    "to": ["", "2026-03-01T00:30:00Z"],
    "value": ["", "-1", "1_0", " 2 ", "1e3", ".", "9999", 1.0, float("nan"), 5, -0.0, True, None],
    "unit": ["KWH", "m3", None],
    "taken_at": ["", "2026-03-02T00:00:00Z"],
    "register": ["7", "x"],
    "quality": ["estimated", ""],
    "fuel": ["electricity", "Electricity", "gas"],
    "period": ["3"],
}
CHANGES = [{}] * 60 + [{fact: value} for fact, values in ODD.items() for value in values]


@example([(OFTEN[0], "1", {}), (OFTEN[0], "0.5", {"measure": "import"})])
@example([(OFTEN[0], "1", {}), (OFTEN[0], "1", {"at": instant.text(NOW)})])
@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*map(st.sampled_from, (OFTEN, ["0.5", "1"], CHANGES))), max_size=10))
def test_rows_that_are_judged_together_are_judged_as_one_by_one(drawn: list[tuple[str, str, dict[str, Any]]]) -> None:
    usual = dict.fromkeys(FACTS) | {"meter": "m-1", "unit": "kWh"}
    rows = [
        (line, *(usual | {"at": at, "value": value} | odd).values()) for line, (at, value, odd) in enumerate(drawn, 2)
    ]
    known = {meter: KnownMeter("electricity", ["import"], 10_000) for meter in ("m-1", "m-2")}
    by_one, together = (
        Rows(LAYOUTS["ours"], Times("Europe/London"), Stated(), NOW, LoadReport(), known.get, "a.csv") for _ in range(2)
    )
    for row in rows:
        by_one.take(row)
    together.take_all(rows)
    for each in (by_one, together):
        each.end()
    assert (together.pieces, together.report) == (by_one.pieces, by_one.report)
