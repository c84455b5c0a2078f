"""What an operator may read and do about one permission: its record, its audit events, and a withdrawal in its name.

Nothing here shows a token, a meter number or a postcode; ids, URLs and instants alone.
"""

import re
from collections.abc import Iterator
from typing import Any

from consent_server import clock, store
from consent_server.scheme import instant
from consent_server.scheme.permission import state_at
from consent_server.store import audit_events, connections, links, outbox, permissions
from consent_server.withdrawal.withdraw import Withdrawal, withdraw

OPERATOR = "operator"
_LONGEST_WHY = 300
# As long as the shortest meter point number: the reason is kept, audited and shown to the SME.
_NUMBER = re.compile(r"\d[\d ]{4,}\d")
_CALL_STATES = (("delivered", "delivered"), ("given_up", "given up"))


class NotPossible(Exception):
    """The command cannot be done; the message says why and what to do."""


def instant_of(text: str) -> int:
    """The instant that an operator names: a day (its first instant, UTC) or RFC 3339. Raises NotPossible."""
    try:
        return instant.parse(f"{text}T00:00:00Z" if len(text) == len("2026-03-12") else text)
    except ValueError:
        raise NotPossible("name a day such as 2026-03-12, or an instant such as 2026-03-12T09:30:00Z") from None


def events(
    *, event: str | None = None, subject: str | None = None, since: int | None = None, limit: int = 100
) -> Iterator[dict[str, Any]]:
    """The newest kept events that match, oldest of them first, in the form of the log's lines, with the time as text."""
    with store.reading() as c:
        rows = audit_events.newest(c, limit, event=event, subject=subject, since=since)
    for row in rows:
        yield {
            "at": row.at,
            "time": instant.text(row.at),
            "event": row.event,
            "correlation_id": row.correlation_id,
            **row.fields,
        }


def permission(subject: str) -> dict[str, Any]:
    """All that is kept of one permission (granted here) or connection (granted to us elsewhere). Raises NotPossible."""
    at = clock.now()
    with store.reading() as c:
        row, kind = permissions.find(c, subject), "permission"
        if row is None:
            row, kind = connections.find(c, subject), "connection"
        if row is None:
            raise NotPossible(f"there is no permission or connection {subject}")
        calls = outbox.of_subject(c, subject)
        below, above = links.dependents(c, subject), links.supports(c, subject)
    said: dict[str, Any] = {
        "id": row.id,
        "kind": kind,
        "state": str(state_at(row.ended, row.ended_as, row.expires, at)),
        **({"client_id": row.client_id, "sme": row.sme} if kind == "permission" else {"issuer": row.issuer}),
        "member": row.member,
        "license": row.license,
        "granted": instant.text(row.granted),
        "expires": instant.text(row.expires),
    }
    if kind == "permission":
        said |= {
            "fuels": row.fuels,
            "text_sha256": row.text_sha256,
            "redeemed": instant.text(row.redeemed) if row.redeemed is not None else None,
            "refresh_key_version": row.refresh_version,
        }
    if row.ended is not None:
        said["ended"] = {"at": instant.text(row.ended), "by": row.ended_by, "why": row.ended_why}
    said |= {"rests_on": above, "rest_on_it": below, "calls": [_call(call) for call in calls]}
    return said


def _call(row: Any) -> dict[str, Any]:
    state = next((text for column, text in _CALL_STATES if getattr(row, column) is not None), "waiting")
    return {"number": row.id, "kind": row.kind, "recipient": row.recipient, "state": state, "attempts": row.attempts}


def withdraw_as_operator(subject: str, why: str) -> list[str]:
    """Withdraw for an SME that asked by another way; answers the ids of all that fell.

    The client is told, as always: the message waits in the outbox for the worker. Raises NotPossible.
    """
    why = " ".join(why.split())
    if not why or len(why) > _LONGEST_WHY or not why.isprintable():
        raise NotPossible(f"say why, in 1 to {_LONGEST_WHY} characters")
    if _NUMBER.search(why):
        raise NotPossible("leave numbers of meters and telephones out: the reason is kept and shown")
    state = permission(subject)["state"]
    fallen = withdraw(subject, Withdrawal(by=OPERATOR, where="command line", why=why))
    if not fallen:
        raise NotPossible(f"{subject} has ended already ({state}): see `consent-server permissions show`")
    return fallen
