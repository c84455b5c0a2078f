"""Run the jobs of one party, each at its own pace and on a thread of its own, until an event stops them.

Some jobs wait for other members' servers: a slow provider must not delay withdrawal messages or the
revocation list. Paces follow `clock`, which the sandbox steps.
"""

import gc
import logging
import threading
from collections.abc import Iterable
from contextvars import copy_context

from consent_server import audit, clock, store, traces
from consent_server.jobs.job import Job
from consent_server.refusal import Refusal
from consent_server.store import job_runs

log = logging.getLogger("consent_server.jobs")
TICK_S = 0.25
# For each job that is under way when `stop` is set. It leaves at most a lease, which expires.
GRACE_S = 1.5
WATCH_S = 5
#: New objects that are kept between two runs of the garbage collector over the youngest, and runs over one generation between
#: two over the next.
THRESHOLDS = (50_000, 20, 20)


class JobEnded(Exception):
    """The thread of a job has ended although nobody stopped it. The process must be started anew."""


def spare_garbage_collector() -> None:
    """Have the garbage collector pass over what is loaded by now, and look for cycles in what is new less often.

    A response of a provider becomes hundreds of thousands of objects, which all go when the last reference to them does. At
    Python's own thresholds (700, 10, 10) they were looked through again and again.
    """
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def run_once(job: Job) -> bool:
    """Run a job; return whether all of it succeeded. A job that fails is logged and tried again at its next turn.

    What failed at another party is no failure of the job, so its record does not mention it.
    """
    failed_acts = None
    token = audit.correlation_id.set(f"job-{job.name}")
    error = ""
    try:
        with traces.span(f"job {job.name}", "CONSUMER"):
            failed_acts = job.run()
    except Refusal as refusal:
        log.warning("%s: %s: %s", job.name, refusal.code, refusal.private)
        error = refusal.code
    except Exception as fault:
        log.exception("%s failed", job.name)
        error = type(fault).__name__
    try:
        with store.writing() as c:
            job_runs.record(c, job.name, clock.now(), not error, error)
    except Exception as fault:  # the job goes on; that it is not recorded is seen
        log.warning("%s: its run is not recorded: %s", job.name, fault)
    finally:
        audit.correlation_id.reset(token)
    return not error and not failed_acts


def work(jobs: Iterable[Job], stop: threading.Event) -> None:
    """Run each job when it is due, until `stop` is set. Each thread works in the caller's context (the application).

    Raise JobEnded.
    """
    threads = [
        threading.Thread(target=copy_context().run, args=(_work, job, stop), name=job.name, daemon=True) for job in jobs
    ]
    for thread in threads:
        thread.start()
    while not stop.wait(WATCH_S):
        ended = [thread.name for thread in threads if not thread.is_alive()]
        if ended and not stop.is_set():
            raise JobEnded(", ".join(ended))
    for thread in threads:
        thread.join(GRACE_S)


def _work(job: Job, stop: threading.Event) -> None:
    """Run one job, until `stop` is set. A clock that was stepped back does not make it wait longer."""
    due = 0
    while not stop.is_set():
        at, began = clock.now(), clock.ticks()
        if at >= due or due - at > job.every_s:
            run_once(job)
            # By the clock as the run found it: if that was stepped ahead meanwhile, the job is due again at once.
            due = at + int(clock.ticks() - began) + job.every_s
        stop.wait(TICK_S)
