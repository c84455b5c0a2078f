"""Make the calls that follow withdrawals: messages to clients, revocations to issuers.

The calls to one recipient are made one after the other (outbound.fair_pool), with a pause after one fails.
Some of them are leased together, made outside any transaction, and settled together while the lease is still ours. A dispatcher
that dies leaves a lease that expires; the receiver gets those calls twice at worst, and both kinds are idempotent (Message
Delivery; RFC 7009).
"""

import logging
from collections.abc import Callable
from functools import cache, partial
from typing import Final

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.outbound.back_off import back_off
from consent_server.outbound.deliver import address_of, deliver
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.outbound.fair_pool import FairPool, Tally
from consent_server.scheme import messages
from consent_server.store import audit_events, connections, outbox, permissions
from consent_server.store.tables.owed import OwedCall
from consent_server.tokens import refresh_token

log = logging.getLogger("consent_server.outbox")

LEASE_S: Final = 120
#: Calls of one turn. They share a look-up, a handshake and two transactions; of a dispatcher that dies, as many are made again.
BATCH: Final = 50
#: A recipient whose turn takes longer counts as unreliable.
SLOW_S: Final = 5
#: No further call of a turn is begun after this: whoever takes many calls, and each of them in time, is not slow.
TURN_S: Final = SLOW_S - 1
RUN_S: Final = 30
FIRST_DELAY_S: Final = 5
LONGEST_DELAY_S: Final = 300
#: What a recipient says about one call, and not about itself: the next call may go better.
_ABOUT_THE_CALL: Final = frozenset(range(400, 500)) - {408, 425, 429}


class NotInStore(Exception):
    """The permission or connection that a call is about is not kept any more."""


def pool() -> FairPool:
    """Return the pool of a dispatcher. A call takes a minute at most: one look-up of the address, and one message."""
    return FairPool(most=32, most_unreliable=8, slow_s=SLOW_S)


def delay(attempts: int) -> int:
    """Return the seconds before the next attempt."""
    return back_off(attempts, FIRST_DELAY_S, LONGEST_DELAY_S)


def dispatch(shared: FairPool | None = None) -> Tally:
    """Make calls that are due until none is left, for RUN_S seconds at most; return how many succeeded and failed."""
    tally = Tally()
    (shared or pool()).serve(_recipients, partial(_turn, tally), RUN_S)
    return tally


def _recipients() -> list[str]:
    with store.reading() as c:
        return outbox.recipients(c, clock.now())


def _turn(tally: Tally, recipient: str, failures: int) -> int:
    """Make calls to one recipient until it fails; return the seconds for which it is left alone (see `FairPool`)."""
    at = clock.now()
    # Asked once a turn, and again after a fault: a recipient may have moved.
    address = cache(partial(address_of, current().directory, recipient))
    with store.writing() as c:
        owed = outbox.lease(c, recipient, at, LEASE_S, BATCH)
        refresh_ids = permissions.refresh_ids(c, (call.subject for call in owed if call.kind == "message"))
    made: list[OwedCall] = []
    failed: list[tuple[OwedCall, Exception, int]] = []
    pause_s = 0
    while owed and not pause_s and clock.now() - at < TURN_S:
        row = owed.pop(0)
        fault = _fault(row, refresh_ids.get(row.subject), address)
        tally.add(fault is None)
        if fault is None:
            made.append(row)
            continue
        address.cache_clear()
        pause_s = _pause(fault, failures)
        failed.append((row, fault, pause_s))
    with store.writing() as c:
        _made(c, made)
        outbox.release(c, owed)
        for row, fault, about_all_s in failed:
            _failed(c, row, fault, about_all=about_all_s > 0)
    if pause_s:
        log.warning("%s: %s; it is left alone for %s s", recipient, failed[-1][1], pause_s)
    return pause_s


def _pause(fault: Exception, failures: int) -> int:
    """Return for how long the recipient is left alone; 0 when the fault is ours, or about this call alone."""
    if not isinstance(fault, Unreachable) or (isinstance(fault, BadAnswer) and fault.status in _ABOUT_THE_CALL):
        return 0
    return max(delay(failures), fault.retry_after)


def _fault(row: OwedCall, refresh: tuple[int, str] | None, address: Callable[[], str]) -> Exception | None:
    """Make one call; return why it failed, None when it did not. `refresh` is what makes the token of a message."""
    try:
        if row.kind == "message":
            _send_message(row, refresh, address)
        else:
            _revoke(row)
    except (NotInStore, Unreachable) as error:
        return error
    except Exception as fault:
        # A fault of ours in one call (a key that is gone, say) must not hold up the calls behind it.
        log.exception("call %s to %s", row.id, row.recipient)
        return fault
    return None


def _made(c: store.Connection, calls: list[OwedCall]) -> None:
    outbox.delivered(c, calls, clock.now())
    audit_events.keep(c, *map(_sent, calls))


def _sent(row: OwedCall) -> dict[str, object]:
    attempt = row.attempts + 1
    if row.kind == "message":
        return audit.event("message_sent", recipient=row.recipient, permission=row.subject, attempt=attempt)
    return audit.event("revocation_sent", issuer=row.recipient, connection=row.subject, attempt=attempt)


def _send_message(owed: OwedCall, refresh: tuple[int, str] | None, address: Callable[[], str]) -> None:
    """Send the message that a permission was withdrawn to its client."""
    if refresh is None:
        raise NotInStore(f"{owed.subject} is not in the store")
    here = current()
    token = refresh_token.text(here.refresh_keys, *refresh)
    scheme = here.settings.scheme
    message = messages.withdrawal(scheme.trust_framework, scheme.withdrawal_subjects[0], token)
    deliver(here.session, address(), message)


def _revoke(owed: OwedCall) -> None:
    """Give the token of a connection that has ended back to its issuer (RFC 7009)."""
    here = current()
    with store.reading() as c:
        connection = connections.find(c, owed.subject)
    if connection is None:
        raise NotInStore(f"{owed.subject} is not in the store")
    token = here.sealer.unseal(connection.refresh_sealed)
    here.upstream.revoke(here.upstream.metadata(connection.issuer), token)


def _failed(c: store.Connection, row: OwedCall, fault: Exception, *, about_all: bool) -> None:
    """Put off a call that failed, or give it up once it is owed for too long.

    With `about_all` the fault is its recipient's: the recipient's other calls that are owed for too long are given up as well.
    """
    at = clock.now()
    error = str(fault) if isinstance(fault, NotInStore | Unreachable) else type(fault).__name__
    wait_s = max(delay(row.attempts), fault.retry_after if isinstance(fault, Unreachable) else 0)
    too_old = at - current().settings.jobs.give_up_after_s
    if row.created > too_old:
        outbox.failed(c, row, at + wait_s, error)
        return
    gone = [row._replace(attempts=row.attempts + 1)] if outbox.give_up(c, row, at, error) else []
    if about_all:
        gone += outbox.give_up_older(c, row.recipient, too_old, at, error)
    audit_events.keep(c, *(_given_up(each, error) for each in gone))


def _given_up(row: OwedCall, error: str) -> dict[str, object]:
    common = {"attempts": row.attempts, "error": error}
    if row.kind == "message":
        return audit.event("message_given_up", recipient=row.recipient, permission=row.subject, **common)
    return audit.event("revocation_given_up", issuer=row.recipient, connection=row.subject, **common)
