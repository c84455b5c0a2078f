"""Where the receipts of a permission go, for a business without an account here, which logged in at the EDP's provider."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.owed import ReceiptAddress

_address = table_of(ReceiptAddress)


def add(c: Connection, subject: str, email: str) -> None:
    """Send the receipts of a permission to an address."""
    rows.add(c, ReceiptAddress(subject, email))


def find(c: Connection, subject: str) -> str | None:
    found = c.execute(sa.select(_address.c.email).where(_address.c.subject == subject)).scalar_one_or_none()
    return str(found) if found is not None else None
