"""One job's loop: its own pace, by a clock that may be stepped, whatever fails, until it is told to stop."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from consent_server import audit, clock
from consent_server.jobs import work as loop
from consent_server.jobs.job import Job
from consent_server.jobs.work import run_once
from consent_server.refusal import Unavailable

DAY = 86400

pytestmark = pytest.mark.usefixtures("app")


class Rounds:
    """A stop event whose wait is the moment between two rounds: a test says what happens there; then it is set."""

    def __init__(self, *between: Callable[[], Any]) -> None:
        self._between = list(between)
        self._set = False
        self.waited: list[float] = []

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float) -> None:
        self.waited.append(timeout)
        if self._between:
            self._between.pop(0)()
        else:
            self._set = True


def run(job: Job, *between: Callable[[], Any]) -> Rounds:
    rounds = Rounds(*between)
    loop._work(job, rounds)  # type: ignore[arg-type]
    return rounds


@pytest.fixture
def at(held_clock: Any) -> Callable[[], int]:
    """Seconds since the test began."""
    start = held_clock.instant
    return lambda: int(held_clock.instant - start)


@pytest.fixture
def second(held_clock: Any) -> Callable[[], None]:
    return lambda: held_clock.step(1)


@pytest.mark.parametrize(("every_s", "ran"), [(1, [*range(11)]), (2, [0, 2, 4, 6, 8, 10]), (7, [0, 7]), (60, [0])])
def test_a_job_runs_at_once_and_then_at_its_own_pace(
    at: Callable[[], int], second: Callable[[], None], every_s: int, ran: list[int]
) -> None:
    found: list[int] = []
    run(Job("job", every_s, lambda: found.append(at())), *[second] * 10)
    assert found == ran


def test_a_job_that_took_long_is_due_a_full_interval_after_its_end(
    held_clock: Any, at: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "ticks", at)
    ran: list[int] = []

    def slow() -> None:
        ran.append(at())
        held_clock.step(60)

    run(Job("slow", 10, slow), lambda: None, lambda: held_clock.step(10))
    assert ran == [0, 70]


def test_a_clock_that_is_stepped_during_a_run_makes_the_job_due_again(held_clock: Any, at: Callable[[], int]) -> None:
    ran: list[int] = []

    def stepped() -> None:
        ran.append(at())
        if len(ran) == 1:
            held_clock.step(400 * DAY)

    run(Job("hourly", 3600, stepped), *[lambda: None] * 3)
    assert ran == [0, 400 * DAY]


@pytest.mark.parametrize("step", [400 * DAY, -400 * DAY, -1], ids=["forwards", "backwards", "backwards-a-little"])
def test_a_stepped_clock_puts_no_job_to_sleep(held_clock: Any, at: Callable[[], int], step: int) -> None:
    ran: list[int] = []
    run(
        Job("hourly", 3600, lambda: ran.append(at())),
        lambda: None,
        lambda: held_clock.step(step),
        *[lambda: None] * 3,
    )
    assert ran == [0, step], "once after the step, and not over and over"


def test_a_step_back_makes_no_job_wait_longer_than_its_interval(
    held_clock: Any, at: Callable[[], int], second: Callable[[], None]
) -> None:
    ran: list[int] = []
    run(Job("job", 10, lambda: ran.append(at())), *[second] * 7, lambda: held_clock.step(-5), *[second] * 9)
    assert ran == [0, 10]


@pytest.mark.parametrize(
    "fault", [RuntimeError("boom"), Unavailable("the Directory is down")], ids=["fault", "refusal"]
)
def test_a_failing_job_is_logged_and_has_its_next_turn(
    at: Callable[[], int], second: Callable[[], None], caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    ran: list[int] = []

    def fails() -> None:
        ran.append(at())
        raise fault

    run(Job("breaking", 2, fails), second, second)
    assert ran == [0, 2]
    assert caplog.text.count("breaking") >= 2
    assert str(fault) in caplog.text


def test_waits_are_short_so_that_a_step_of_the_clock_is_noticed(held_clock: Any) -> None:
    assert run(Job("job", 3600, lambda: None)).waited == [loop.TICK_S]
    assert loop.TICK_S < 1


def test_a_failing_job_stops_no_other_and_the_stop_event_ends_them_all(
    monkeypatch: pytest.MonkeyPatch, held_clock: Any
) -> None:
    monkeypatch.setattr(loop, "TICK_S", 60)
    stop, first, second = threading.Event(), threading.Event(), threading.Event()
    jobs = [
        Job("first", 1, first.set),
        Job("failing", 1, lambda: 1 // 0),
        Job("second", 1, second.set),
    ]
    worker = threading.Thread(target=copy_context().run, args=(loop.work, jobs, stop))
    worker.start()
    assert first.wait(60)
    assert second.wait(60)
    stop.set()
    worker.join(60)
    assert not worker.is_alive(), "a wait of a minute ends when it is told to stop"


def test_a_worker_that_is_told_to_stop_first_does_nothing() -> None:
    stop, ran = threading.Event(), threading.Event()
    stop.set()
    loop.work([Job("job", 1, ran.set)], stop)
    assert not ran.is_set()


def test_run_once_says_whether_it_went_through() -> None:
    before = audit.correlation_id.get()
    seen: list[str] = []
    assert run_once(Job("good", 1, lambda: seen.append(audit.correlation_id.get())))
    assert seen == ["job-good"], "audit lines of a job name it"
    assert not run_once(Job("bad", 1, lambda: 1 // 0))
    assert audit.correlation_id.get() == before
