"""Retention: delete what is no longer needed, and nothing that may still be asked for.

A permission's own row, its evidence and its audit events stay for 13 months after its end (Permission Records) and are
then deleted by an operator's decision, not by this job.
"""

from consent_server import audit, clock, store
from consent_server.collect import gather, period
from consent_server.receipts import reminders
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, months_later
from consent_server.store import (
    audit_events,
    codes,
    collecting,
    connections,
    intensity,
    journeys,
    limits,
    notices,
    passkeys,
    probes,
    receipt_addresses,
    requests,
    served,
    sessions,
)

KEEP_REQUESTS_S = DAY
KEEP_SESSIONS_S = DAY
KEEP_LIMITS_S = 2 * DAY
KEEP_PASSKEYS_S = 30 * DAY  # after their removal, for the mail about it
KEEP_ADDRESSES_S = reminders.LATEST_DAYS * DAY  # until then a mail about the end may come to be owed
#: What service levels are reported from, and what was announced about it. Nothing in it is personal.
KEEP_STATUS_MONTHS = 13
# Perseus policy data-retention (draft of 24 November 2025): six months after the data was collected.
KEEP_COLLECTED_MONTHS = 6


def apply() -> int:
    """Delete requests, journeys, codes, sessions, counts, addresses of receipts, collected data, sums of probes, notices
    and counts of requests that are too old; return how many rows."""
    at = clock.now()
    with store.writing() as c:
        removed = (
            journeys.forget(c, at - KEEP_REQUESTS_S)
            + requests.forget(c, at - KEEP_REQUESTS_S)
            + codes.forget(c, at - KEEP_REQUESTS_S)
            + sessions.forget(c, at - KEEP_SESSIONS_S)
            + limits.forget(c, at - KEEP_LIMITS_S)
            + passkeys.forget(c, at - KEEP_PASSKEYS_S, at - KEEP_REQUESTS_S)
            + receipt_addresses.forget(c, at - KEEP_ADDRESSES_S)
            + probes.forget_days(c, months_later(at, -KEEP_STATUS_MONTHS))
            + notices.forget(c, months_later(at, -KEEP_STATUS_MONTHS))
            + served.forget(c, months_later(at, -KEEP_STATUS_MONTHS))
        )
        for connection in connections.collected_before(c, months_later(at, -KEEP_COLLECTED_MONTHS)):
            removed += connections.forget_data(c, connection)
            connections.collect_anew(c, connection)
        if removed:
            audit_events.keep(c, audit.event("retention_applied", removed=removed))
    return removed


def forget_readings() -> int:
    """Delete, at a CAP, readings of months that are closed, and grid figures before the oldest month; return how many."""
    at = clock.now()
    over = at - gather.revision_s()
    with store.writing() as c:
        removed = collecting.drop_readings(c, instant.month_start(over), over)
        removed += intensity.forget(c, period.first_month(at))
        if removed:
            audit_events.keep(c, audit.event("retention_applied", removed=removed))
    return removed
