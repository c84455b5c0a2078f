"""The jobs beside requests: each goes its own way, whatever the others wait for."""

import gc
import threading
from collections.abc import Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from flask import Flask

from consent_server import store
from consent_server.jobs import work
from consent_server.jobs.job import Job
from consent_server.refusal import Unavailable
from consent_server.store import job_runs
from consent_server.store.tables.processes import JobRun
from tests.database import new_database

SAID: ContextVar[str] = ContextVar("said", default="nothing")


@pytest.fixture(autouse=True)
def app(database_url: str) -> Iterator[Flask]:
    with new_database(database_url) as app:
        yield app


def test_a_job_that_waits_for_a_slow_server_holds_up_no_other() -> None:
    """A hostile provider must not be able to keep back withdrawal messages, or the revocation list."""
    stop, answers, ran = threading.Event(), threading.Event(), threading.Event()
    jobs = (
        Job("collect", 1, answers.wait),
        Job("failing", 1, lambda: 1 // 0),
        Job("outbox", 1, ran.set),
    )
    working = threading.Thread(target=copy_context().run, args=(work.work, jobs, stop))
    working.start()
    assert ran.wait(60)
    assert not answers.is_set()
    stop.set()
    answers.set()
    working.join(60)
    assert not working.is_alive()


def test_a_job_works_in_the_context_of_whoever_started_it() -> None:
    stop, found = threading.Event(), []
    token = SAID.set("the application")

    def job() -> None:
        found.append(SAID.get())
        stop.set()

    work.work((Job("one", 1, job),), stop)
    SAID.reset(token)
    assert found == ["the application"]


def test_S20_each_run_is_recorded_with_its_last_success_and_failure(held_clock: Any) -> None:
    outcomes: list[Exception | None] = [None, Unavailable("not now"), ZeroDivisionError(), None, None]

    def job() -> None:
        if outcome := outcomes.pop(0):
            raise outcome

    def run(after_s: int) -> JobRun:
        held_clock.step(after_s)
        work.run_once(Job("one", 1, job))
        with store.reading() as c:
            (only,) = job_runs.last(c).values()
        return only

    start = held_clock.instant
    assert run(0) == JobRun("one", start, True, "", start, None)
    assert run(1) == JobRun("one", start + 1, False, "temporarily_unavailable", start, start + 1)
    assert run(1) == JobRun("one", start + 2, False, "ZeroDivisionError", start, start + 2)
    assert run(1) == JobRun("one", start + 3, True, "", start + 3, start + 2)
    assert run(1).at == start + 3, "a job that goes on as before is not written down each second"


def test_S20_a_job_runs_though_its_run_cannot_be_recorded(app: Flask) -> None:
    with store.writing() as c:
        c.exec_driver_sql("DROP TABLE job_run")
    ran: list[int] = []
    assert work.run_once(Job("one", 1, lambda: ran.append(1)))
    assert ran == [1]


def test_S20_a_job_whose_thread_ends_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "WATCH_S", 0.01)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def dies() -> None:
        raise SystemExit

    jobs = (Job("well", 1, lambda: None), Job("collect", 1, dies))
    stop = threading.Event()
    with pytest.raises(work.JobEnded, match=r"^collect$"):
        work.work(jobs, stop)
    stop.set()


def test_what_is_loaded_is_left_alone_and_what_is_new_is_looked_through_seldom() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        gc.set_threshold(700, 10, 10)  # Python's own: another test may have run a worker in this process
        work.spare_garbage_collector()
        assert gc.get_threshold() > (700, 10, 10)
        assert gc.get_freeze_count() > frozen
    finally:
        gc.set_threshold(*before)
