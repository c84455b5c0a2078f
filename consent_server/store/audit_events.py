"""The audit trail: events, written in the transaction of the act that they record, and sealed into a chain afterwards.

A job seals them, and not the act, since each position depends on the one before: two acts would have to wait for each other.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.scheme import audit_chain
from consent_server.scheme.audit_chain import BEFORE_THE_FIRST, AuditCheckpoint, ChainLink
from consent_server.scheme.instant import DAY
from consent_server.store import rows
from consent_server.store.locks import lock_name
from consent_server.store.rows import table_of
from consent_server.store.statement import Statement
from consent_server.store.tables.audit import KeptCheckpoint, KeptEvent
from consent_server.store.tables.permissions import Permission

_event, _permission = table_of(KeptEvent), table_of(Permission)
_checkpoint = table_of(KeptCheckpoint)
#: The fields that name a permission or a connection.
_SUBJECTS = ("permission", "connection", "subject", "by")
#: The triggers of the database let no younger event be deleted (migration 0018).
NEVER_BEFORE_S: Final = 38 * 31 * DAY
_OWN_COLUMNS = ("at", "event", "correlation_id")
_LAST = sa.select(_event.c.position, _event.c.digest, _event.c.at).order_by(_event.c.position.desc()).limit(1)
_SEAL = (
    sa.update(_event)
    .where(_event.c.id == sa.bindparam("id_"))
    .values({name: sa.bindparam(f"{name}_") for name in ("position", "contents", "digest")})
)
_KEEP = Statement(sa.insert(_event).inline(), (*_OWN_COLUMNS, "fields"))


def keep(c: Connection, *events: dict[str, object]) -> None:
    """Keep what `audit.event` returned."""
    if len(events) == 1:
        _KEEP.run(c, _row(events[0]))
    elif events:
        c.execute(_KEEP.core(c.dialect.name), [_row(event) for event in events])


def kept_where(condition: sa.CTE) -> sa.CTE:
    """Return, for a statement of PostgreSQL that has `condition`, what keeps an event of `parameters` for each of its rows."""
    names = (*_OWN_COLUMNS, "fields")
    values = sa.select(*(sa.bindparam(f"event_{name}", type_=_event.c[name].type) for name in names))
    return sa.insert(_event).from_select(names, values.select_from(condition)).cte("kept_event")


def parameters(event: dict[str, object]) -> dict[str, object]:
    """Return the parameters of `kept_where` for an event."""
    return {f"event_{name}": value for name, value in _row(event).items()}


def _row(event: dict[str, object]) -> dict[str, object]:
    fields = {name: value for name, value in event.items() if name not in _OWN_COLUMNS}
    return {"fields": fields, **{name: event[name] for name in _OWN_COLUMNS}}


def newest(
    c: Connection, limit: int = 100, *, event: str | None = None, subject: str | None = None, since: int | None = None
) -> list[KeptEvent]:
    """Return the newest events, oldest of them first: of one name, about one permission or connection, from an instant on.

    The identification of a business is about the permission that its journey led to, and a release of data about the permission
    whose account it names: a resource server knows no more of it.
    """
    query = sa.select(_event)
    if event is not None:
        query = query.where(_event.c.event == event)
    if subject is not None:
        query = query.where(_is_about(subject))
    if since is not None:
        query = query.where(_event.c.at >= since)
    return rows.every(c, KeptEvent, query.order_by(_event.c.id.desc()).limit(limit))[::-1]


def _is_about(subject: str) -> sa.ColumnElement[bool]:
    def text(event: sa.FromClause, name: str) -> sa.ColumnElement[str]:
        found: sa.ColumnElement[str] = event.c.fields[name].as_string()
        return found

    granted = _event.alias()
    led_to_it = sa.and_(granted.c.event == "permission_granted", text(granted, "permission") == subject)
    identified = sa.and_(
        _event.c.event == "sme_identified",
        text(_event, "journey").in_(sa.select(text(granted, "journey")).where(led_to_it)),
    )
    account = sa.select(_permission.c.account).where(_permission.c.id == subject).scalar_subquery()
    released = sa.and_(_event.c.event == "data_released", text(_event, "permission") == account)
    return sa.or_(*(text(_event, name) == subject for name in _SUBJECTS), identified, released)


def seal(c: Connection, most: int) -> int:
    """Give at most so many events, oldest first, their places in the chain; return how many."""
    lock_name(c, "audit chain")
    waiting = rows.every(
        c, KeptEvent, sa.select(_event).where(_event.c.position.is_(None)).order_by(_event.c.id).limit(most)
    )
    if not waiting:
        return 0
    last = end(c)
    position, digest = (last.position, last.digest) if last else (0, BEFORE_THE_FIRST)
    sealed = []
    for row in waiting:
        position, contents = position + 1, audit_chain.contents(_contents(row))
        digest = audit_chain.follow(digest, position, contents)
        sealed.append({"id_": row.id, "position_": position, "contents_": contents, "digest_": digest})
    c.execute(_SEAL, sealed)
    return len(sealed)


def end(c: Connection) -> AuditCheckpoint | None:
    """Return the end of the chain: the last position that was sealed, its digest, and the instant of its event."""
    row = c.execute(_LAST.where(_event.c.position.is_not(None))).one_or_none()
    return None if row is None else AuditCheckpoint(*row)


def waiting_since(c: Connection) -> int | None:
    """Return the instant of the oldest event that has no place in the chain yet."""
    found: int | None = c.execute(sa.select(sa.func.min(_event.c.at)).where(_event.c.position.is_(None))).scalar_one()
    return found


def chain(c: Connection, after: int = 0, until: int | None = None, page: int = 1000) -> Iterator[ChainLink]:
    """Yield what is sealed, by position, from the one after `after`. `c` must stay open meanwhile."""
    while True:
        query = sa.select(_event).where(_event.c.position > after).order_by(_event.c.position).limit(page)
        if until is not None:
            query = query.where(_event.c.position <= until)
        found = rows.every(c, KeptEvent, query)
        for row in found:
            assert row.position is not None and row.contents is not None and row.digest is not None  # noqa: PT018
            yield ChainLink(row.position, _contents(row), row.contents, row.digest)
            after = row.position
        if len(found) < page:
            return


def add_checkpoint(c: Connection, point: AuditCheckpoint, signed: Mapping[str, str]) -> bool:
    """Keep a signed checkpoint, unless there is one of its position. Return whether it was kept."""
    return rows.add_unless_there(c, KeptCheckpoint(point.position, point.digest, point.at, signed))


def checkpoints(c: Connection, since: int = 0) -> list[KeptCheckpoint]:
    """Return the checkpoints that were signed from an instant on, oldest first."""
    query = sa.select(_checkpoint).where(_checkpoint.c.at >= since).order_by(_checkpoint.c.position)
    return rows.every(c, KeptCheckpoint, query)


def last_checkpoint(c: Connection) -> KeptCheckpoint | None:
    return rows.one(c, KeptCheckpoint, sa.select(_checkpoint).order_by(_checkpoint.c.position.desc()).limit(1))


def forget(c: Connection, before: int) -> int:
    """Delete the oldest events up to the first checkpoint, if all of them were before an instant; return how many.

    What follows a checkpoint can still be verified, since its digest is signed. The last checkpoint's events stay, so that the
    chain has an end to go on from.
    """
    # The triggers follow the database's own clock, which may be behind ours.
    now = "strftime('%s', 'now')" if c.dialect.name == "sqlite" else "floor(extract(epoch FROM now()))"
    before = min(before, int(c.execute(sa.text(f"SELECT {now}")).scalar_one()) - NEVER_BEFORE_S)
    first = sa.select(sa.func.min(_event.c.position)).scalar_subquery()
    point = c.execute(
        sa.select(sa.func.min(_checkpoint.c.position)).where(_checkpoint.c.position >= first)
    ).scalar_one()
    last = end(c)
    if point is None or last is None or point >= last.position:
        return 0
    up_to = _event.c.position <= point
    if c.execute(sa.select(sa.func.max(_event.c.at)).where(up_to)).scalar_one() >= before:
        return 0
    return c.execute(sa.delete(_event).where(up_to)).rowcount


def _contents(row: KeptEvent) -> dict[str, object]:
    own = {"at": row.at, "correlation_id": row.correlation_id, "event": row.event, "id": row.id}
    return {**own, "fields": dict(row.fields)}
