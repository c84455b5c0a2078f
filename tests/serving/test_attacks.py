"""Slow and hostile clients at both doors of a running party, with an honest client beside them (bench/attacks.py).

The fast tests make every attack at once with a few connections, and honest requests are answered meanwhile; the long ones
make each by itself with 500, and hold the figures that are promised.
"""

import time

import pytest

from bench import attacks
from tests.conftest import RunningSandbox

pytestmark = pytest.mark.xdist_group("sandbox")

DOORS = ("public", "mutual_tls")
EVERY = [
    (door, name) for door in DOORS for name in (*attacks.ATTACKS, *(attacks.REVOKED if door == "mutual_tls" else ()))
]


def door_of(sandbox: RunningSandbox, door: str) -> attacks.Target:
    return next(target for target in attacks.doors(sandbox.directory) if target.door == door)


@pytest.mark.parametrize("door", DOORS)
def test_H01_H02_H03_H04_all_of_them_at_once_do_not_hold_up_an_honest_client(
    sandbox: RunningSandbox, door: str
) -> None:
    target = door_of(sandbox, door)
    with attacks.under(target, attacks.of(target), 40, ramp_s=1):
        cost = attacks.measured(target, 2)
    assert (cost.unanswered, cost.faults) == (0, 0)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("door", "name"), EVERY)
def test_H01_H02_H03_H04_500_of_each_cost_an_honest_client_little(
    sandbox: RunningSandbox, door: str, name: str
) -> None:
    target = door_of(sandbox, door)
    after = []
    for _ in range(2):
        with attacks.under(target, [name], 500, ramp_s=5):
            cost = attacks.measured(target, 20)
        assert (cost.unanswered, cost.faults) == (0, 0)
        assert cost.p95 < 0.25, cost
        assert cost.cores < 0.5, cost
        time.sleep(5)
        after.append(attacks.memory_mib(attacks.workers(target)))
    # what the first attack left is used again by the second
    assert after[1] < 1.1 * after[0] + 5
