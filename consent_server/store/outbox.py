"""Calls that we must make: committed with the act that causes them, made by `consent-server work` afterwards."""

from collections.abc import Iterable, Sequence
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import due, rows
from consent_server.store.rows import table_of
from consent_server.store.tables.owed import OwedCall

_outbox = table_of(OwedCall)
_OPEN = sa.and_(_outbox.c.delivered.is_(None), _outbox.c.given_up.is_(None))


def add(c: Connection, *, kind: Literal["message", "revocation"], subject: str, recipient: str, at: int) -> None:
    """Add a call, due at once."""
    c.execute(
        sa.insert(_outbox),
        {"kind": kind, "subject": subject, "recipient": recipient, "created": at, "due": at},
    )


def recipients(c: Connection, at: int) -> list[str]:
    """Return the recipients to whom calls are due, each once."""
    return due.parties(c, _outbox.c.recipient, _OPEN, _is_due(at))


def lease(c: Connection, recipient: str, at: int, lease_s: int, limit: int) -> list[OwedCall]:
    """Lease and return calls that are due to a recipient, the longest due first.

    For `lease_s` seconds no other dispatcher takes them.
    """
    first = (
        sa.select(_outbox.c.id)
        .where(_outbox.c.recipient == recipient, _OPEN, _is_due(at))
        .order_by(_outbox.c.due, _outbox.c.id)
        .limit(limit)
    )
    return sorted(
        rows.every(c, OwedCall, due.lease(_outbox, first, leased=at + lease_s)), key=lambda call: (call.due, call.id)
    )


def release(c: Connection, calls: list[OwedCall]) -> None:
    """Give back calls that were leased together and not made."""
    if calls:
        ours = sa.and_(_outbox.c.id.in_([call.id for call in calls]), _outbox.c.leased == calls[0].leased)
        c.execute(sa.update(_outbox).where(ours).values(leased=None))


def _is_due(at: int) -> sa.ColumnElement[bool]:
    return due.is_due(_outbox.c.due, _outbox.c.leased, at)


def _settle(c: Connection, owed: Sequence[OwedCall], **values: int | str | None) -> int:
    """Settle calls of one lease; return how many were still on it. The others are left as they are."""
    if not owed:
        return 0
    ours = sa.and_(_outbox.c.id.in_([call.id for call in owed]), _outbox.c.leased == owed[0].leased)
    settled = sa.update(_outbox).where(ours).values(attempts=_outbox.c.attempts + 1, leased=None, **values)
    return c.execute(settled).rowcount


def delivered(c: Connection, owed: Sequence[OwedCall], at: int) -> int:
    """Record that calls of one lease were made; return how many no other dispatcher has or has settled."""
    return _settle(c, owed, delivered=at, last_error=None)


def failed(c: Connection, owed: OwedCall, due: int, error: str) -> bool:
    """Record a failed attempt; the next is due at `due`. Return False where another dispatcher has it, or has settled it."""
    return _settle(c, [owed], due=due, last_error=error) == 1


def give_up(c: Connection, owed: OwedCall, at: int, error: str) -> bool:
    """Put the call on the list that an operator sees and may retry. Return as `failed` does."""
    return _settle(c, [owed], given_up=at, last_error=error) == 1


def give_up_older(c: Connection, recipient: str, before: int, at: int, error: str) -> list[OwedCall]:
    """Put every call to a recipient that is owed since an instant, or for longer, on that list, and return them.

    A call that another dispatcher has leased stays with it.
    """
    free = due.is_free(_outbox.c.leased, at)
    old = sa.and_(_OPEN, _outbox.c.recipient == recipient, _outbox.c.created <= before, free)
    given_up = sa.update(_outbox).where(old).values(given_up=at, leased=None, last_error=error)
    return rows.every(c, OwedCall, given_up.returning(*_outbox.c))


def oldest_untried(c: Connection) -> int | None:
    """Return since when the oldest message is owed that was never sent, although its recipient has failed no call that is open.

    What a recipient does not take says nothing about us.
    """
    failing = _outbox.alias()
    tried = sa.exists().where(
        failing.c.recipient == _outbox.c.recipient,
        failing.c.attempts > 0,
        failing.c.delivered.is_(None),
        failing.c.given_up.is_(None),
    )
    untried = sa.and_(_OPEN, _outbox.c.kind == "message", _outbox.c.attempts == 0, ~tried)
    return c.execute(sa.select(sa.func.min(_outbox.c.created)).where(untried)).scalar()


def waiting(c: Connection) -> list[OwedCall]:
    return rows.every(c, OwedCall, sa.select(_outbox).where(_OPEN).order_by(_outbox.c.id))


def owed(c: Connection) -> list[due.Waiting]:
    """Return how many calls of each kind wait for each recipient, and since when the first of them."""
    what = (_outbox.c.kind, _outbox.c.recipient)
    query = sa.select(*what, sa.func.count(), sa.func.min(_outbox.c.created)).where(_OPEN).group_by(*what)
    return rows.every(c, due.Waiting, query)


def given_up(c: Connection) -> list[OwedCall]:
    return rows.every(c, OwedCall, sa.select(_outbox).where(_outbox.c.given_up.is_not(None)).order_by(_outbox.c.id))


def of_subject(c: Connection, subject: str) -> list[OwedCall]:
    """Return every call, made or not, that one permission or connection caused, oldest first."""
    return rows.every(c, OwedCall, sa.select(_outbox).where(_outbox.c.subject == subject).order_by(_outbox.c.id))


def of_subjects(c: Connection, subjects: Iterable[str]) -> dict[str, list[OwedCall]]:
    """Return subject -> every call that it caused, made or not, oldest first."""
    found: dict[str, list[OwedCall]] = {}
    query = sa.select(_outbox).order_by(_outbox.c.id)
    for call in rows.every_in(c, OwedCall, query, _outbox.c.subject, subjects):
        found.setdefault(call.subject, []).append(call)
    return found


def everything(c: Connection) -> list[OwedCall]:
    """Return the newest 200 calls, delivered ones included."""
    return rows.every(c, OwedCall, sa.select(_outbox).order_by(_outbox.c.id.desc()).limit(200))


def retry(c: Connection, owed: int, at: int) -> bool:
    """Put one call that was given up back in the queue; return False when there is none."""
    changed = c.execute(
        sa.update(_outbox)
        .where(_outbox.c.id == owed, _outbox.c.given_up.is_not(None))
        .values(given_up=None, attempts=0, due=at, leased=None)
    )
    return changed.rowcount == 1
