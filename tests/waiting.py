"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable
from typing import Any


def until(question: Callable[[], Any], what: str, within_s: float = 60.0) -> Any:
    """The first true answer; `what` is said when there is none in time: long, for a machine that others use, too."""
    end = time.monotonic() + within_s
    while not (answer := question()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return answer
