"""Counts for the report on policies: licenses in use, responses after an end, and how soon withdrawals were delivered."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.scheme.permission import State
from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.audit import KeptEvent
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.permissions import Permission

_permission, _connection = table_of(Permission), table_of(ProviderConnection)
_event, _call = table_of(KeptEvent), table_of(OwedCall)
#: The events of an answer under a permission: the table of what they are about, its column, and the field that has its value.
_ANSWERS: Final[Mapping[str, tuple[sa.FromClause, str, str]]] = {
    "data_released": (_permission, "account", "permission"),
    "readings_collected": (_connection, "id", "connection"),
}


class LicenseUse(NamedTuple):
    """How many live permissions and connections rest on a license, and when the last of them ends."""

    license: str
    permissions: int
    connections: int
    last_end: int


class LateAnswer(NamedTuple):
    """An answer under a permission or connection that had ended before."""

    event: str
    at: int
    subject: str
    ended: int


class ToldWithdrawals(NamedTuple):
    """Withdrawals, and the messages about them: told in time, told late, waiting for too long, given up."""

    withdrawals: int
    in_time: int
    late: int
    waiting: int
    given_up: int


def licenses(c: Connection, at: int) -> list[LicenseUse]:
    """Return the licenses of what is live, by their URL."""
    live = [
        sa.select(each.c.license, each.c.expires, sa.literal(number).label("kind")).where(
            each.c.ended.is_(None), each.c.expires > at
        )
        for number, each in enumerate((_permission, _connection))
    ]
    every = sa.union_all(*live).subquery()
    connections = sa.func.sum(every.c.kind)
    query = sa.select(every.c.license, sa.func.count() - connections, connections, sa.func.max(every.c.expires))
    return rows.every(c, LicenseUse, query.group_by(every.c.license).order_by(every.c.license))


def answered_after_end(c: Connection, since: int, grace_s: int, limit: int) -> list[LateAnswer]:
    """Return answers since an instant, each given more than `grace_s` seconds after the end of what it was given under."""
    found: list[LateAnswer] = []
    for event, (about, column, field) in _ANSWERS.items():
        end = sa.func.coalesce(about.c.ended, about.c.expires)
        query = sa.select(_event.c.event, _event.c.at, about.c.id, end).join(
            about, about.c[column] == _event.c.fields[field].as_string()
        )
        late = query.where(_event.c.at >= since, _event.c.event == event, _event.c.at > end + grace_s)
        found += rows.every(c, LateAnswer, late.order_by(_event.c.at).limit(limit))
    return found


def withdrawals(c: Connection, since: int, at: int, within_s: int) -> ToldWithdrawals:
    """Return the withdrawals since an instant, and how soon the messages that they caused were delivered."""
    ended = 0
    for each in (_permission, _connection):
        withdrawn = sa.and_(each.c.ended >= since, each.c.ended_as == str(State.WITHDRAWN))
        ended += int(c.execute(sa.select(sa.func.count()).select_from(each).where(withdrawn)).scalar_one())
    took = _call.c.delivered - _call.c.created
    waits = sa.and_(_call.c.delivered.is_(None), _call.c.given_up.is_(None), _call.c.created < at - within_s)
    conditions = (
        took <= within_s,
        took > within_s,
        waits,
        sa.and_(_call.c.delivered.is_(None), _call.c.given_up.is_not(None)),
    )
    counts = (sa.func.coalesce(sa.func.sum(sa.case((each, 1), else_=0)), 0) for each in conditions)
    counted = c.execute(sa.select(*counts).where(_call.c.created >= since)).one()
    return ToldWithdrawals(ended, *map(int, counted))
