"""Run the jobs of one party, each at its own pace, by the stepped clock, until told to stop."""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from consent_server import audit, clock
from consent_server.refusal import Refusal

log = logging.getLogger("consent_server.jobs")
TICK_S = 0.25


@dataclass(frozen=True)
class Job:
    """`run` is called every `every_s` seconds. It must be safe to run twice, and beside itself on another machine."""

    name: str
    every_s: int
    run: Callable[[], object]


def run_once(job: Job) -> bool:
    """Run a job and answer whether it went through. A job that fails is logged and tried again at its next turn."""
    token = audit.correlation_id.set(f"job-{job.name}")
    try:
        job.run()
    except Refusal as refusal:
        log.warning("%s: %s: %s", job.name, refusal.code, refusal.private)
        return False
    except Exception:
        log.exception("%s failed", job.name)
        return False
    finally:
        audit.correlation_id.reset(token)
    return True


def work(jobs: Iterable[Job], stop: threading.Event) -> None:
    """Run each job when it is due, until `stop` is set. A clock that was stepped back does not put a job to sleep."""
    due = dict.fromkeys(jobs, 0)
    while not stop.is_set():
        for job, instant in due.items():
            if stop.is_set():
                return
            at = clock.now()
            if at >= instant or instant - at > job.every_s:
                run_once(job)
                due[job] = clock.now() + job.every_s
        stop.wait(TICK_S)
