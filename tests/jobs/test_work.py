"""The jobs beside requests: each goes its own way, whatever the others wait for."""

import threading
from contextvars import ContextVar

from consent_server.jobs import work
from tests.jobs.conftest import PlayedJob

SAID: ContextVar[str] = ContextVar("said", default="nothing")


def test_a_job_that_waits_for_a_slow_server_holds_up_no_other() -> None:
    """A hostile provider must not be able to keep back withdrawal messages, or the revocation list."""
    stop, answers, ran = threading.Event(), threading.Event(), threading.Event()
    jobs = (
        PlayedJob("collect", 1, answers.wait),
        PlayedJob("failing", 1, lambda: 1 / 0),
        PlayedJob("outbox", 1, ran.set),
    )
    working = threading.Thread(target=work.work, args=(jobs, stop))
    working.start()
    assert ran.wait(10)
    assert not answers.is_set()
    stop.set()
    answers.set()
    working.join(10)
    assert not working.is_alive()


def test_a_job_works_in_the_context_of_whoever_started_it() -> None:
    stop, found = threading.Event(), []
    token = SAID.set("the application")

    def job() -> None:
        found.append(SAID.get())
        stop.set()

    work.work((PlayedJob("one", 1, job),), stop)
    SAID.reset(token)
    assert found == ["the application"]
