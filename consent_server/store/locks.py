"""One transaction at a time acts on what a business permitted.

Grant, redemption, supersession, withdrawal and collection read rows and then write others because of what they read: whether a
permission has been redeemed, what it rests on, whether its connection lives. SQLite has a single writer. On PostgreSQL two
such transactions of one business would each act on what the other is about to change, so the second waits for the first.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

#: PostgreSQL keeps locks of two keys apart from those of one key, such as that of permissions.add.
_TAKE = sa.text("SELECT pg_advisory_xact_lock(1, hashtext(:sme))")


def take(c: Connection, sme: str) -> None:
    """Wait for other transactions that act on this business's permissions, and make later ones wait until this one ends.

    What the transaction read before may be out of date.
    """
    if c.dialect.name == "postgresql":
        c.execute(_TAKE, {"sme": sme})
