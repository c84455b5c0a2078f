"""What the journeys ask of a person, walked through a sandbox: they must not grow (docs/journey.md)."""

from dataclasses import dataclass

import pytest

from bench import journey
from tests.conftest import RunningSandbox

pytestmark = pytest.mark.xdist_group("sandbox")

LARGEST_PAGE = 40_000


@dataclass(frozen=True)
class Limits:
    pages: int
    words: int
    texts: int
    ticks: int
    codes: int


@pytest.mark.parametrize(
    ("walk", "sme", "limits"),
    [
        pytest.param(journey.bank_starts, "not_ready", Limits(9, 1100, 1, 2, 1), id="the bank starts"),
        pytest.param(journey.provider_starts, "gas_only", Limits(10, 1250, 2, 3, 1), id="the CAP starts"),
        pytest.param(journey.another_provider, "gas_only", Limits(2, 500, 1, 1, 0), id="a CAP that is not ours"),
    ],
)
def test_no_journey_grows(sandbox: RunningSandbox, walk: journey.Walk, sme: str, limits: Limits) -> None:
    count = walk(sandbox.manifest, sme)
    counted = Limits(len(count.pages), count.words, count.texts, count.ticks, count.codes)
    for name in ("pages", "words", "texts", "ticks", "codes"):
        assert getattr(counted, name) <= getattr(limits, name), f"{name}:\n{count.table()}"
    assert count.by_hand == 0
    assert max(page.size for page in count.pages) <= LARGEST_PAGE
