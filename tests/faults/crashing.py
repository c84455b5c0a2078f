"""Processes that are killed: an act runs in a fork of the test's process, which ends by SIGKILL and by nothing else."""

import itertools
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

#: A scene yields an act, gets what its process acknowledged (None: it was killed before), and judges what is left.
Scene = Generator[Callable[[], Any], tuple[Any] | None, None]


class Forked:
    """A process that runs `work`; `says` is its end of a pipe."""

    def __init__(self, work: Callable[[Callable[[Any], None]], None]) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(writing)
            self.says, self.said = os.fdopen(reading, "rb"), b""
            return
        try:
            work(lambda line: _write(writing, line))
        except BaseException:
            _write(writing, {"fault": traceback.format_exc()})
        finally:
            os._exit(0)

    def kill(self, after_lines: int, and_s: float) -> None:
        """Kill it a moment after it has said so much."""
        self.said = b"".join(self.says.readline() for _ in range(after_lines))
        time.sleep(and_s)
        os.kill(self.pid, signal.SIGKILL)

    def heard(self) -> tuple[list[Any], bool]:
        """What it has said by its end, and whether it was killed. A line that is not whole was not said."""
        with self.says:
            text = (self.said + self.says.read()).decode()
        _, status = os.waitpid(self.pid, 0)
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
        for line in lines:
            assert not (isinstance(line, dict) and "fault" in line), line["fault"]
        return lines, os.WIFSIGNALED(status)


def _write(pipe: int, line: Any) -> None:
    os.write(pipe, json.dumps(line).encode() + b"\n")


@contextmanager
def _killed_at(point: int) -> Iterator[Callable[[], None]]:
    """Kill this process before its `point`th statement or commit, or at the call of what is yielded."""
    reached = itertools.count(1)

    def here(*_: Any) -> None:
        if next(reached) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    for event in ("before_cursor_execute", "commit"):
        sa.event.listen(sa.Engine, event, here)
    yield here


@contextmanager
def broken_at(point: int, error: Exception | None = None) -> Iterator[list[None]]:
    """Lose the database once, or meet another error, before the `point`th statement or commit.

    What is yielded has a member when that happened.
    """
    reached = itertools.count(1)
    happened: list[None] = []

    def here(*_: Any) -> None:
        if next(reached) == point:
            happened.append(None)
            raise error or sa.exc.OperationalError("", {}, ConnectionError())

    events = ("before_cursor_execute", "commit")
    for event in events:
        sa.event.listen(sa.Engine, event, here)
    try:
        yield happened
    finally:
        for event in events:
            sa.event.remove(sa.Engine, event, here)


def acknowledged(act: Callable[[], Any], point: int) -> tuple[Any] | None:
    """What `act` returned in a process that is killed at a point, or None if it was killed before it said so.

    The points are the moments before each statement and each commit, and the one after all of them.
    """

    def work(say: Callable[[Any], None]) -> None:
        with _killed_at(point) as here:
            answer = act()
            here()
            say(answer)

    said, killed = Forked(work).heard()
    assert killed == (not said)
    return (said[0],) if said else None


def killed_at_each_point(scene: Callable[[], Scene], close: Callable[[], None], step: int = 1) -> int:
    """Play a scene with its act killed at each `step`th point, until none is reached. Return the last point that was.

    `close` closes this process's connections to the database, which a fork must not inherit.
    """
    for point in itertools.count(1, step):
        playing = scene()
        act = next(playing)
        close()
        answer = acknowledged(act, point)
        try:
            playing.send(answer)
        except StopIteration:
            pass
        except AssertionError as error:
            error.add_note(f"killed at point {point}; acknowledged: {answer}")
            raise
        if answer is not None:
            return point - step
    raise AssertionError
