"""Make the calls that follow withdrawals: messages to clients, revocations to issuers.

A call is leased, made outside any transaction, and settled. A dispatcher that dies leaves a lease that expires; the
receiver is called twice at worst, and both calls are idempotent (Message Delivery; RFC 7009).
"""

import logging
import secrets

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.outbound.deliver import deliver
from consent_server.outbound.errors import Unreachable
from consent_server.scheme import messages
from consent_server.store import connections, outbox, permissions
from consent_server.store.tables import OwedCall
from consent_server.tokens import refresh_token

log = logging.getLogger("consent_server.outbox")

LEASE_S = 120
BATCH = 20
FIRST_DELAY_S = 5
LONGEST_DELAY_S = 600


class NotInStore(Exception):
    """The permission or connection that a call is about is not kept any more."""


def delay(attempts: int) -> int:
    """Return the seconds before the next attempt: doubled each time, up to a limit, less a jitter of up to half of it."""
    longest: int = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempts, 16))
    return longest // 2 + secrets.randbelow(longest // 2 + 1)


def dispatch() -> int:
    """Make every call that is due; return how many were made successfully."""
    with store.writing() as c:
        owed = outbox.lease(c, clock.now(), LEASE_S, BATCH)
    return sum(_dispatch_one(row) for row in owed)


def _dispatch_one(row: OwedCall) -> bool:
    attempt = row.attempts + 1
    try:
        if row.kind == "message":
            _send_message(row)
        else:
            _revoke(row)
    except (NotInStore, Unreachable) as error:
        _failed(row, attempt, str(error))
        return False
    except Exception as fault:
        # A fault of ours in one call (a key that is gone, say) must not hold up the calls behind it.
        log.exception("call %s to %s", row.id, row.recipient)
        _failed(row, attempt, type(fault).__name__)
        return False
    with store.writing() as c:
        outbox.delivered(c, row.id, clock.now())
    if row.kind == "message":
        audit.event("message_sent", recipient=row.recipient, permission=row.subject, attempt=attempt)
    else:
        audit.event("revocation_sent", issuer=row.recipient, connection=row.subject, attempt=attempt)
    return True


def _send_message(owed: OwedCall) -> None:
    """Send the message that a permission was withdrawn to its client, at the address that the Directory has now."""
    here = current()
    with store.reading() as c:
        permission = permissions.find(c, owed.subject)
    if permission is None:
        raise NotInStore(f"{owed.subject} is not in the store")
    token = refresh_token.text(here.refresh_keys, permission.refresh_version, permission.refresh_id)
    scheme = here.settings.scheme
    message = messages.withdrawal(scheme.trust_framework, scheme.withdrawal_subjects[0], token)
    deliver(here.directory, here.session, owed.recipient, message)


def _revoke(owed: OwedCall) -> None:
    """Give the token of a connection that has ended back to its issuer (RFC 7009)."""
    here = current()
    with store.reading() as c:
        connection = connections.find(c, owed.subject)
    if connection is None:
        raise NotInStore(f"{owed.subject} is not in the store")
    token = here.sealer.unseal(connection.refresh_sealed)
    here.upstream.revoke(here.upstream.metadata(connection.issuer), token)


def _failed(row: OwedCall, attempt: int, error: str) -> None:
    at = clock.now()
    with store.writing() as c:
        if attempt < current().settings.jobs.give_up_after:
            outbox.failed(c, row.id, at + delay(row.attempts), error)
            return
        outbox.give_up(c, row.id, at, error)
    if row.kind == "message":
        audit.event("message_given_up", recipient=row.recipient, permission=row.subject, attempts=attempt, error=error)
    else:
        audit.event("revocation_given_up", issuer=row.recipient, connection=row.subject, attempts=attempt, error=error)
