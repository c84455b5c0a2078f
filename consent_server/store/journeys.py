"""Journeys: one browser's walk from /authorize to a decision."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from consent_server.store.digests import digest
from consent_server.store.models import Journey, table

_journey = table(Journey)
_COPIED = ("client_id", "member", "redirect_uri", "state", "license", "code_challenge")


def open(c: Connection, journey_id: str, secret: str, request: Row[Any], at: int) -> None:
    """Start a journey with a copy of what was pushed."""
    copied = {name: getattr(request, name) for name in _COPIED}
    c.execute(
        sa.insert(_journey),
        {
            "id": journey_id,
            "secret": digest(secret),
            "request": request.digest,
            "created": at,
            "seen": at,
            "progress": {},
            **copied,
        },
    )


def find(c: Connection, journey_id: str) -> Row[Any] | None:
    return c.execute(sa.select(_journey).where(_journey.c.id == journey_id)).one_or_none()


def touch(
    c: Connection, journey_id: str, at: int, progress: dict[str, Any] | None = None, claimed: int | None = None
) -> None:
    """Note that the SME was here; keep its progress and the first POST when given."""
    values: dict[str, Any] = {"seen": at}
    if progress is not None:
        values["progress"] = progress
    if claimed is not None:
        values["claimed"] = sa.func.coalesce(_journey.c.claimed, claimed)
    c.execute(sa.update(_journey).where(_journey.c.id == journey_id, _journey.c.concluded.is_(None)).values(values))


def rotate(c: Connection, journey_id: str, secret: str) -> None:
    """Give the journey a new secret; the one before stays good for a click that was already under way."""
    c.execute(
        sa.update(_journey)
        .where(_journey.c.id == journey_id)
        .values(secret=digest(secret), previous_secret=_journey.c.secret)
    )


def conclude(c: Connection, journey_id: str, at: int) -> bool:
    """True for the one call that concludes this journey."""
    return (
        c.execute(
            sa.update(_journey).where(_journey.c.id == journey_id, _journey.c.concluded.is_(None)).values(concluded=at)
        ).rowcount
        == 1
    )


def forget(c: Connection, before: int) -> int:
    """Delete journeys opened before an instant."""
    return c.execute(sa.delete(_journey).where(_journey.c.created < before)).rowcount
