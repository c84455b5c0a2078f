"""Calls and mails that we owe, and receipts."""

from typing import Annotated, Final, Literal, NamedTuple

import sqlalchemy as sa

from consent_server.store.rows import INDEXED, KEY, table
from consent_server.store.tables.columns import Count, Digest, Email, Id, Instant, Serial

#: Calls that are still to be made, by recipient (store.due).
_OPEN_CALLS: Final = sa.text("delivered IS NULL AND given_up IS NULL")


@table(
    "outbox",
    sa.Index(
        "ix_outbox_by_recipient", "recipient", "due", "id", sqlite_where=_OPEN_CALLS, postgresql_where=_OPEN_CALLS
    ),
)
class OwedCall(NamedTuple):
    """A call that we must make. Its secret is recomputed or unsealed at delivery from `subject`.

    A "message" notifies a client of a withdrawal, a "revocation" (RFC 7009) revokes a token at its issuer.
    """

    kind: Annotated[Literal["message", "revocation"], sa.String(16)]
    subject: Annotated[Id, INDEXED]
    recipient: str
    created: Instant
    due: Annotated[Instant, INDEXED]
    id: Serial = 0
    leased: Instant | None = None
    attempts: Count = 0
    delivered: Instant | None = None
    given_up: Instant | None = None
    last_error: str | None = None


@table("owed_mail", sa.Index("ix_owed_mail_due", "due", sqlite_where=_OPEN_CALLS, postgresql_where=_OPEN_CALLS))
class OwedMail(NamedTuple):
    """A mail that we owe a business about a permission or connection: one of each kind (receipts.mails.Kind).

    `language` is the one in which the business acted; None where it did not act itself.
    """

    subject: Annotated[Id, KEY]
    kind: Annotated[str, sa.String(16), KEY]
    created: Instant
    due: Instant
    leased: Instant | None = None
    attempts: Count = 0
    delivered: Instant | None = None
    given_up: Instant | None = None
    last_error: str | None = None
    language: Annotated[str | None, sa.String(8)] = None


@table("receipt_link")
class ReceiptLink(NamedTuple):
    """The link to the receipt of one permission or connection. Its handle can be made again from `subject` and a key that is
    not in the store."""

    digest: Annotated[Digest, KEY]
    subject: Annotated[Id, INDEXED]


@table("receipt_address")
class ReceiptAddress(NamedTuple):
    """Where the receipts of one permission go, of a business that has no account with us."""

    subject: Annotated[Id, KEY]
    email: Email
