"""Evidence: what an SME saw and did, one row for each grant and each connection."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from consent_server.store.models import Evidence, table

_evidence = table(Evidence)


def add(c: Connection, **values: Any) -> None:
    c.execute(sa.insert(_evidence), values)


def find(c: Connection, evidence_id: str) -> Row[Any] | None:
    return c.execute(sa.select(_evidence).where(_evidence.c.id == evidence_id)).one_or_none()


def of_subject(c: Connection, subject: str) -> Row[Any] | None:
    """The evidence of one permission or one connection."""
    return c.execute(sa.select(_evidence).where(_evidence.c.subject == subject)).one_or_none()
