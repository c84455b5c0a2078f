"""Retention: delete what is no longer needed, and nothing that may still be needed.

settings.storage.RetentionSettings says how long each thing is kept, and store.retention which rule applies to which
table; docs/data.md has every column.
"""

from collections.abc import Callable
from typing import Final

from consent_server import audit, clock, store
from consent_server.collect import period
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, months_later
from consent_server.settings.storage import RetentionSettings
from consent_server.store import audit_events, collecting, connections, evidence, intensity, retention
from consent_server.store.retention import RULES, RuleName

#: Permissions and connections that are deleted in one run, each in a transaction of its own, and accounts that are looked at.
#: What is due is looked up first, outside of these: on SQLite every other writer waits for a transaction that writes.
MOST: Final = 1000


def limit_of(rule: RuleName, kept: RetentionSettings, at: int) -> int | None:
    """Return the instant before which the time of a rule is over; None for one that no setting has."""
    if rule in ("register", "none"):
        return None
    count = int(getattr(kept, rule))
    return months_later(at, -count) if rule.endswith("_months") else at - count * DAY


def apply(kept: RetentionSettings) -> int:
    """Delete everything whose time is over; return how many rows."""
    at = clock.now()
    removed = _records(kept, at) + _accounts(kept, at)
    with store.writing() as c:
        gone = 0
        for table, rule in RULES.items():
            before = limit_of(rule.name, kept, at)
            if rule.alone and before is not None:
                gone += retention.forget_alone(c, table, before)
        for connection in connections.collected_before(c, months_later(at, -kept.collected_months)):
            gone += connections.forget_data(c, connection)
            connections.collect_anew(c, connection)
        if gone:
            audit_events.keep(c, audit.event("retention_applied", removed=gone))
    return removed + gone + _audit(kept, at)


def is_behind(kept: RetentionSettings) -> bool:
    """Return whether `apply`, which does so much at a time, has left something that is due."""
    at = clock.now()
    with store.reading() as c:
        return retention.is_any_due(c, months_later(at, -kept.records_months), months_later(at, -kept.accounts_months))


def _records(kept: RetentionSettings, at: int) -> int:
    before = months_later(at, -kept.records_months)
    with store.reading() as c:
        due = retention.records_due(c, before, MOST)
    return sum(_forget(retention.forget_record, subject, before) for subject in due)


def _accounts(kept: RetentionSettings, at: int) -> int:
    """Delete accounts that are due; look at another again when it can be, and a day later where a session keeps it."""
    before = months_later(at, -kept.accounts_months)
    with store.reading() as c:
        seen = retention.accounts_to_look_at(c, before, at, MOST)
    removed = sum(_forget(retention.forget_account, account, before) for account, used in seen.items() if used < before)
    with store.writing() as c:
        retention.saw_accounts(c, {account: used if used >= before else before + DAY for account, used in seen.items()})
    return removed


def _forget(forget: Callable[[store.Connection, str, int], int], subject: str, before: int) -> int:
    with store.writing() as c:
        gone = forget(c, subject, before)
        if gone:
            audit_events.keep(c, audit.event("record_deleted", subject=subject, rows=gone))
    return gone


def _audit(kept: RetentionSettings, at: int) -> int:
    """Delete audit events, a checkpoint's at a time, that are about no permission that is kept any more."""
    with store.reading() as c:
        oldest = retention.oldest_grant(c)
    # A day: what led to a grant was before it.
    before = min(at - kept.audit_days * DAY, at if oldest is None else oldest - DAY)
    removed = 0
    while True:
        with store.writing() as c:
            gone = audit_events.forget(c, before)
            if gone:
                audit_events.keep(c, audit.event("retention_applied", removed=gone))
        removed += gone
        if not gone:
            return removed


def forget_agreements(kept: RetentionSettings) -> None:
    """Delete, at a CAP, the evidence of connections that were agreed to and never made, when a session can make none of it."""
    before = clock.now() - kept.requests_days * DAY
    while True:
        with store.reading() as c:
            due = evidence.never_made_before(c, before, MOST)
        if not due:
            return
        with store.writing() as c:
            removed = evidence.forget_never_made(c, due)
            audit_events.keep(c, audit.event("retention_applied", removed=removed))


def forget_readings() -> None:
    """Delete, at a CAP, readings of months that are closed, and grid figures before the oldest month."""
    at = clock.now()
    over = at - period.revision_s()
    with store.writing() as c:
        removed = collecting.drop_readings(c, instant.month_start(over), over)
        removed += intensity.forget(c, period.first_month(at))
        if removed:
            audit_events.keep(c, audit.event("retention_applied", removed=removed))
