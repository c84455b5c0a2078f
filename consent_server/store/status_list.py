"""The status list that is served: signed once for all processes, and again after a change.

A permission that has ended and is not yet `listed` is a change, whoever ended it. The mark `listed` is committed together
with the list that contains it, so that a list is complete when no such permission is left.
"""

from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import locks, rows
from consent_server.store.rows import table_of
from consent_server.store.tables import KeptStatusList, Permission

ONLY: Final = 1

_permission, _kept = table_of(Permission), table_of(KeptStatusList)
_SIZE: Final = sa.select(sa.func.coalesce(sa.func.max(_permission.c.status_index), -1) + 1)
_ENDED: Final = _permission.c.ended.is_not(None)
# Found in the index ix_permission_not_listed, which has no other rows.
_IS_BEHIND: Final = sa.exists(sa.select(_permission.c.listed).where(_ENDED, _permission.c.listed.is_(None)))
_SERVED: Final = sa.select(
    _kept.c.text,
    _kept.c.issued,
    _kept.c.signed_by,
    sa.and_(_kept.c.size == _SIZE.scalar_subquery(), sa.not_(_IS_BEHIND)).label("is_complete"),
)
_LIST: Final = (
    sa.update(_permission).where(_ENDED).values(listed=sa.bindparam("at")).returning(_permission.c.status_index)
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
    """Return the same with its bits, for the one transaction that may now replace it."""
    locks.lock_name(c, "status_list")  # one at a time, or the bits of one would be lost in the other's
    return rows.one(c, KeptStatusList, sa.select(_kept))


def take_up(c: Connection, at: int, *, everything: bool) -> list[int]:
    """Record that the list has every end as of now. Return the status indices of the new ones, or of `everything`."""
    statement = _LIST if everything else _LIST.where(_permission.c.listed.is_(None))
    return [int(index) for index in c.execute(statement, {"at": at}).scalars()]


def size(c: Connection) -> int:
    """Return the number of status indices in use: the length of the list."""
    return int(c.execute(_SIZE).scalar_one())


def ended(c: Connection) -> list[int]:
    """Return the status indices of all permissions that ended before their time."""
    return [int(index) for index in c.execute(sa.select(_permission.c.status_index).where(_ENDED)).scalars()]


def keep(c: Connection, row: KeptStatusList) -> None:
    rows.put(c, row)
