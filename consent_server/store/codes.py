"""Authorization codes: kept as digests, redeemed by one conditional UPDATE."""

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import locks, rows
from consent_server.store.digests import digest
from consent_server.store.rows import table_of
from consent_server.store.statement import Statement
from consent_server.store.tables import AuthorizationCode, Permission

_code, _permission = table_of(AuthorizationCode), table_of(Permission)
_older = _permission.alias("older")
_HAS_OLDER = sa.exists().where(
    _older.c.client_id == _permission.c.client_id,
    _older.c.sme == _permission.c.sme,
    _older.c.status_index < _permission.c.status_index,
    _older.c.ended.is_(None),
    _older.c.expires > sa.bindparam("at"),
)
_FIND = Statement(sa.select(_code).where(_code.c.digest == sa.bindparam("digest_")))
_WITH_PERMISSION = Statement(
    sa.select(_HAS_OLDER, _code, _permission)
    .join_from(_code, _permission)
    .where(_code.c.digest == sa.bindparam("digest_"))
)
_LOCK = Statement(
    locks.of_business(_permission.c.sme).join_from(_code, _permission).where(_code.c.digest == sa.bindparam("digest_"))
)
_REDEEM = Statement(
    sa.update(_code)
    .where(_code.c.digest == sa.bindparam("digest_"), _code.c.redeemed.is_(None))
    .values(redeemed=sa.bindparam("at"), unanswered=True)
)
_ANSWER = Statement(
    sa.update(_code).where(_code.c.digest == sa.bindparam("digest_"), _code.c.unanswered).values(unanswered=None)
)
_WRONG = (
    sa.update(_code)
    .where(_code.c.digest == sa.bindparam("digest_"))
    .values(wrong_verifiers=_code.c.wrong_verifiers + 1)
)


def add(c: Connection, code: AuthorizationCode) -> None:
    rows.add(c, code)


def find(c: Connection, code: str) -> AuthorizationCode | None:
    return rows.one(c, AuthorizationCode, _FIND, {"digest_": digest(code)})


class HeldCode(NamedTuple):
    """A code and its permission, and whether its client has older permissions of the business that hold."""

    code: AuthorizationCode
    permission: Permission
    has_older: bool


def hold(c: Connection, code: str, at: int) -> HeldCode | None:
    """Return a code and its permission, as `permissions.hold` does: with its business locked."""
    values = {"digest_": digest(code), "at": at}
    locks.lock_business_of(c, _LOCK, values)
    row = _WITH_PERMISSION.row(c, values)
    if row is None:
        return None
    has_older, *columns = row
    split = len(_code.c)
    return HeldCode(AuthorizationCode._make(columns[:split]), Permission._make(columns[split:]), bool(has_older))


def issued_for(c: Connection, client_id: str, code_challenge: str) -> bool:
    """Return whether a code for a request of this client with this challenge is still kept."""
    query = sa.select(_code.c.digest).where(_code.c.client_id == client_id, _code.c.code_challenge == code_challenge)
    return c.execute(query.limit(1)).one_or_none() is not None


def redeem(c: Connection, code: str, at: int) -> bool:
    """Return True for the one call that redeems this code, however many workers try at once."""
    return _REDEEM.run(c, {"digest_": digest(code), "at": at}) == 1


def answer(c: Connection, code: str) -> bool:
    """Return True for the one call that may send what the redemption of this code issued."""
    return _ANSWER.run(c, {"digest_": digest(code)}) == 1


def wrong_verifier(c: Connection, code: str) -> None:
    """Count a wrong code_verifier."""
    c.execute(_WRONG, {"digest_": digest(code)})
