"""Retention: what is no longer needed is deleted, and nothing that someone may still ask for.

A permission's own row, its evidence and its audit events stay for 13 months after its end (Permission Records) and are
then deleted by an operator's decision, not by this job.
"""

from consent_server import audit, clock, store
from consent_server.scheme.instant import DAY
from consent_server.store import codes, journeys, limits, requests, sessions

KEEP_REQUESTS_S = DAY
KEEP_SESSIONS_S = DAY
KEEP_LIMITS_S = 2 * DAY


def apply() -> int:
    """Delete requests, journeys, codes, sessions and counts whose time has passed; answers how many rows went."""
    at = clock.now()
    with store.writing() as c:
        removed = (
            journeys.forget(c, at - KEEP_REQUESTS_S)
            + requests.forget(c, at - KEEP_REQUESTS_S)
            + codes.forget(c, at - KEEP_REQUESTS_S)
            + sessions.forget(c, at - KEEP_SESSIONS_S)
            + limits.forget(c, at - KEEP_LIMITS_S)
        )
    if removed:
        audit.event("retention_applied", removed=removed)
    return removed
