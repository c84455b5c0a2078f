"""Evidence: what an SME saw and did, one row for each grant and each connection."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.permissions import Evidence

_evidence = table_of(Evidence)
_BY_ID = sa.select(_evidence).where(_evidence.c.id == sa.bindparam("id_"))
_OF_SUBJECT = sa.select(_evidence).where(_evidence.c.subject == sa.bindparam("subject_"))


def add(c: Connection, evidence: Evidence) -> None:
    rows.add(c, evidence)


def find(c: Connection, evidence_id: str) -> Evidence | None:
    return rows.one(c, Evidence, _BY_ID, {"id_": evidence_id})


def subjects_of(c: Connection, business: str) -> list[str]:
    """Return the permissions and connections whose evidence names a business, by its name as it was shown."""
    named = _evidence.c.who["business"].as_string()
    query = sa.select(_evidence.c.subject).where(named == business).order_by(_evidence.c.at)
    return list(c.execute(query).scalars())


def subjects(c: Connection) -> list[str]:
    """Return every permission and connection that there is evidence of, oldest first."""
    return list(c.execute(sa.select(_evidence.c.subject).order_by(_evidence.c.at, _evidence.c.subject)).scalars())


def of_subject(c: Connection, subject: str) -> Evidence | None:
    """Return the evidence of one permission or one connection."""
    return rows.one(c, Evidence, _OF_SUBJECT, {"subject_": subject})


def of_subjects(c: Connection, subjects: Collection[str]) -> dict[str, Evidence]:
    """Return subject -> evidence, for those of some permissions or connections that have any."""
    return {row.subject: row for row in rows.every_in(c, Evidence, sa.select(_evidence), _evidence.c.subject, subjects)}
