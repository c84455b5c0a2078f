"""What has been given out under each permission, and when last: for whoever gave it to see."""

from collections.abc import Iterable
from functools import cache
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.permissions import Permission, ReleasedData

_permission, _released = table_of(Permission), table_of(ReleasedData)
#: A second release within so many seconds is not noted, unless it was of other times.
_NOTED_S: Final = 60


def note(c: Connection, account: str, first: int, last: int, at: int) -> None:
    """Note that data from `first` to `last` were given out under the permission with an opaque account."""
    c.execute(_note(c.dialect.name), {"account_": account, "first_": first, "last_": last, "at_": at})


def of_subjects(c: Connection, permissions: Iterable[str]) -> dict[str, ReleasedData]:
    """Return permission -> what was given out under it."""
    found = rows.every_in(c, ReleasedData, sa.select(_released), _released.c.subject, permissions)
    return {row.subject: row for row in found}


@cache
def _note(dialect: str) -> sa.Executable:
    least, most = (sa.func.least, sa.func.greatest) if dialect == "postgresql" else (sa.func.min, sa.func.max)
    held, names = _released.c, ("first", "last", "at")
    values = [sa.bindparam(f"{name}_", type_=held[name].type) for name in names]
    statement = rows.insert(dialect, ReleasedData).from_select(
        ["subject", *names],
        sa.select(_permission.c.id, *values).where(_permission.c.account == sa.bindparam("account_")),
    )
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=_released.primary_key,
        set_={"first": least(held.first, new.first), "last": most(held.last, new.last), "at": new.at},
        where=sa.or_(new.first < held.first, new.last > held.last, new.at >= held.at + _NOTED_S),
    )
