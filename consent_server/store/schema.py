"""The schema of a party's database: brought up to date by one process at a time, in one transaction."""

from functools import cache
from typing import Literal

import sqlalchemy as sa

from consent_server.store.database import MIGRATIONS, reading, upgrade
from consent_server.store.faults import SchemaNotCurrent, refusal_for

#: Alembic's own table.
_VERSION = sa.table("alembic_version", sa.column("version_num"))


def migrate(revision: str = "head") -> None:
    """Bring the schema of the current application's database up to date. Raise StoreUnavailable.

    Another process that does the same is waited for. One that is killed leaves the schema as it was.
    """
    if state() == "newer":
        return
    try:
        upgrade(revision)
    except sa.exc.SQLAlchemyError as error:
        raise (refusal_for(error) or error) from error


def state() -> Literal["current", "behind", "newer"]:
    """Return whether the current application's database has the schema of this program. Raise StoreUnavailable.

    A revision that this program does not know belongs to a newer one, whose schema suits this one too (CONTRIBUTING.md).
    """
    with reading() as connection:
        known = sa.inspect(connection).has_table(_VERSION.name)
        revision = connection.execute(sa.select(_VERSION.c.version_num)).scalar_one_or_none() if known else None
    *older, newest = _revisions()
    if revision is None or revision in older:
        return "behind"
    return "current" if revision == newest else "newer"


def require_current() -> None:
    """Raise SchemaNotCurrent if the current application's database lacks a migration of this program."""
    if state() == "behind":
        raise SchemaNotCurrent("the schema is older than this program: run `consent-server db upgrade`")


@cache
def _revisions() -> tuple[str, ...]:
    """Return the revisions of this release, oldest first: the name of a migration's file begins with its revision."""
    return tuple(sorted(path.name.partition("_")[0] for path in MIGRATIONS.glob("versions/[0-9]*.py")))
