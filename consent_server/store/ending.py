"""The end of a permission, whether we granted it or hold it: one UPDATE, if the table of transitions allows it."""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.scheme.permission import Act, NoSuchTransition, after, state_at
from consent_server.store.rows import table_of
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Permission

# Both states that an act can start from, granted and expired, have no end on record.
_NOT_ENDED: Final[Mapping[type, sa.Update]] = {
    kind: sa.update(kept).where(kept.c.id == sa.bindparam("id_"), kept.c.ended.is_(None))
    for kind, kept in ((kind, table_of(kind)) for kind in (Permission, ProviderConnection))
}


def end(c: Connection, row: Permission | ProviderConnection, act: Act, at: int, **columns: str | None) -> bool:
    """Return True for the one call that ended it, False when it had ended before or the act cannot end it."""
    try:
        state = after(state_at(row.ended, row.ended_as, row.expires, at), act)
    except NoSuchTransition:
        return False
    values = {"id_": row.id, "ended": at, "ended_as": str(state), **columns}
    return c.execute(_NOT_ENDED[type(row)], values).rowcount == 1
