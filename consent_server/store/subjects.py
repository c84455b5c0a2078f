"""What is kept about one business: found by its name, address, meter or permission, and deleted on its request.

A business is identified by an EDP's id of it (`permission.sme`, `meter.sme`), or at a CAP by its account.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import evidence, rows
from consent_server.store.accounts import IS_SOMEBODYS, NOBODYS
from consent_server.store.database import db
from consent_server.store.rows import table_of
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.audit import DeletionCertificate, KeptEvent
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.journeys import Journey
from consent_server.store.tables.metering import Meter
from consent_server.store.tables.owed import ReceiptAddress
from consent_server.store.tables.permissions import Evidence, Permission
from consent_server.store.tables.sessions import SessionRow

_permission, _connection = table_of(Permission), table_of(ProviderConnection)
_account, _evidence, _meter = table_of(SmeAccount), table_of(Evidence), table_of(Meter)
_address, _certificate, _event = table_of(ReceiptAddress), table_of(DeletionCertificate), table_of(KeptEvent)


#: Where a session or a journey keeps the business to which a log-in has led.
_FOUND: Final = ("log_in", "found")


class SubjectRows(NamedTuple):
    """Rows of one table about a business. `goes` says that they are deleted on its request: what no duty keeps."""

    table: str
    condition: sa.ColumnElement[bool]
    goes: bool


class SubjectIds(NamedTuple):
    """A business's permissions and connections, and the e-mail address of its account, if it has one."""

    permissions: Sequence[str]
    connections: Sequence[str]
    email: str | None


def of_record(c: Connection, subject: str) -> set[str]:
    """Return the business of a permission or connection."""
    return _owners(c, [subject])


def named(c: Connection, business: str) -> set[str]:
    """Return the businesses of a name, in any case: by their evidence, their account, or the register where it is kept here."""

    def is_it(column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        return sa.or_(column == business, sa.func.lower(column) == business.lower())

    seen = c.scalars(sa.select(_evidence.c.subject).where(is_it(_evidence.c.who["business"].as_string())))
    found = _owners(c, list(seen))
    found |= set(c.scalars(sa.select(_account.c.id).where(is_it(_account.c.business))))
    return found | set(c.scalars(sa.select(_meter.c.sme).where(is_it(_meter.c.business))))


def with_email(c: Connection, email: str) -> set[str]:
    """Return the businesses whose account, whose receipts, or whose log-in of the last days have an e-mail address."""
    sent = list(c.scalars(sa.select(_address.c.subject).where(_address.c.email == email)))
    logged_in = _under_way(c, "email", email)
    return _owners(c, sent) | logged_in | set(c.scalars(sa.select(_account.c.id).where(_account.c.email == email)))


def at_meter(c: Connection, number: str | None, postcode: str | None) -> set[str]:
    """Return the businesses that have or had a meter with a number, at a postcode, or both, by the register here."""
    query = sa.select(_meter.c.sme).distinct()
    if number is not None:
        query = query.where(_meter.c.number == number)
    if postcode is not None:
        query = query.where(_meter.c.postcode == postcode)
    return set(c.scalars(query))


def known(c: Connection, business: str) -> set[str]:
    """Return the business with this id, if anything is kept about it."""
    of = (_permission.c.sme, _account.c.id, _meter.c.sme)
    found = {business for column in of if c.execute(sa.select(column).where(column == business).limit(1)).first()}
    return found | _under_way(c, "sme", business)


def _under_way(c: Connection, name: str, value: str) -> set[str]:
    """Return the businesses of sessions and journeys in which somebody was identified with a value: its `sme` or `email`.

    A log-in that the register does not know has none.
    """
    session, journey = table_of(SessionRow).c.data, table_of(Journey).c.progress
    identities = [(session, _FOUND), (journey, _FOUND), (journey, ("identified",))]
    found: set[str] = set()
    for held, path in identities:
        is_it = held[(*path, name)].as_string() == value
        found |= set(c.scalars(sa.select(held[(*path, "sme")].as_string()).where(is_it)))
    if name == "sme":
        found |= set(c.scalars(sa.select(session["sme"].as_string()).where(session["sme"].as_string() == value)))
    return found - {""}


def _owners(c: Connection, subjects: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for batch in rows.batches(subjects):
        found |= set(c.scalars(sa.select(_permission.c.sme).where(_permission.c.id.in_(batch))))
        found |= set(c.scalars(sa.select(_connection.c.account).where(_connection.c.id.in_(batch))))
    return found


def ids_of(c: Connection, business: str) -> SubjectIds:
    granted = list(
        c.scalars(sa.select(_permission.c.id).where(_permission.c.sme == business).order_by(_permission.c.granted))
    )
    connected = list(
        c.scalars(sa.select(_connection.c.id).where(_connection.c.account == business).order_by(_connection.c.granted))
    )
    email = c.execute(sa.select(_account.c.email).where(_account.c.id == business)).scalar_one_or_none()
    return SubjectIds(granted, connected, email)


def business_name(c: Connection, business: str) -> str:
    """Return the name that was shown last, empty where there is none."""
    of = sa.exists().where(_permission.c.id == _evidence.c.subject, _permission.c.sme == business)
    shown = sa.select(_evidence.c.who["business"].as_string()).where(of).order_by(_evidence.c.at.desc()).limit(1)
    registered = sa.select(_meter.c.business).where(_meter.c.sme == business).limit(1)
    return str(c.scalar(shown) or c.scalar(registered) or "")


def rows_of(ids: SubjectIds, business: str) -> list[SubjectRows]:
    """Return what may be kept about a business, table by table, in the order in which it can be deleted."""
    tables = {name: table.c for name, table in db.metadata.tables.items()}
    both = [*ids.permissions, *ids.connections]
    session, journey, mail = tables["session"], tables["journey"], tables["owed_mail"]
    unsent = mail.delivered.is_(None)
    # Mails about a passkey prove nothing, and name it after it is gone.
    of_passkeys = mail.subject.in_(sa.select(tables["passkey"].id).where(tables["passkey"].account == business))
    # Whoever has asked for a code or come back from a log-in, and gone no further.
    emails = [ids.email] if ids.email is not None else []
    found = (*_FOUND, "sme")

    def of(table: str, column: str, values: Sequence[str], *, goes: bool) -> SubjectRows:
        return SubjectRows(table, tables[table][column].in_(values), goes)

    return [
        SubjectRows(
            "session",
            sa.or_(
                *(session.data[name].as_string() == business for name in ("sme", "account", found)),
                session.data["email"].as_string().in_(emails),
            ),
            goes=True,
        ),
        SubjectRows(
            "journey",
            sa.or_(
                *(journey.progress[name].as_string() == business for name in (("identified", "sme"), found)),
                journey.progress["email"].as_string().in_(emails),
            ),
            goes=True,
        ),
        of("code", "permission", ids.permissions, goes=True),
        of("receipt_address", "subject", both, goes=True),
        of("receipt_link", "subject", both, goes=True),
        of("released", "subject", ids.permissions, goes=True),
        SubjectRows("owed_mail", sa.or_(sa.and_(mail.subject.in_(both), unsent), of_passkeys), goes=True),
        of("sign_in_code", "email", emails, goes=True),
        of("passkey", "account", [business], goes=True),
        *(
            of(table, "connection", ids.connections, goes=True)
            for table in ("collected", "collected_meter", "meter_month", "month")
        ),
        of("day_block", "holder", ids.connections, goes=True),
        # A connection that was never made proves nothing.
        SubjectRows("evidence", evidence.is_never_made(business), goes=True),
        # A connection that stays refers to its account, which is then emptied.
        SubjectRows("account", sa.and_(_account.c.id == business, IS_SOMEBODYS), goes=True),
        of("permission", "id", ids.permissions, goes=False),
        of("connection", "id", ids.connections, goes=False),
        of("evidence", "subject", both, goes=False),
        SubjectRows("link", sa.or_(tables["link"].support.in_(both), tables["link"].dependent.in_(both)), goes=False),
        of("outbox", "subject", both, goes=False),
        SubjectRows("owed_mail", sa.and_(mail.subject.in_(both), ~unsent), goes=False),
        of("datasource", "sme", [business], goes=False),
        of("meter", "sme", [business], goes=False),
        SubjectRows("audit_event", _told_of(ids, business), goes=False),
    ]


def _told_of(ids: SubjectIds, business: str) -> sa.ColumnElement[bool]:
    """Return the condition of the audit events that concern a business; a release of data names the permission's account."""
    fields, permission = _event.c.fields, db.metadata.tables["permission"].c
    both = [*ids.permissions, *ids.connections]
    accounts = sa.select(permission.account).where(permission.id.in_(ids.permissions))
    return sa.or_(
        fields["account"].as_string() == business,
        *(fields[name].as_string().in_(both) for name in ("permission", "connection", "subject", "by")),
        fields["permission"].as_string().in_(accounts),
    )


def count(c: Connection, part: SubjectRows) -> int:
    query = sa.select(sa.func.count()).select_from(db.metadata.tables[part.table]).where(part.condition)
    return int(c.execute(query).scalar_one())


def digest(c: Connection, part: SubjectRows) -> str:
    """Return the SHA-256 of the rows of a part, in hex: each as JSON with its columns by name, in the order of their keys."""
    table = db.metadata.tables[part.table]
    found = hashlib.sha256()
    for row in c.execute(sa.select(table).where(part.condition).order_by(*table.primary_key)).mappings():
        found.update(json.dumps(dict(row), sort_keys=True, default=_text).encode())
    return found.hexdigest()


def _text(value: Any) -> str:
    return bytes(value).hex()


def erase(c: Connection, part: SubjectRows, business: str, ids: SubjectIds) -> None:
    """Delete the rows of a part; empty an account to which connections refer."""
    if part.table == "account" and ids.connections:
        empty = sa.update(_account).where(part.condition).values(email=f"{business}{NOBODYS}", business="")
        c.execute(empty)
    else:
        c.execute(sa.delete(db.metadata.tables[part.table]).where(part.condition))


def keep_certificate(c: Connection, certificate: str, at: int, signed: Mapping[str, str]) -> None:
    rows.add(c, DeletionCertificate(certificate, at, signed))


def certificate(c: Connection, certificate_id: str) -> Mapping[str, str] | None:
    """Return a certificate of deletion as it was signed."""
    row = rows.one(c, DeletionCertificate, sa.select(_certificate).where(_certificate.c.id == certificate_id))
    return None if row is None else dict(row.signed)
