"""The kinds of column that tables share."""

from typing import Annotated

import sqlalchemy as sa

from consent_server.store.rows import KEY

Instant = Annotated[int, sa.BigInteger()]
#: The id of a permission, a connection, a journey or an account.
Id = Annotated[str, sa.String(32)]
#: An id that a client sees: 48 characters are reserved.
PublicId = Annotated[str, sa.String(48)]
#: A SHA-256 in hex.
Digest = Annotated[str, sa.String(64)]
#: The id of a meter at another provider, which is opaque to us (outbound.fields.opaque).
SourceId = Annotated[str, sa.String(300)]
Email = Annotated[str, sa.String(254)]
Fuel = Annotated[str, sa.String(16)]
Measure = Annotated[str, sa.String(8)]
Outcode = Annotated[str, sa.String(4)]
Challenge = Annotated[str, sa.String(128)]
#: How a permission ended: a value of scheme.permission.State.
EndedAs = Annotated[str, sa.String(16)]
#: A number that the database gives on insert: 0 until then.
Serial = Annotated[int, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), KEY]
Count = Annotated[int, {"server_default": "0"}]
