"""The schema of a party's database: brought up to date by one process at a time, in one transaction."""

from functools import cache
from typing import Literal

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask_migrate import upgrade

from consent_server.store.database import MIGRATIONS, reading
from consent_server.store.faults import SchemaNotCurrent, refusal_for


def migrate(revision: str = "head") -> None:
    """Bring the schema of the current application's database up to date. Raise StoreUnavailable.

    Another process that does the same is waited for. One that is killed leaves the schema as it was.
    """
    if state() == "newer":
        return
    try:
        upgrade(directory=str(MIGRATIONS), revision=revision)
    except sa.exc.SQLAlchemyError as error:
        raise (refusal_for(error) or error) from error


def state() -> Literal["current", "behind", "newer"]:
    """Return whether the current application's database has the schema of this program. Raise StoreUnavailable.

    A revision that this program does not know belongs to a newer one, whose schema suits this one too (CONTRIBUTING.md).
    """
    with reading() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
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
    """Return the revisions that this program knows, oldest first."""
    script = ScriptDirectory(str(MIGRATIONS))
    return tuple(each.revision for each in script.walk_revisions())[::-1]
