"""C25: how long a refusal takes does not tell an unknown token from another client's or an ended one."""

import random
import time
from typing import Any

import pytest


def told_apart(one: list[int], other: list[int]) -> float:
    """The chance that a sample of `one` is shorter than one of `other`, or the other way round; 0.5 says nothing."""
    ranked = sorted([(value, False) for value in one] + [(value, True) for value in other])
    above = smaller = 0
    for _, is_other in ranked:
        if is_other:
            above += smaller
        else:
            smaller += 1
    auc = above / (len(one) * len(other))
    return max(auc, 1 - auc)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(1200)
def test_C25_ten_thousand_samples_of_each(issuer: Any) -> None:
    """CPU time of refused refreshes, in an order that nobody chose.

    Text that we never issued is told apart by its keyed digest before any look-up, and may be: whoever sends it made it up.
    """
    ended = issuer.tokens(sme="bolts")["refresh_token"]
    issuer.post("/revoke", {"token": ended})
    others = issuer.tokens(issuer.clients["cap2"])["refresh_token"]
    found: dict[str, list[int]] = {others: [], ended: []}
    bodies = {issuer.refresh(ended[:-2] + "AA").text[:-30]}
    order = [others, ended] * 10_000
    random.Random(25).shuffle(order)
    for token in order:
        began = time.process_time_ns()
        answer = issuer.refresh(token)
        found[token].append(time.process_time_ns() - began)
        bodies.add(answer.text[:-30])
    assert len(bodies) == 1, "all but the correlation id is the same"
    assert told_apart(found[others][50:], found[ended][50:]) <= 0.55


def test_what_the_measure_says() -> None:
    assert told_apart([1, 2, 3], [4, 5, 6]) == told_apart([4, 5, 6], [1, 2, 3]) == 1
    assert told_apart([1, 4, 5, 8], [2, 3, 6, 7]) == 0.5
