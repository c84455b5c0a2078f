"""The claim that names a permission's data sources, however many they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_server.tokens.data_sources import MOST, DataSources, has_form, series_and_number

NUMBERS = st.sets(st.integers(0, MOST - 1), min_size=1, max_size=200)


@given(NUMBERS, st.integers(0, MOST - 1))
def test_an_id_is_in_the_claim_or_it_is_not(numbers: set[int], other: int) -> None:
    ids = [f"a-_Z9.{number}" for number in sorted(numbers)]
    claim = DataSources.of(reversed(ids)).claim()
    assert has_form(claim)
    found = DataSources.from_claim(claim)
    assert list(found) == ids
    assert all(each in found for each in ids)
    assert (f"a-_Z9.{other}" in found) is (other in numbers)
    assert f"another.{ids[0].rpartition('.')[2]}" not in found


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "s", "s.", ".0", "s.00", "s.01", "s.-1", "s.+1", "s.1 ", "s.1\n", "s.0.0", "s.１", "s.٠", "s.1e1"),
        *(f"s.{MOST}", "s.99999", "s.100000", "s/0", "S.0", "s.0\x00", "a" * 33 + ".0"),
    ],
    ids=ascii,
)
def test_what_is_no_id_is_in_no_claim(text: str) -> None:
    found = DataSources("s", b"\xff" * (MOST // 8))
    assert "s.9" in found
    assert text not in found


def test_a_claim_is_of_one_series() -> None:
    assert not list(DataSources.of([]))
    with pytest.raises(ValueError, match="series"):
        DataSources.of(["a.0", "b.0"])
    with pytest.raises(ValueError, match="not the id"):
        series_and_number(f"a.{MOST}")


@pytest.mark.parametrize(("count", "longest"), [(1, 2), (170, 30), (1_000, 167), (MOST, 1667)])
def test_H09_the_claim_of_many_meters_is_short(count: int, longest: int) -> None:
    members = DataSources.of(f"series-of-16char.{number}" for number in range(count)).claim()["members"]
    assert len(members) <= longest
