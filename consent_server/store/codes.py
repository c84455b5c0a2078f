"""Authorization codes: kept as digests, redeemed by one conditional UPDATE."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from consent_server.store.digests import digest
from consent_server.store.models import Code, table

_code = table(Code)
_ADD = sa.insert(_code)
_FIND = sa.select(_code).where(_code.c.digest == sa.bindparam("digest_"))
_REDEEM = (
    sa.update(_code)
    .where(_code.c.digest == sa.bindparam("digest_"), _code.c.redeemed.is_(None))
    .values(redeemed=sa.bindparam("at"))
)
_WRONG = (
    sa.update(_code)
    .where(_code.c.digest == sa.bindparam("digest_"))
    .values(wrong_verifiers=_code.c.wrong_verifiers + 1)
    .returning(_code.c.wrong_verifiers)
)


def add(c: Connection, code: str, **values: Any) -> None:
    c.execute(_ADD, {"digest": digest(code), **values})


def find(c: Connection, code: str) -> Row[Any] | None:
    return c.execute(_FIND, {"digest_": digest(code)}).one_or_none()


def issued_for(c: Connection, client_id: str, code_challenge: str) -> bool:
    """Whether a code that is still kept answers a request of this client with this challenge."""
    query = sa.select(_code.c.digest).where(_code.c.client_id == client_id, _code.c.code_challenge == code_challenge)
    return c.execute(query.limit(1)).one_or_none() is not None


def redeem(c: Connection, code: str, at: int) -> bool:
    """True for the one call that redeems this code, however many workers try at once."""
    return c.execute(_REDEEM, {"digest_": digest(code), "at": at}).rowcount == 1


def wrong_verifier(c: Connection, code: str) -> int:
    """Count a wrong code_verifier; answers how many there were."""
    return int(c.execute(_WRONG, {"digest_": digest(code)}).scalar_one())


def forget(c: Connection, before: int) -> int:
    """Delete codes issued before an instant."""
    return c.execute(sa.delete(_code).where(_code.c.issued < before)).rowcount
