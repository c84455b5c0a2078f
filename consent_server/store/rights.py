"""What our role may do in the database, as the doctor asks it."""

from contextlib import suppress

import sqlalchemy as sa

from consent_server.store.database import is_sqlite, reading, writing
from consent_server.store.rows import table_of
from consent_server.store.tables.audit import KeptEvent
from consent_server.store.tables.limits import FailureCount

#: Tables and sequences. One right of a list is enough for has_table_privilege, so that each is asked for by itself.
_RELATIONS = sa.text("""
    SELECT relname, pg_has_role(relowner, 'USAGE'),
        CASE relkind WHEN 'S' THEN has_sequence_privilege(oid, 'USAGE')
        ELSE has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
            AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE') END
    FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'S')
        AND relname <> 'alembic_version' ORDER BY relname
""")


class _Undone(Exception):
    """Ends a transaction that is to leave nothing."""


def require_writable() -> None:
    """Write a row and take it back. Raise StoreUnavailable."""
    with suppress(_Undone), writing() as c:
        c.execute(sa.insert(table_of(FailureCount)), {"key": "doctor", "window": 0, "count": 0})
        raise _Undone


def closed() -> list[str]:
    """Return the tables in which our role may not read, insert, update and delete rows, and the sequences that it may not use.

    SQLite has no roles.
    """
    return [name for name, _, is_open in _relations() if not is_open]


def owns_trail() -> bool:
    """Return whether our role owns the audit trail, and could remove the triggers that protect it (docs/audit.md)."""
    return any(is_ours for name, is_ours, _ in _relations() if name == table_of(KeptEvent).name)


def _relations() -> list[tuple[str, bool, bool]]:
    if is_sqlite():
        return []
    with reading() as c:
        return [(name, is_ours, is_open) for name, is_ours, is_open in c.execute(_RELATIONS)]
