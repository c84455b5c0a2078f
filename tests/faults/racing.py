"""Several callers at once, with small pauses before their statements, so that they meet in every order."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from tests.faults.seeds import seeded

LONGEST_PAUSE_S = 0.001


def at_once(acts: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each act returns, when all start together on threads of their own. None may raise."""
    barrier = threading.Barrier(len(acts))
    returned: list[Any] = [None] * len(acts)
    raised: list[Exception] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            returned[number] = acts[number]()
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not raised, raised
    return returned


def loses(race: Callable[..., None], parties: Any, within: int) -> bool:
    """Whether a race fails when it is run up to `within` times."""
    for number in range(within):
        try:
            race(parties, seeded(number))
        except AssertionError:
            return True
    return False


@contextmanager
def pauses() -> Iterator[None]:
    """Before every second statement, whoever makes it, sleep for a moment."""

    def pause(*_: Any) -> None:
        if random.random() < 0.5:
            time.sleep(random.random() * LONGEST_PAUSE_S)

    sa.event.listen(sa.Engine, "before_cursor_execute", pause)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", pause)
