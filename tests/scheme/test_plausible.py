"""What a meter can have counted in half an hour, and the codes that it reports in place of a reading."""

import pytest

from consent_server.scheme.plausible import capacity, implausible, is_code, most_in_half_an_hour

KWH = 1000


@pytest.mark.parametrize(
    ("fuel", "value", "supply", "reason"),
    [
        ("electricity", 4_294_967.295 * KWH, None, "the register code 0xFFFFFFFF"),
        ("electricity", 2_147_483.647 * KWH, None, "the register code 0x7FFFFFFF"),
        ("electricity", 2_147_483.647, None, "the register code 0x7FFFFFFF"),
        ("electricity", 16_777.215 * KWH, None, "the register code 0xFFFFFF"),
        ("electricity", 8_590.017 * KWH, None, "more than the supply can carry"),
        ("electricity", 4_295.103 * KWH, None, "more than the supply can carry"),
        ("electricity", 3_900 * KWH, None, None),
        ("electricity", 69 * KWH, 69, None),
        ("electricity", 69 * KWH + 1, 69, "more than the supply can carry"),
        ("electricity", 5 * KWH, 0.5, None),
        ("gas", 16_777.215, None, "the register code 0xFFFFFF"),
        ("gas", 16_777.21, None, "more than the supply can carry"),
        ("gas", 3_250, None, None),
        ("gas", 16.5, 16, "more than the supply can carry"),
        ("gas", 0, 6, None),
    ],
)
def test_D1_a_value(fuel: str, value: float, supply: float | None, reason: str | None) -> None:
    assert implausible(fuel, value, most_in_half_an_hour(fuel, supply)) == reason


def test_D1_a_register_may_hold_a_code_too() -> None:
    assert is_code("gas", 16_777.215)
    assert not is_code("gas", 16_777.214)


@pytest.mark.parametrize(
    ("fuel", "text", "read"),
    [("electricity", "69", 69), ("electricity", "12.5", 12.5), ("gas", "u6", 6), ("gas", "G10", 16), ("gas", "40", 40)],
)
def test_a_capacity(fuel: str, text: str, read: float) -> None:
    assert capacity(fuel, text) == read


@pytest.mark.parametrize(
    ("fuel", "text"), [("electricity", "U6"), ("gas", ""), ("gas", "-1"), ("gas", "0"), ("gas", "٦")]
)
def test_no_capacity(fuel: str, text: str) -> None:
    with pytest.raises(ValueError, match="a capacity is"):
        capacity(fuel, text)
