"""When each job of `consent-server work` last ran, and how that ended."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.processes import JobRun

#: A job that runs every second or two, and ends as before, is recorded this often.
EVERY_S = 15

_run = table_of(JobRun)


def record(c: Connection, job: str, at: int, ok: bool, error: str = "") -> None:
    """Keep how a run ended. `error` says why it failed, without secrets."""
    before = rows.one(c, JobRun, sa.select(_run).where(_run.c.job == job))
    if before is not None and before.ok == ok and before.error == error and 0 <= at - before.at < EVERY_S:
        return
    succeeded = at if ok else before.succeeded if before else None
    failed = before.failed if ok and before else None if ok else at
    rows.put(c, JobRun(job, at, ok, error, succeeded, failed))


def last(c: Connection) -> dict[str, JobRun]:
    """Return the last run of each job, by its name."""
    return {run.job: run for run in rows.every(c, JobRun, sa.select(_run).order_by(_run.c.job))}
