from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_server.scheme import instant

INSTANTS = st.integers(instant.parse("1900-01-01T00:00:00Z"), instant.parse("2500-01-01T00:00:00Z"))


def at(text: str) -> int:
    return instant.parse(text)


@given(INSTANTS)
def test_text_and_parse_are_inverse(value):
    assert instant.parse(instant.text(value)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-03-12T09:30:00Z", 1773307800),
        ("2026-03-12t09:30:00z", 1773307800),
        ("2026-03-12T10:30:00+01:00", 1773307800),
        ("2026-03-12T04:00:00-05:30", 1773307800),
        ("2026-03-12T09:30:00-00:00", 1773307800),
        ("2026-03-12T09:30:00.999999Z", 1773307800),
        ("1969-12-31T23:59:59.9Z", -1),
        ("2038-01-19T03:14:08Z", 2**31),
        ("2024-02-29T00:00:00Z", 1709164800),
        ("9999-12-31T23:59:59Z", 253402300799),
    ],
)
def test_parse_reads_rfc_3339(text, expected):
    assert instant.parse(text) == expected


@pytest.mark.parametrize(
    "value",
    [
        "2026-02-31T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2026-03-12T09:30:00",
        "2026-03-12",
        "2026-03-12T09:30Z",
        "2026-03-12 09:30:00Z",
        "2026-03-12T09:30:00 01:00",
        "2026-03-12T09:30:00+0100",
        "2026-03-12T09:30:00+24:00",
        "2026-03-12T09:30:00+01:60",
        "2026-03-12T24:00:00Z",
        "2026-03-12T23:59:60Z",
        "2026-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "10000-01-01T00:00:00Z",
        "2026-03-12T09:30:00Z\n",
        " 2026-03-12T09:30:00Z",
        "٢٠٢٦-03-12T09:30:00Z",
        "2026-03-12T09:30:00.Z",
        "1773307800",
        "",
        1773307800,
        None,
        b"2026-03-12T09:30:00Z",
    ],
)
def test_parse_refuses_everything_else(value):
    with pytest.raises(ValueError):  # noqa: PT011
        instant.parse(value)


@given(st.text())
def test_parse_raises_only_value_error(value):
    with pytest.raises(ValueError):  # noqa: PT011
        instant.parse(value)


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [
        ("2026-03-12T09:30:00Z", 1, "2027-03-12T09:30:00Z"),
        ("2024-02-29T23:59:59Z", 1, "2025-02-28T23:59:59Z"),
        ("2024-02-29T00:00:00Z", 4, "2028-02-29T00:00:00Z"),
        ("2023-02-28T00:00:00Z", 1, "2024-02-28T00:00:00Z"),
        ("2026-03-12T09:30:00Z", -1, "2025-03-12T09:30:00Z"),
    ],
)
def test_years_later(start, count, expected):
    assert instant.text(instant.months_later(at(start), 12 * count)) == expected


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [
        ("2026-01-31T12:00:00Z", 1, "2026-02-28T12:00:00Z"),
        ("2026-12-15T00:00:00Z", 1, "2027-01-15T00:00:00Z"),
        ("2026-01-15T00:00:00Z", -1, "2025-12-15T00:00:00Z"),
    ],
)
def test_months_later(start, count, expected):
    assert instant.text(instant.months_later(at(start), count)) == expected


@pytest.mark.parametrize("call", [instant.text, lambda i: instant.months_later(i, 12), instant.next_month])
@pytest.mark.parametrize("value", [253402300800, -(10**20), 10**20])
def test_beyond_the_calendar_is_a_value_error(call, value):
    with pytest.raises(ValueError, match="years"):
        call(value)


def test_a_sum_that_leaves_the_calendar_is_a_value_error():
    with pytest.raises(ValueError, match="year"):
        instant.months_later(at("9999-01-01T00:00:00Z"), 12)


@given(INSTANTS)
def test_starts_hold_their_instant(value):
    day, month, following = instant.day_start(value), instant.month_start(value), instant.next_month(value)
    assert month <= day <= value < day + instant.DAY
    assert value < following
    then = datetime.fromtimestamp(value, UTC)
    assert instant.text(month) == f"{then:%Y-%m}-01T00:00:00Z"
    assert instant.month_start(following) == following
    assert instant.month_start(following - 1) == month


@pytest.mark.parametrize(
    ("value", "start", "following"),
    [
        ("2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
        ("2025-12-31T23:59:59Z", "2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
    ],
)
def test_months(value, start, following):
    assert instant.month_start(at(value)) == at(start)
    assert instant.next_month(at(value)) == at(following)


@pytest.mark.parametrize(
    ("at", "hours"),
    [
        ("2026-01-01T00:00:00Z", 0),
        ("2026-03-29T00:59:59Z", 0),
        ("2026-03-29T01:00:00Z", 1),
        ("2026-10-25T00:59:59Z", 1),
        ("2026-10-25T01:00:00Z", 0),
        ("0001-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59Z", 0),
    ],
)
def test_the_clocks_of_the_united_kingdom(at, hours):
    assert instant.uk_offset(instant.parse(at)) == hours * 3600
