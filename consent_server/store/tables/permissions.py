"""What an SME has granted at our issuer: permission, evidence and code, what depends on it, and what was released."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, NamedTuple

import sqlalchemy as sa

from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import GrantedSource, Who
from consent_server.store.rows import INDEXED, KEY, UNIQUE, References, table
from consent_server.store.tables.columns import Challenge, Count, Digest, EndedAs, Id, Instant, PublicId

#: The status index of a permission that is not in the store yet.
NO_INDEX: Final = -1
_NOT_LISTED: Final = sa.text("ended IS NOT NULL AND listed IS NULL")


@table(
    "permission",
    sa.Index("ix_permission_not_listed", "listed", sqlite_where=_NOT_LISTED, postgresql_where=_NOT_LISTED),
)
class Permission(NamedTuple):
    """One grant by an SME at our issuer. One row per grant; history is never overwritten.

    `status_index` is given on insert. `listed` is when the status list took up its end.
    """

    id: Annotated[Id, KEY]
    account: Annotated[PublicId, UNIQUE]
    client_id: Annotated[str, INDEXED]
    member: str
    license: str
    fuels: Sequence[str]
    text_sha256: Digest
    sme: Annotated[str, INDEXED]
    meters: Sequence[MaskedMeter]
    datasources: Sequence[GrantedSource]
    granted: Annotated[Instant, INDEXED]
    expires: Annotated[Instant, INDEXED]
    refresh_id: Annotated[PublicId, UNIQUE]
    refresh_version: int
    status_index: Annotated[int, UNIQUE] = NO_INDEX
    redeemed: Instant | None = None
    ended: Annotated[Instant | None, INDEXED] = None
    ended_as: EndedAs | None = None
    ended_by: str | None = None
    ended_where: str | None = None
    ended_why: str | None = None
    listed: Instant | None = None

    def is_live(self, at: int) -> bool:
        """Return whether it is in force at an instant: it has neither been ended nor expired."""
        return self.ended is None and self.expires > at


@table("status_list")
class KeptStatusList(NamedTuple):
    """The status list as it was last signed: one row, whose bits have the end of every permission that is `listed`."""

    id: Annotated[int, KEY]
    size: int
    bits: bytes
    signed_by: str
    issued: Instant
    text: str


#: The account that has agreed to connect a provider; NULL in the evidence of a permission. As SESSION_ACCOUNT.
AGREED_ACCOUNT: Final = sa.literal_column("CAST(who ->> 'account' AS TEXT)", sa.String)


@table("evidence", sa.Index("ix_evidence_account", sa.text(f"({AGREED_ACCOUNT})")))
class Evidence(NamedTuple):
    """What an SME saw and did.

    `subject` is the permission that it granted, or the connection that we made for it. `names` are the names that it read:
    those in the text, and "client", "host" and "license".
    """

    id: Annotated[PublicId, KEY]
    subject: Annotated[Id, UNIQUE]
    at: Instant
    license: str
    text_shown: str
    shown_sha256: Digest
    raw_sha256: Digest
    client_id: str
    names: Mapping[str, str]
    who: Who
    meters: Sequence[MaskedMeter]
    address: str
    user_agent: str
    correlation_id: PublicId


@table("code")
class AuthorizationCode(NamedTuple):
    """An authorization code, consumed by one conditional UPDATE.

    `unanswered` from its redemption until another conditional UPDATE, after which alone tokens are sent.
    """

    digest: Annotated[Digest, KEY]
    permission: Annotated[Id, References("permission.id")]
    client_id: str
    redirect_uri: str
    code_challenge: Annotated[Challenge, INDEXED]
    issued: Annotated[Instant, INDEXED]
    expires: Instant
    redeemed: Instant | None = None
    wrong_verifiers: Count = 0
    unanswered: bool | None = None


@table("datasource", sa.UniqueConstraint("client_id", "sme", "meter"))
class MeterAlias(NamedTuple):
    """The opaque id of one meter for one client and one SME (`<series>.<number>`): stable, and different for every client."""

    id: Annotated[PublicId, KEY]
    client_id: str
    sme: str
    meter: PublicId


@table("link")
class Link(NamedTuple):
    """`dependent` ends when `support` has ended and nothing else supports it.

    Both are ids of permissions or connections.
    """

    support: Annotated[Id, KEY]
    dependent: Annotated[Id, KEY, INDEXED]


@table("released")
class ReleasedData(NamedTuple):
    """What has been given out under one permission: from the first to the last instant of all of it, and when last."""

    subject: Annotated[Id, KEY]
    first: Instant
    last: Instant
    at: Instant
