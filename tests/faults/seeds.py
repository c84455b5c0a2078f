"""The seed of this run: random, printed by each test that uses it, and given again with CONSENT_FAULTS_SEED."""

import os
import random
import secrets
from typing import Final

SEED: Final = int(os.environ.get("CONSENT_FAULTS_SEED") or secrets.randbelow(10**9))


def seeded(number: int) -> random.Random:
    """The random numbers of the `number`th trial of this run."""
    print(f"CONSENT_FAULTS_SEED={SEED}: trial {number}")
    return random.Random(f"{SEED} {number}")
