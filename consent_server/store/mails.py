"""Mails that we owe businesses: committed with the act that they are about, sent by `consent-server work` afterwards.

They are not in the outbox, whose calls go to other members: an older version that has no mails would take one for a call.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import due, rows
from consent_server.store.accounts import IS_SOMEBODYS
from consent_server.store.rows import table_of
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import MeterMonth, ProviderConnection
from consent_server.store.tables.owed import OwedMail, ReceiptAddress
from consent_server.store.tables.permissions import Permission

_account = table_of(SmeAccount)
_address = table_of(ReceiptAddress)
_permission = table_of(Permission)
_connection = table_of(ProviderConnection)
_month = table_of(MeterMonth)
_mail = table_of(OwedMail)
_OPEN = sa.and_(_mail.c.delivered.is_(None), _mail.c.given_up.is_(None))


def add(c: Connection, subject: str, kind: str, account: str, language: str | None, at: int) -> None:
    """Owe a mail, due at once, unless one of this kind about this subject is owed or was sent, or no address is known."""
    about = sa.select(*(sa.literal(each) for each in (subject, kind, at, at)), sa.literal(language, sa.String))
    _owe(c, about.where(_has_address(sa.literal(subject), sa.literal(account))), _mail.c.language)


def about(c: Connection, subject: str) -> list[OwedMail]:
    """Return every mail, sent or not, about one permission or connection, oldest first."""
    query = sa.select(_mail).where(_mail.c.subject == subject).order_by(_mail.c.created, _mail.c.kind)
    return rows.every(c, OwedMail, query)


def lease(c: Connection, at: int, lease_s: int, limit: int) -> list[OwedMail]:
    """Lease and return mails that are due, the longest due first. For `lease_s` seconds no other worker takes them."""
    first = (
        sa.select(_mail.c.subject, _mail.c.kind)
        .where(_OPEN, due.is_due(_mail.c.due, _mail.c.leased, at))
        .order_by(_mail.c.due)
        .limit(limit)
    )
    return sorted(rows.every(c, OwedMail, due.lease(_mail, first, leased=at + lease_s)), key=lambda mail: mail.due)


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


def owe_of_permissions(c: Connection, kind: str, after: int, until: int, longer_than: int, at: int) -> None:
    """Owe a mail of a kind about each live permission and connection with an address whose time ends after an instant and by
    another, and lasts longer than some seconds in all. Each is owed once."""
    for held, account in ((_permission, _permission.c.sme), (_connection, _connection.c.account)):
        in_force = held.c.redeemed.is_not(None) if held is _permission else sa.true()
        ending = sa.and_(held.c.expires > after, held.c.expires <= until, held.c.expires - held.c.granted > longer_than)
        known = _has_address(held.c.id, account)
        about = sa.select(held.c.id, *(sa.literal(each) for each in (kind, at, at)))
        _owe(c, about.where(held.c.ended.is_(None), in_force, ending, known))


def owe_of_results(c: Connection, kind: str, receipts: Sequence[str], at: int) -> None:
    """Owe a mail of a kind about each live connection whose readings are here and worked out.

    Those without a receipt of one of the kinds `receipts` were made before mails were sent: their businesses have seen their
    results.
    """
    has_receipt = sa.exists().where(_mail.c.subject == _connection.c.id, _mail.c.kind.in_(receipts))
    weighing = sa.exists().where(
        _month.c.connection == _connection.c.id, _month.c.weigh_due.is_not(None), _month.c.trouble.is_(None)
    )
    about = sa.select(_connection.c.id, *(sa.literal(each) for each in (kind, at, at)))
    here = sa.and_(_connection.c.ended.is_(None), _connection.c.expires > at, _connection.c.collected.is_not(None))
    owed = sa.exists().where(_mail.c.subject == _connection.c.id, _mail.c.kind == kind)
    _owe(c, about.where(here, ~owed, has_receipt, ~weighing))


def _has_address(subject: sa.ColumnElement[str], account: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    known = sa.exists().where(_account.c.id == account, IS_SOMEBODYS)
    return sa.or_(known, sa.exists().where(_address.c.subject == subject))


def _owe(c: Connection, about: sa.Select[*tuple[Any, ...]], *more: sa.Column[Any]) -> None:
    columns = (_mail.c.subject, _mail.c.kind, _mail.c.created, _mail.c.due, *more)
    owed = rows.insert(c.dialect.name, OwedMail).from_select(columns, about)
    c.execute(owed.on_conflict_do_nothing())


def language_of(c: Connection, subject: str) -> str | None:
    """Return the language in which a business last acted on a permission or connection; None where that is not known."""
    known = sa.select(_mail.c.language).where(_mail.c.subject == subject, _mail.c.language.is_not(None))
    return c.execute(known.order_by(_mail.c.created.desc()).limit(1)).scalar()


def owed(c: Connection) -> list[due.Waiting]:
    """Return how many mails wait, and since when the first of them, if any does. Whom they go to is not said."""
    query = sa.select(sa.literal("mail"), sa.literal("-"), sa.func.count(), sa.func.min(_mail.c.created))
    return rows.every(c, due.Waiting, query.where(_OPEN).having(sa.func.count() > 0))


def unsent(c: Connection) -> list[OwedMail]:
    """Return every mail that is owed or was given up, oldest first."""
    return rows.every(
        c, OwedMail, sa.select(_mail).where(_mail.c.delivered.is_(None)).order_by(_mail.c.created, _mail.c.kind)
    )


def retry(c: Connection, subject: str, kind: str, at: int) -> bool:
    """Owe again, as if it were new, a mail that was given up; return False when there is none."""
    given_up = sa.and_(_mail.c.subject == subject, _mail.c.kind == kind, _mail.c.given_up.is_not(None))
    owed = sa.update(_mail).where(given_up).values(given_up=None, attempts=0, created=at, due=at, leased=None)
    return c.execute(owed).rowcount == 1
