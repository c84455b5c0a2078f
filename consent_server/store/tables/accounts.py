"""Accounts at a CAP, and how one signs in to them."""

from typing import Annotated, NamedTuple

import sqlalchemy as sa

from consent_server.store.rows import INDEXED, KEY, UNIQUE, References, table
from consent_server.store.tables.columns import Digest, Email, Id, Instant


@table("account")
class SmeAccount(NamedTuple):
    """An SME's account at a CAP. `business` is empty until it is known.

    `seen` is the last instant at which retention knows it to have been used, or to have had a permission or connection; 0 where
    it has not looked.
    """

    id: Annotated[Id, KEY]
    email: Annotated[Email, UNIQUE]
    business: str
    created: Instant
    seen: Annotated[Instant, INDEXED, {"server_default": "0"}] = 0


@table("passkey")
class Passkey(NamedTuple):
    """A passkey of an account: its credential id, its public key (COSE) and the newest signature counter that it has shown.

    A row is kept for a while after it was `removed`, for the mail about it.
    """

    id: Annotated[Id, KEY]
    account: Annotated[Id, References("account.id"), INDEXED]
    credential: Annotated[bytes, UNIQUE]
    public_key: bytes
    sign_count: Annotated[int, sa.BigInteger()]
    name: Annotated[str, sa.String(60)]
    added: Instant
    used: Instant | None = None
    removed: Annotated[Instant | None, INDEXED] = None


@table("used_challenge")
class UsedChallenge(NamedTuple):
    """A challenge that a passkey has answered, so that it is answered once."""

    digest: Annotated[Digest, KEY]
    at: Annotated[Instant, INDEXED]


@table("sign_in_code")
class SignInCode(NamedTuple):
    """The code that works for an e-mail address, as a keyed digest.

    The code can be made again from `seed` and a key that is not in the store. `used_by` is the digest of the browser's
    handle that used it.
    """

    email: Annotated[Email, KEY]
    digest: Digest
    expires: Annotated[Instant, INDEXED]
    used: Instant | None = None
    seed: Annotated[Digest, {"server_default": ""}] = ""
    used_by: Digest | None = None
