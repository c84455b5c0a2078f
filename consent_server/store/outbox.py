"""Calls that we owe, committed with the act that owes them and made by `consent-server work` afterwards."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from consent_server.store.models import Outbox, table

_outbox = table(Outbox)
_OPEN = sa.and_(_outbox.c.delivered.is_(None), _outbox.c.given_up.is_(None))


def add(c: Connection, *, kind: str, subject: str, recipient: str, at: int) -> None:
    """Owe a call: kind is "message" (withdrawal to a client) or "revocation" (RFC 7009 to an issuer)."""
    c.execute(
        sa.insert(_outbox),
        {"kind": kind, "subject": subject, "recipient": recipient, "created": at, "due": at},
    )


def lease(c: Connection, at: int, lease_s: int, limit: int) -> list[Row[Any]]:
    """Take what is due, for `lease_s` seconds: another dispatcher sees it again only when the lease has run out."""
    free = sa.or_(_outbox.c.leased.is_(None), _outbox.c.leased <= at)
    due = (
        sa.select(_outbox.c.id)
        .where(_OPEN, _outbox.c.due <= at, free)
        .order_by(_outbox.c.due, _outbox.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = c.execute(
        sa.update(_outbox).where(_outbox.c.id.in_(due)).values(leased=at + lease_s).returning(*_outbox.c)
    ).all()
    return sorted(rows, key=lambda row: row.id)


def _settle(c: Connection, owed: int, **values: Any) -> None:
    c.execute(
        sa.update(_outbox).where(_outbox.c.id == owed).values(attempts=_outbox.c.attempts + 1, leased=None, **values)
    )


def delivered(c: Connection, owed: int, at: int) -> None:
    _settle(c, owed, delivered=at, last_error=None)


def failed(c: Connection, owed: int, due: int, error: str) -> None:
    """The attempt failed; try again at `due`."""
    _settle(c, owed, due=due, last_error=error)


def give_up(c: Connection, owed: int, at: int, error: str) -> None:
    """Put the call on the list that an operator sees and may retry."""
    _settle(c, owed, given_up=at, last_error=error)


def waiting(c: Connection) -> list[Row[Any]]:
    return list(c.execute(sa.select(_outbox).where(_OPEN).order_by(_outbox.c.id)))


def given_up(c: Connection) -> list[Row[Any]]:
    return list(c.execute(sa.select(_outbox).where(_outbox.c.given_up.is_not(None)).order_by(_outbox.c.id)))


def of_subject(c: Connection, subject: str) -> list[Row[Any]]:
    """Every call that one permission or connection owes or owed, oldest first."""
    return list(c.execute(sa.select(_outbox).where(_outbox.c.subject == subject).order_by(_outbox.c.id)))


def everything(c: Connection, limit: int = 200) -> list[Row[Any]]:
    """The newest calls, delivered ones included."""
    return list(c.execute(sa.select(_outbox).order_by(_outbox.c.id.desc()).limit(limit)))


def retry(c: Connection, owed: int, at: int) -> bool:
    """Take one call from the give-up list back to the queue."""
    changed = c.execute(
        sa.update(_outbox)
        .where(_outbox.c.id == owed, _outbox.c.given_up.is_not(None))
        .values(given_up=None, attempts=0, due=at, leased=None)
    )
    return changed.rowcount == 1
