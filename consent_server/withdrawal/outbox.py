"""Make the calls that withdrawals owe: messages to clients, revocations to issuers.

A call is leased, made outside any transaction, and settled. A dispatcher that dies leaves a lease that runs out; the
receiver is asked twice at worst, and both calls are idempotent (Message Delivery; RFC 7009).
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consent_server import audit, clock, store
from consent_server.store import connections, outbox, permissions

log = logging.getLogger("consent_server.outbox")

LEASE_S = 120
BATCH = 20
FIRST_DELAY_S = 5
LONGEST_DELAY_S = 600


@dataclass(frozen=True)
class OutboxParts:
    """How the two kinds of call are made. Both raise Undeliverable.

    `send(recipient, token)` posts a withdrawal message to an application; `revoke(connection row)` revokes at its issuer;
    `token_of(permission row)` makes its refresh token again.
    """

    send: Callable[[str, str], None]
    revoke: Callable[[Any], None]
    token_of: Callable[[Any], str]
    give_up_after: int


class Undeliverable(Exception):
    """One attempt failed; the message names the kind of failure and the host, never the token."""


def delay(attempts: int) -> int:
    """Seconds before the next attempt: doubling, capped, with a jitter of up to half so that queues do not march in step."""
    longest: int = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempts, 16))
    return longest // 2 + secrets.randbelow(longest // 2 + 1)


def dispatch(parts: OutboxParts) -> int:
    """Make every call that is due; answers how many were made successfully."""
    with store.writing() as c:
        owed = outbox.lease(c, clock.now(), LEASE_S, BATCH)
    return sum(_dispatch_one(parts, row) for row in owed)


def _dispatch_one(parts: OutboxParts, row: Any) -> bool:
    attempt = row.attempts + 1
    try:
        _call(parts, row)
    except Undeliverable as error:
        _failed(parts, row, attempt, str(error))
        return False
    except Exception as fault:
        # A fault of ours in one call (a key that is gone, say) must not hold up the calls behind it.
        log.exception("call %s to %s", row.id, row.recipient)
        _failed(parts, row, attempt, type(fault).__name__)
        return False
    with store.writing() as c:
        outbox.delivered(c, row.id, clock.now())
    if row.kind == "message":
        audit.event("message_sent", recipient=row.recipient, permission=row.subject, attempt=attempt)
    else:
        audit.event("revocation_sent", issuer=row.recipient, connection=row.subject, attempt=attempt)
    return True


def _call(parts: OutboxParts, row: Any) -> None:
    with store.reading() as c:
        subject = permissions.find(c, row.subject) if row.kind == "message" else connections.find(c, row.subject)
    if subject is None:
        raise Undeliverable(f"{row.subject} is not in the store")
    if row.kind == "message":
        parts.send(row.recipient, parts.token_of(subject))
    else:
        parts.revoke(subject)


def _failed(parts: OutboxParts, row: Any, attempt: int, error: str) -> None:
    at = clock.now()
    with store.writing() as c:
        if attempt < parts.give_up_after:
            outbox.failed(c, row.id, at + delay(row.attempts), error)
            return
        outbox.give_up(c, row.id, at, error)
    if row.kind == "message":
        audit.event("message_given_up", recipient=row.recipient, permission=row.subject, attempts=attempt, error=error)
    else:
        audit.event("revocation_given_up", issuer=row.recipient, connection=row.subject, attempts=attempt, error=error)
