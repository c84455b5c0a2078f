"""The audit trail, and certificates of deletion."""

from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

import sqlalchemy as sa

from consent_server.store.rows import INDEXED, KEY, table
from consent_server.store.tables.columns import Digest, Id, Instant, PublicId, Serial

_NOT_SEALED: Final = sa.text("position IS NULL")


@table(
    "audit_event",
    sa.Index("ix_audit_event_position", "position", unique=True),
    sa.Index("ix_audit_event_not_sealed", "id", sqlite_where=_NOT_SEALED, postgresql_where=_NOT_SEALED),
)
class KeptEvent(NamedTuple):
    """An event of the audit trail, written in the same transaction as the act.

    `position`, `contents` and `digest` are its place in the chain (scheme.audit_chain), from when it is sealed. Triggers of the
    database refuse to change or delete it.
    """

    at: Annotated[Instant, INDEXED]
    event: PublicId
    correlation_id: PublicId
    fields: Mapping[str, object]
    id: Serial = 0
    position: Annotated[int | None, sa.BigInteger()] = None
    contents: Digest | None = None
    digest: Digest | None = None


@table("audit_checkpoint")
class KeptCheckpoint(NamedTuple):
    """A digest of the chain as our signing certificate has signed it."""

    position: Annotated[int, sa.BigInteger(), KEY]
    digest: Digest
    at: Instant
    signed: Mapping[str, str]


@table("deletion_certificate")
class DeletionCertificate(NamedTuple):
    """The certificate of an erasure as it was signed: it names no business, no person and no meter (scheme.deletion)."""

    id: Annotated[Id, KEY]
    at: Instant
    signed: Mapping[str, str]
