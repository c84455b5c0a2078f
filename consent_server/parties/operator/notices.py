"""What an operator announces to partners: incidents, and downtime that is planned, with the notice that the scheme asks for."""

import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final, Literal

from consent_server import audit, clock, store
from consent_server.parties.operator.records import CommandFailed, reason_of
from consent_server.scheme import instant
from consent_server.status import working_days
from consent_server.store import audit_events, notices
from consent_server.store.tables.status import NoticeText, StatusNotice

Effect = Literal["down", "degraded"]

#: IB1 technical documentation, operations guidelines: five working days at least, and a month where that is possible.
WORKING_DAYS: Final = 5
#: Texts of one incident: a feed has them all.
_MOST_TEXTS: Final = 100


def open_incident(parts: Sequence[str], effect: Effect, title: str, text: str, since: int | None) -> StatusNotice:
    """Tell partners of an incident. Raise CommandFailed."""
    at = clock.now()
    begins = at if since is None else since
    if begins > at:
        raise CommandFailed("an incident has begun: for what is to come, plan downtime")
    texts: list[NoticeText] = [{"at": at, "text": reason_of(text, "say what partners meet")}]
    return _announce("incident", parts, effect, title, begins, None, in_time=False, texts=texts)


def update_incident(notice_id: str, text: str, *, close: bool) -> StatusNotice:
    """Add to an incident, and end it with `close`. Raise CommandFailed."""
    at = clock.now()
    words = reason_of(text, "say how it is now")
    with store.writing() as c:
        notice = _found(notices.find(c, notice_id), notice_id, "incident")
        if notice.ends is not None:
            raise CommandFailed(f"{notice_id} was closed at {instant.text(notice.ends)}: open another incident")
        if len(notice.texts) >= _MOST_TEXTS and not close:
            raise CommandFailed(f"{notice_id} has {_MOST_TEXTS} texts: close it, and open another incident")
        texts: list[NoticeText] = [*notice.texts, {"at": at, "text": words}]
        changed = notice._replace(texts=texts, ends=at if close else None)
        _keep(c, changed, "closed" if close else "updated")
    return changed


def plan_downtime(
    parts: Sequence[str], title: str, begins: int, ends: int, *, short_notice: bool, keep: bool
) -> StatusNotice:
    """Tell partners of downtime to come; with `keep` off only check. Raise CommandFailed.

    With `short_notice` less notice is accepted. Such downtime counts as failure in the service levels.
    """
    at = clock.now()
    if begins <= at:
        raise CommandFailed("downtime is planned ahead: for what has begun, open an incident")
    if ends <= begins:
        raise CommandFailed("--to must be after --from")
    in_time = working_days.between(_day(at), _day(begins)) >= WORKING_DAYS
    if not in_time and not short_notice:
        first = working_days.after(_day(at), WORKING_DAYS)
        raise CommandFailed(
            f"the scheme asks for {WORKING_DAYS} working days' notice, so downtime may begin on {first} at the earliest; "
            "with --short-notice it is announced all the same, and counts as failure"
        )
    return _announce("downtime", parts, "down", title, begins, ends, in_time=in_time, texts=[], keep=keep)


def is_a_month_ahead(notice: StatusNotice) -> bool:
    """Return whether downtime was announced as early as the scheme prefers."""
    return notice.begins >= instant.months_later(notice.announced, 1)


def cancel_downtime(notice_id: str) -> StatusNotice:
    """Take back downtime that is not over; downtime that has begun ends now. Raise CommandFailed."""
    at = clock.now()
    with store.writing() as c:
        notice = _found(notices.find(c, notice_id), notice_id, "downtime")
        if notice.cancelled is not None or notice.ends is None or notice.ends <= at:
            raise CommandFailed(f"{notice_id} is over or cancelled already")
        changed = notice._replace(ends=at) if notice.begins < at else notice._replace(cancelled=at)
        _keep(c, changed, "ended" if notice.begins < at else "cancelled")
    return changed


def _announce(
    kind: Literal["incident", "downtime"],
    parts: Sequence[str],
    effect: Effect,
    title: str,
    begins: int,
    ends: int | None,
    *,
    in_time: bool,
    texts: Sequence[NoticeText],
    keep: bool = True,
) -> StatusNotice:
    notice = StatusNotice(
        id=secrets.token_hex(4),
        kind=kind,
        parts=list(dict.fromkeys(parts)),
        effect=effect,
        title=reason_of(title, "give it a title"),
        begins=begins,
        ends=ends,
        announced=clock.now(),
        in_time=in_time,
        texts=texts,
    )
    if keep:
        with store.writing() as c:
            _keep(c, notice, "announced")
    return notice


def _keep(c: store.Connection, notice: StatusNotice, change: str) -> None:
    notices.put(c, notice)
    audit_events.keep(c, audit.event("notice_changed", notice=notice.id, kind=notice.kind, change=change))


def _found(notice: StatusNotice | None, notice_id: str, kind: str) -> StatusNotice:
    if notice is None or notice.kind != kind:
        raise CommandFailed(f"there is no {kind} {notice_id}: see `consent-server status list`")
    return notice


def _day(at: int) -> date:
    """Return the day in the United Kingdom."""
    return datetime.fromtimestamp(at + instant.uk_offset(at), UTC).date()
