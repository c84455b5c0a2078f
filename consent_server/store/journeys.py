"""Journeys: one browser's walk from /authorize to a decision."""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import rows
from consent_server.store.digests import digest
from consent_server.store.rows import table_of
from consent_server.store.tables.journeys import Journey, Progress, PushedRequest

#: Journeys of one request that are kept open: as many as one browser has cookies for.
MOST_OPEN = 20

_journey = table_of(Journey)
_OPEN = sa.and_(_journey.c.request == sa.bindparam("request_"), _journey.c.concluded.is_(None))
#: Those in which somebody has done something, then those looked at last, stay.
_OTHERS = sa.select(_journey.c.id).where(_OPEN).order_by(_journey.c.claimed.is_(None), _journey.c.seen.desc())
_CLOSE = sa.delete(_journey).where(_journey.c.id.in_(_OTHERS.offset(MOST_OPEN - 1).limit(MOST_OPEN)))
_IS_IT = _journey.c.id == sa.bindparam("id_")
_IS_OPEN = sa.and_(_IS_IT, _journey.c.concluded.is_(None))
_FIND = sa.select(_journey).where(_IS_IT)
_NOTED = {
    "seen": sa.bindparam("at"),
    "claimed": sa.func.coalesce(_journey.c.claimed, sa.bindparam("claimed_", type_=sa.Integer)),
}
_PROGRESS = {"progress": sa.bindparam("progress_", type_=sa.JSON)}
_TOUCH = sa.update(_journey).where(_IS_OPEN).values(_NOTED)
_KEEP = sa.update(_journey).where(_IS_OPEN).values(_NOTED | _PROGRESS)
_SECRET = sa.bindparam("secret_", type_=sa.Text)
_BEFORE = sa.case((_journey.c.secret == _SECRET, _journey.c.previous_secret), else_=_journey.c.secret)
_PROVE = sa.update(_journey).where(_IS_IT).values(_NOTED | _PROGRESS | {"secret": _SECRET, "previous_secret": _BEFORE})
_CONCLUDE = sa.update(_journey).where(_IS_OPEN).values(concluded=sa.bindparam("at"))


def open(c: Connection, journey_id: str, secret: str, request: PushedRequest, at: int) -> None:
    """Start a journey with a copy of what was pushed. Of the others on this request the last MOST_OPEN - 1 stay."""
    c.execute(_CLOSE, {"request_": request.digest})
    rows.add(
        c,
        Journey(
            id=journey_id,
            secret=digest(secret),
            request=request.digest,
            client_id=request.client_id,
            member=request.member,
            redirect_uri=request.redirect_uri,
            state=request.state,
            license=request.license,
            code_challenge=request.code_challenge,
            created=at,
            seen=at,
            progress={},
            fsp=request.fsp,
            text_read=request.text_read,
            hint=request.hint,
        ),
    )


def find(c: Connection, journey_id: str) -> Journey | None:
    return rows.one(c, Journey, _FIND, {"id_": journey_id})


def touch(
    c: Connection, journey_id: str, at: int, progress: Progress | None = None, claimed: int | None = None
) -> None:
    """Record the time of a request; keep the progress and the first POST when given."""
    values = {"id_": journey_id, "at": at, "claimed_": claimed}
    c.execute(*((_TOUCH, values) if progress is None else (_KEEP, {**values, "progress_": progress})))


def prove(c: Connection, journey_id: str, at: int, progress: Progress, claimed: int | None, secret: str) -> None:
    """Keep progress as `touch` does, and give the journey a new secret, unless a click at the same instant has given it.

    The previous one stays valid for a request already under way.
    """
    values = {"id_": journey_id, "at": at, "claimed_": claimed, "progress_": progress, "secret_": digest(secret)}
    c.execute(_PROVE, values)


def change(c: Connection, journey_id: str, at: int, edit: Callable[[Progress], object]) -> None:
    """Apply `edit` to the progress as it is now: requests of one journey that arrive together change it one after the other."""
    touch(c, journey_id, at)  # on PostgreSQL this takes the row's lock; SQLite has one writer
    journey = find(c, journey_id)
    if journey is not None:
        progress: Progress = {**journey.progress}
        edit(progress)
        touch(c, journey_id, at, progress)


def conclude(c: Connection, journey_id: str, at: int) -> bool:
    """Return True for the one call that concludes this journey."""
    return c.execute(_CONCLUDE, {"id_": journey_id, "at": at}).rowcount == 1
