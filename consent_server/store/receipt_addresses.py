"""Where the receipts of a permission go, for a business that has no account with us: it logged in at the EDP's provider."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables import OwedMail, Permission, ReceiptAddress

_address = table_of(ReceiptAddress)
_permission = table_of(Permission)
_mail = table_of(OwedMail)


def add(c: Connection, subject: str, email: str) -> None:
    """Send the receipts of a permission to an address."""
    rows.add(c, ReceiptAddress(subject, email))


def find(c: Connection, subject: str) -> str | None:
    found = c.execute(sa.select(_address.c.email).where(_address.c.subject == subject)).scalar_one_or_none()
    return str(found) if found is not None else None


def forget(c: Connection, before: int) -> int:
    """Delete the addresses of permissions that were over before an instant and about which no mail is owed; return how many."""
    over = sa.or_(_permission.c.ended < before, _permission.c.expires < before)
    owed = sa.exists().where(
        _mail.c.subject == _address.c.subject, _mail.c.delivered.is_(None), _mail.c.given_up.is_(None)
    )
    done = sa.exists().where(_permission.c.id == _address.c.subject, over)
    return c.execute(sa.delete(_address).where(done, ~owed)).rowcount
