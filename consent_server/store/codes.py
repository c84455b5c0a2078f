"""Authorization codes: kept as digests, redeemed by one conditional UPDATE."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import database, locks, rows
from consent_server.store.digests import digest
from consent_server.store.rows import table_of
from consent_server.store.statement import Statement
from consent_server.store.tables.permissions import AuthorizationCode, Permission

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
_LOCKED = (
    locks.of_business(_permission.c.sme).join_from(_code, _permission).where(_code.c.digest == sa.bindparam("digest_"))
)
_LOCK = Statement(_LOCKED)
_REDEEM = Statement(
    sa.update(_code)
    .where(_code.c.digest == sa.bindparam("digest_"), _code.c.redeemed.is_(None))
    .values(redeemed=sa.bindparam("at"), unanswered=True)
)
_REDEEM_PERMISSION = Statement(
    sa.update(_permission)
    .where(
        _permission.c.ended.is_(None),
        _permission.c.id.in_(
            sa.select(_code.c.permission).where(_code.c.digest == sa.bindparam("digest_"), _code.c.redeemed.is_(None))
        ),
    )
    .values(redeemed=sa.bindparam("at"))
)
_ANSWER = Statement(
    sa.update(_code)
    .where(_code.c.digest == sa.bindparam("digest_"), _code.c.unanswered)
    .values(unanswered=None)
    .returning(_code.c.digest)
)


@cache
def _redeem_at_once() -> Statement:
    """Return a statement of PostgreSQL that redeems a code with its permission, if the one is unused and the other holds.

    Its business is locked before its rows, as in each transaction; they are then judged as they are, and not as they were
    when the statement began (FOR UPDATE).
    """
    business = _LOCKED.cte("business").prefix_with("MATERIALIZED")
    held = (
        sa.select(_code.c.digest, _permission.c.id)
        .select_from(business.join(_code, sa.true()).join(_permission))
        .where(_code.c.digest == sa.bindparam("digest_"), _code.c.redeemed.is_(None), _permission.c.ended.is_(None))
        .with_for_update(of=[_code, _permission])
        .cte("held")
        .prefix_with("MATERIALIZED")
    )
    now: sa.BindParameter[int] = sa.bindparam("at")
    redeemed = (
        sa.update(_code).where(_code.c.digest.in_(sa.select(held.c.digest))).values(redeemed=now, unanswered=True)
    )
    return Statement(
        sa.update(_permission)
        .where(_permission.c.id.in_(sa.select(held.c.id)))
        .values(redeemed=now)
        .returning(_permission.c.id)
        .add_cte(redeemed.cte("redeemed"))
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
    return _held(_WITH_PERMISSION.row(c, values))


def look(code: str, at: int) -> HeldCode | None:
    """Return a code and its permission without a transaction. Raise StoreUnavailable."""
    return _held(database.ask(_WITH_PERMISSION, {"digest_": digest(code), "at": at}))


def _held(row: Sequence[Any] | None) -> HeldCode | None:
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


def redeem_at_once(code: str, at: int) -> bool:
    """Redeem a code and its permission, if the one is unused and the other has not ended: on PostgreSQL in one statement.

    Return False, with nothing changed, otherwise. It supersedes no older permission. Raise StoreUnavailable, OutcomeUnknown.
    """
    values = {"digest_": digest(code), "at": at}
    if not database.is_sqlite():
        return database.write_alone(_redeem_at_once(), values) is not None
    with database.writing() as c:
        return _REDEEM_PERMISSION.run(c, values) == 1 and _REDEEM.run(c, values) == 1


def answer(code: str) -> bool:
    """Return True for the one call that may send what the redemption of this code issued.

    Raise StoreUnavailable, OutcomeUnknown.
    """
    return database.write_alone(_ANSWER, {"digest_": digest(code)}) is not None


def wrong_verifier(c: Connection, code: str) -> None:
    """Count a wrong code_verifier."""
    c.execute(_WRONG, {"digest_": digest(code)})
