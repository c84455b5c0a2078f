"""The seed of this run, printed by each test that uses it: CONSENT_FAULTS_SEED, of which `make test-long` has a new one.

CONSENT_FAULTS_SHARE=0.1 runs a tenth of what the long set runs.
"""

import os
import random
from typing import Any, Final

import pytest

SEED: Final = int(os.environ.get("CONSENT_FAULTS_SEED", "1"))


def seeded(number: int) -> random.Random:
    """The random numbers of the `number`th trial of this run."""
    print(f"CONSENT_FAULTS_SEED={SEED}: trial {number}")
    return random.Random(f"{SEED} {number}")


def many(count: int, timeout_s: int = 3600) -> Any:
    """How often a test runs in the long set, as the value of its parameter."""
    share = float(os.environ.get("CONSENT_FAULTS_SHARE", "1"))
    marks = [pytest.mark.long, pytest.mark.timeout(timeout_s)]
    return pytest.param(max(1, round(count * share)), marks=marks, id=str(count))
