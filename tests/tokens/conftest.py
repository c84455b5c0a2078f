import time

import pytest

from consent_server import clock
from consent_server.tokens import keys

NOON = 1_773_316_800  # 2026-03-12T12:00:00Z


class HeldClock:
    """The clock stands still at `at` until a test moves it."""

    def __init__(self):
        self.at = NOON

    def offset(self):
        return self.at - int(time.time())


@pytest.fixture
def held_clock():
    held = HeldClock()
    clock.step_by(held.offset)
    yield held
    clock.step_by(int)


@pytest.fixture
def signing_keys(tmp_path, held_clock):
    keys.make(tmp_path / "signing", NOON - 3600)
    return keys.SigningKeys(tmp_path / "signing")
