"""Mails that we owe businesses: committed with the act that they are about, sent by `consent-server work` afterwards.

Not in the outbox: its calls go to other members, and a version that knows no mails would take one for a call.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import due, rows
from consent_server.store.rows import table_of
from consent_server.store.tables import OwedMail, SmeAccount

_account = table_of(SmeAccount)
_mail = table_of(OwedMail)
_OPEN = sa.and_(_mail.c.delivered.is_(None), _mail.c.given_up.is_(None))


def add(c: Connection, subject: str, kind: str, account: str, at: int) -> None:
    """Owe a mail, due at once, unless one of this kind about this subject is owed or was sent, or there is no such account."""
    known = sa.select(*(sa.literal(each) for each in (subject, kind, at, at))).where(
        sa.exists().where(_account.c.id == account)
    )
    columns = (_mail.c.subject, _mail.c.kind, _mail.c.created, _mail.c.due)
    c.execute(rows.insert(c, OwedMail).from_select(columns, known).on_conflict_do_nothing())


def lease(c: Connection, at: int, lease_s: int, limit: int) -> list[OwedMail]:
    """Lease and return mails that are due, the longest due first. For `lease_s` seconds no other worker takes them."""
    key = (_mail.c.subject, _mail.c.kind)
    first = (
        sa.select(*key)
        .where(_OPEN, due.is_due(_mail.c.due, _mail.c.leased, at))
        .order_by(_mail.c.due)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = sa.update(_mail).where(sa.tuple_(*key).in_(first)).values(leased=at + lease_s).returning(*_mail.c)
    return sorted(rows.every(c, OwedMail, taken), key=lambda mail: mail.due)


def settle(c: Connection, mail: OwedMail, **values: int | str | None) -> bool:
    """Record an attempt; return False, and change nothing, where the mail is no longer on the lease that it was read with."""
    ours = sa.and_(_mail.c.subject == mail.subject, _mail.c.kind == mail.kind, _mail.c.leased == mail.leased)
    settled = sa.update(_mail).where(ours).values(attempts=_mail.c.attempts + 1, leased=None, **values)
    return c.execute(settled).rowcount == 1


def release(c: Connection, mails: list[OwedMail]) -> None:
    """Give back mails that were leased together and not sent."""
    for mail in mails:
        ours = sa.and_(_mail.c.subject == mail.subject, _mail.c.kind == mail.kind, _mail.c.leased == mail.leased)
        c.execute(sa.update(_mail).where(ours).values(leased=None))


def of_subject(c: Connection, subject: str) -> list[OwedMail]:
    """Return every mail, sent or not, about one permission or connection, oldest first."""
    query = sa.select(_mail).where(_mail.c.subject == subject)
    return rows.every(c, OwedMail, query.order_by(_mail.c.created, _mail.c.kind))
