"""Evidence: what an SME saw and did, one row for each grant and each connection."""

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import AGREED_ACCOUNT, Evidence, Permission

_evidence = table_of(Evidence)
#: It is of a connection that was agreed to and never made: the provider granted nothing, or the business did not come back.
NEVER_MADE: Final = sa.and_(
    *(~sa.exists().where(each.c.id == _evidence.c.subject) for each in map(table_of, (Permission, ProviderConnection)))
)
_BY_ID = sa.select(_evidence).where(_evidence.c.id == sa.bindparam("id_"))
_OF_SUBJECT = sa.select(_evidence).where(_evidence.c.subject == sa.bindparam("subject_"))


def add(c: Connection, evidence: Evidence) -> None:
    rows.add(c, evidence)


def find(c: Connection, evidence_id: str) -> Evidence | None:
    return rows.one(c, Evidence, _BY_ID, {"id_": evidence_id})


def subjects_of(c: Connection, business: str) -> list[str]:
    """Return the permissions and connections whose evidence names a business, by its name as it was shown."""
    named = _evidence.c.who["business"].as_string()
    query = sa.select(_evidence.c.subject).where(named == business, ~NEVER_MADE).order_by(_evidence.c.at)
    return list(c.execute(query).scalars())


def subjects(c: Connection) -> list[str]:
    """Return every permission and connection that there is evidence of, oldest first."""
    query = sa.select(_evidence.c.subject).where(~NEVER_MADE).order_by(_evidence.c.at, _evidence.c.subject)
    return list(c.execute(query).scalars())


def is_never_made(account: str) -> sa.ColumnElement[bool]:
    """Return the condition that it is of a connection which an account agreed to, and which was never made."""
    return sa.and_(sa.literal(account) == AGREED_ACCOUNT, NEVER_MADE)


def never_made(c: Connection, account: str) -> list[str]:
    """Return the ids of the connections to which an account agreed, and which were never made, oldest first."""
    query = sa.select(_evidence.c.subject).where(is_never_made(account)).order_by(_evidence.c.at)
    return list(c.execute(query).scalars())


def never_made_before(c: Connection, before: int, limit: int) -> list[str]:
    """Return connections that were agreed to before an instant and never made, no more than `limit`."""
    return list(
        c.execute(sa.select(_evidence.c.subject).where(_evidence.c.at < before, NEVER_MADE).limit(limit)).scalars()
    )


def forget_never_made(c: Connection, subjects: Collection[str]) -> int:
    """Delete the evidence of connections, but of none that there is; return how many rows."""
    return c.execute(sa.delete(_evidence).where(_evidence.c.subject.in_(subjects), NEVER_MADE)).rowcount


def of_subject(c: Connection, subject: str) -> Evidence | None:
    """Return the evidence of one permission or one connection."""
    return rows.one(c, Evidence, _OF_SUBJECT, {"subject_": subject})


def of_subjects(c: Connection, subjects: Collection[str]) -> dict[str, Evidence]:
    """Return subject -> evidence, for those of some permissions or connections that have any."""
    return {row.subject: row for row in rows.every_in(c, Evidence, sa.select(_evidence), _evidence.c.subject, subjects)}
