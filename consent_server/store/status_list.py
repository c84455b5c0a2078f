"""The status list that is served: signed once for all processes, and again after a change.

A permission that has ended and is not yet `listed` is a change, whoever ended it. The mark `listed` is committed together
with the list that contains it, so that a list is complete when no such permission is left.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import locks, rows
from consent_server.store.rows import table_of
from consent_server.store.tables.permissions import KeptStatusList, Permission

ONLY: Final = 1

_permission, _kept = table_of(Permission), table_of(KeptStatusList)
_SIZE: Final = sa.select(sa.func.coalesce(sa.func.max(_permission.c.status_index), -1) + 1)
_ENDED: Final = _permission.c.ended.is_not(None)
# Found in the index ix_permission_not_listed, which has no other rows.
_NOT_LISTED: Final = sa.select(_permission.c.status_index).where(_ENDED, _permission.c.listed.is_(None))
_SERVED: Final = sa.select(
    _kept.c.text,
    _kept.c.issued,
    _kept.c.signed_by,
    sa.and_(_kept.c.size == _SIZE.scalar_subquery(), sa.not_(_NOT_LISTED.exists())).label("is_complete"),
)


class ServedStatusList(NamedTuple):
    """The signed list, when and with which key (kid) it was signed, and whether nothing has changed since."""

    text: str
    issued: int
    signed_by: str
    is_complete: bool


def served(c: Connection) -> ServedStatusList | None:
    """Return the list as it was last signed."""
    return rows.one(c, ServedStatusList, _SERVED)


def kept(c: Connection) -> KeptStatusList | None:
    """Return the same with its bits."""
    return rows.one(c, KeptStatusList, sa.select(_kept))


def not_listed(c: Connection) -> list[int]:
    """Return the status indices of the permissions that have ended since the list was kept."""
    return [*c.execute(_NOT_LISTED).scalars()]


def ended(c: Connection) -> list[int]:
    """Return the status indices of all permissions that ended before their time."""
    return [*c.execute(sa.select(_permission.c.status_index).where(_ENDED)).scalars()]


def size(c: Connection) -> int:
    """Return the number of status indices in use: the length of the list."""
    return int(c.execute(_SIZE).scalar_one())


def keep(c: Connection, row: KeptStatusList, before: KeptStatusList | None, ended: Iterable[int]) -> None:
    """Keep a list made from the one before and of what has `ended` since, unless another has replaced that one meanwhile."""
    locks.lock_name(c, "status_list")  # one at a time, or the bits of one would be lost in the other's
    if kept(c) != before:
        return
    for batch in rows.batches(ended):
        c.execute(sa.update(_permission).where(_permission.c.status_index.in_(batch)).values(listed=row.issued))
    rows.put(c, row)
