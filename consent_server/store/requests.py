"""Pushed authorization requests (RFC 9126)."""

from functools import cache

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import audit_events, database, limits, rows
from consent_server.store.digests import digest
from consent_server.store.rows import table_of
from consent_server.store.statement import Statement
from consent_server.store.tables.journeys import PushedRequest

_request = table_of(PushedRequest)
_FIND = Statement(sa.select(_request).where(_request.c.digest == sa.bindparam("digest_")))
_CONCLUDE = (
    sa.update(_request)
    .where(_request.c.digest == sa.bindparam("digest_"), _request.c.concluded.is_(None))
    .values(concluded=sa.bindparam("at"))
)


_WITHIN = Statement(limits.within)


@cache
def _push_within() -> Statement:
    """Return one statement for PostgreSQL that counts and keeps a request. Run twice with the same request, it keeps one."""
    counted = limits.within("postgresql").cte("counted")
    values = sa.select(*(sa.bindparam(f"{column.name}_", type_=column.type) for column in _request.c)).select_from(
        counted
    )
    names = [column.name for column in _request.c]
    insert = rows.insert("postgresql", PushedRequest).from_select(names, values).on_conflict_do_nothing()
    kept = insert.returning(_request.c.digest).cte("kept")
    return Statement(sa.select(counted.c.count).add_cte(kept, audit_events.kept_where(kept)))


def push_within(request: PushedRequest, budget: limits.Budget, event: dict[str, object]) -> bool:
    """Keep a pushed request with its audit event and count it, all or nothing. Return False where the budget is used up.

    Raise StoreUnavailable, OutcomeUnknown.
    """
    if database.is_sqlite():
        with database.writing() as c:
            is_within = _WITHIN.row(c, budget._asdict()) is not None
            if is_within:
                push(c, request)
                audit_events.keep(c, event)
        return is_within
    values = {f"{name}_": value for name, value in request._asdict().items()}
    values |= audit_events.parameters(event)
    return database.write_alone(_push_within(), values | budget._asdict()) is not None


def push(c: Connection, request: PushedRequest) -> None:
    rows.add(c, request)


def find(c: Connection, handle: str) -> PushedRequest | None:
    return rows.one(c, PushedRequest, _FIND, {"digest_": digest(handle)})


def conclude(c: Connection, request: str, at: int) -> bool:
    """Conclude the request with this digest. Return True for the first caller alone: single use in one statement."""
    return c.execute(_CONCLUDE, {"digest_": request, "at": at}).rowcount == 1


def askers(c: Connection, since: int) -> set[str]:
    """Return the members that have pushed a request since an instant."""
    return set(c.scalars(sa.select(_request.c.member).where(_request.c.created >= since).distinct()))
