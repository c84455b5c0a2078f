"""Passkeys of SMEs' accounts at a CAP, and the challenges that were used."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.digests import digest
from consent_server.store.rows import table_of
from consent_server.store.tables.accounts import Passkey, UsedChallenge

_passkey = table_of(Passkey)


def add(c: Connection, passkey: Passkey) -> bool:
    """Keep a passkey; return False, and keep nothing, where its credential is known already, whoever has it."""
    return rows.add_unless_there(c, passkey)


def find(c: Connection, passkey: str) -> Passkey | None:
    """Return a passkey, also one that was removed."""
    return rows.one(c, Passkey, sa.select(_passkey).where(_passkey.c.id == passkey))


def by_credential(c: Connection, credential: bytes) -> Passkey | None:
    """Return the passkey with a credential id, unless it was removed."""
    in_use = sa.and_(_passkey.c.credential == credential, _passkey.c.removed.is_(None))
    return rows.one(c, Passkey, sa.select(_passkey).where(in_use))


def of_account(c: Connection, account: str) -> list[Passkey]:
    """Return the passkeys of an account that were not removed, oldest first."""
    return [each for each in kept_of_account(c, account) if each.removed is None]


def kept_of_account(c: Connection, account: str) -> list[Passkey]:
    """Return the passkeys of an account, those that were removed among them, oldest first."""
    own = sa.select(_passkey).where(_passkey.c.account == account)
    return rows.every(c, Passkey, own.order_by(_passkey.c.added, _passkey.c.id))


def used(c: Connection, passkey: Passkey, sign_count: int, at: int) -> bool:
    """Record a use; return False where the passkey was removed, or used by somebody else, since it was read."""
    same = sa.and_(_passkey.c.id == passkey.id, _passkey.c.sign_count == passkey.sign_count)
    changed = sa.update(_passkey).where(same, _passkey.c.removed.is_(None)).values(sign_count=sign_count, used=at)
    return c.execute(changed).rowcount == 1


def remove(c: Connection, account: str, passkey: str, at: int) -> bool:
    """Remove a passkey of an account; return False where it has no such passkey."""
    own = sa.and_(_passkey.c.id == passkey, _passkey.c.account == account, _passkey.c.removed.is_(None))
    return c.execute(sa.update(_passkey).where(own).values(removed=at)).rowcount == 1


def rename(c: Connection, account: str, passkey: str, name: str) -> bool:
    """Give a passkey of an account another name; return False where it has no such passkey."""
    own = sa.and_(_passkey.c.id == passkey, _passkey.c.account == account, _passkey.c.removed.is_(None))
    return c.execute(sa.update(_passkey).where(own).values(name=name)).rowcount == 1


def use_challenge(c: Connection, challenge: str, at: int) -> bool:
    """Use a challenge; return False where it was used before."""
    return rows.add_unless_there(c, UsedChallenge(digest(challenge), at))
