"""Withdraw a permission or a connection, with all that rests on it, in one transaction.

Withdrawal of Permission: the tokens die first, and the messages that follow are committed together with their death. A
dependent falls when the last thing that it rested on has fallen: emissions worked out from two EDPs stay permitted while
one of them still is.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from consent_server import audit, clock, store
from consent_server.scheme.permission import Act, State, after
from consent_server.store import audit_events, connections, links, outbox, permissions

WITHDRAWN = str(after(State.GRANTED, Act.WITHDRAW))


@dataclass(frozen=True)
class Withdrawal:
    """Who withdrew, where, and in which words it is kept.

    `already_told` names the party that asked: the client of a permission, or the issuer of a connection. It gets no message
    about what it said itself.
    """

    by: str
    where: str
    why: str
    already_told: str = ""


def withdraw(subject: str, withdrawal: Withdrawal) -> list[str]:
    """Withdraw the permission or connection with this id; answers the ids of everything that fell, the subject first.

    An empty list means that the subject is unknown or had ended before. The clock is read before the rows are.
    """
    at = clock.now()
    with store.writing() as c:
        return fell(c, subject, withdrawal, at)


def fell(c: Any, subject: str, withdrawal: Withdrawal, at: int) -> list[str]:
    """The same inside a transaction that is already open."""
    if not _end(c, subject, withdrawal, at):
        return []
    fallen = [subject]
    for below, support in _falling(c, subject, at).items():
        because = replace(withdrawal, why=f"rested on {support}", already_told="")
        if _end(c, below, because, at):
            fallen.append(below)
    return fallen


def _falling(c: Any, subject: str, at: int) -> dict[str, str]:
    """What falls with a subject that has ended, the nearest first, each with the support that took it along.

    That is everything below which does not rest, by whatever way, on something that lives on its own. Members of a cycle that
    only rest on each other fall together.
    """
    below: dict[str, str] = {}
    waiting = deque([subject])
    while waiting:
        support = waiting.popleft()
        for dependent in links.dependents(c, support):
            if dependent != subject and dependent not in below and _lives(c, dependent, at):
                below[dependent] = support
                waiting.append(dependent)
    standing = deque(
        dependent
        for dependent in below
        if any(_lives(c, other, at) for other in links.supports(c, dependent) if other not in below)
    )
    while standing:
        stands = standing.popleft()
        if below.pop(stands, None) is not None:
            standing.extend(links.dependents(c, stands))
    return below


def _end(c: Any, subject: str, withdrawal: Withdrawal, at: int) -> bool:
    """Whether this call ended it; not when it is unknown, or had ended before."""
    return _end_permission(c, subject, withdrawal, at) or _end_connection(c, subject, withdrawal, at)


def _lives(c: Any, subject: str, at: int) -> bool:
    row = permissions.find(c, subject) or connections.find(c, subject)
    return row is not None and row.ended is None and row.expires > at


def _end_permission(c: Any, subject: str, withdrawal: Withdrawal, at: int) -> bool:
    row = permissions.find(c, subject)
    ending = {"by": withdrawal.by, "where": withdrawal.where, "why": withdrawal.why}
    if row is None or not permissions.end(c, subject, at=at, ended_as=WITHDRAWN, **ending):
        return False
    if row.redeemed is not None and withdrawal.already_told != row.client_id:
        # A client that never redeemed its code holds no token that a message could quote.
        outbox.add(c, kind="message", subject=subject, recipient=row.client_id, at=at)
    audit_events.keep(c, audit.event("permission_withdrawn", permission=subject, client_id=row.client_id, **ending))
    return True


def _end_connection(c: Any, subject: str, withdrawal: Withdrawal, at: int) -> bool:
    row = connections.find(c, subject)
    if row is None or not connections.end(c, subject, at=at, ended_as=WITHDRAWN, by=withdrawal.by, why=withdrawal.why):
        return False
    if withdrawal.already_told != row.issuer:
        outbox.add(c, kind="revocation", subject=subject, recipient=row.issuer, at=at)
    # Withdrawal of Permission, duties of the consumer: stored data and what was derived from it one to one are deleted.
    removed = connections.forget_data(c, subject)
    event = audit.event("connection_ended", connection=subject, by=withdrawal.by, why=withdrawal.why, removed=removed)
    audit_events.keep(c, event)
    return True
