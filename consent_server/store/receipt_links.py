"""Links to receipts: kept as digests of their handles."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.digests import digest
from consent_server.store.rows import table_of
from consent_server.store.tables.owed import ReceiptLink

_link = table_of(ReceiptLink)


def keep(c: Connection, handle: str, subject: str) -> None:
    """Let a handle open the receipt of a permission or connection from now on."""
    rows.add_unless_there(c, ReceiptLink(digest(handle), subject))


def subject_of(c: Connection, handle: str) -> str | None:
    """Return the permission or connection whose receipt a handle opens."""
    found = c.execute(sa.select(_link.c.subject).where(_link.c.digest == digest(handle))).scalar_one_or_none()
    return str(found) if found is not None else None
