"""Run the jobs of one party, each at its own pace and on a thread of its own, by the stepped clock, until told to stop.

A thread of its own, since some jobs wait for others' servers: a provider that answers slowly must not hold up the
withdrawal messages that we owe, nor the revocation list.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass

from consent_server import audit, clock
from consent_server.refusal import Refusal

log = logging.getLogger("consent_server.jobs")
TICK_S = 0.25
# For each job that is under way when it is told to stop. What it leaves behind is a lease, and that runs out.
GRACE_S = 1.5


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
    """Run each job when it is due, until `stop` is set. Each thread works in the caller's context (the application)."""
    threads = [
        threading.Thread(target=copy_context().run, args=(_work, job, stop), name=job.name, daemon=True) for job in jobs
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(GRACE_S)


def _work(job: Job, stop: threading.Event) -> None:
    """One job, until `stop` is set. A clock that was stepped back does not put it to sleep."""
    due = 0
    while not stop.is_set():
        at = clock.now()
        if at >= due or due - at > job.every_s:
            run_once(job)
            due = clock.now() + job.every_s
        stop.wait(TICK_S)
