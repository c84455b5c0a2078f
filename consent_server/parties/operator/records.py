"""What an operator may read and do about one permission: its record, its audit events, and a withdrawal in its name.

Nothing here shows a token, a meter number or a postcode: ids, URLs and instants alone.
"""

import re
from collections.abc import Iterator

from consent_server import clock, store
from consent_server.scheme import instant
from consent_server.scheme.permission import state_at
from consent_server.scheme.registry_document import MalformedLicense, from_rdf
from consent_server.store import audit_events, connections, links, outbox, permissions
from consent_server.store.fetched import StoredCache
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.permissions import Permission
from consent_server.withdrawal.ending_with import ending_with
from consent_server.withdrawal.withdraw import Withdrawal, withdraw

_LONGEST_WHY = 300
# As long as the shortest meter point number: the reason is kept, audited and shown to the SME.
_NUMBER = re.compile(r"\d[\d ]{4,}\d")


class CommandFailed(Exception):
    """The command cannot be carried out; the message says why, and what to do."""


def instant_of(text: str) -> int:
    """Return the instant that an operator names: a day (its first instant, UTC) or RFC 3339. Raise CommandFailed."""
    try:
        return instant.parse(f"{text}T00:00:00Z" if len(text) == len("2026-03-12") else text)
    except ValueError:
        raise CommandFailed("name a day such as 2026-03-12, or an instant such as 2026-03-12T09:30:00Z") from None


def events(*, event: str | None, subject: str | None, since: int | None, limit: int) -> Iterator[dict[str, object]]:
    """Yield the newest kept events that match, oldest of them first, like lines of the log with the time as text."""
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


def permission(subject: str) -> dict[str, object]:
    """Return all that is kept of one permission (granted here) or connection (granted to us elsewhere).

    Raise CommandFailed when there is neither.
    """
    at = clock.now()
    with store.reading() as c:
        row = links.find(c, subject)
        if row is None:
            raise CommandFailed(f"there is no permission or connection {subject}")
        calls = outbox.of_subject(c, subject)
        below, above = links.dependents(c, subject), links.supports(c, subject)
        forms = connections.deployed_forms(c, subject)
    own = _granted_here(row) if isinstance(row, Permission) else _granted_elsewhere(row, forms)
    ended = {"at": instant.text(row.ended), "by": row.ended_by, "why": row.ended_why} if row.ended is not None else None
    return {
        "id": row.id,
        **own,
        "state": state_at(row.ended, row.ended_as, row.expires, at),
        "member": row.member,
        "license": row.license,
        **_license_ends(row.license, at),
        "granted": instant.text(row.granted),
        "expires": instant.text(row.expires),
        **({"ended": ended} if ended else {}),
        "rests_on": above,
        "rest_on_it": below,
        "calls": [_call(call) for call in calls],
    }


def living() -> list[str]:
    """Return the ids of what can be withdrawn now: permissions granted here, and connections, granted to us elsewhere."""
    at = clock.now()
    with store.reading() as c:
        return [*permissions.living(c, at), *connections.living(c, at)]


def _license_ends(license_url: str, at: int) -> dict[str, str]:
    """Return what the Registry's copy here says of the license's end: such a permission goes on, and cannot be renewed."""
    copy = StoredCache().get(license_url)
    try:
        published = from_rdf(copy.body, license_url) if copy else None
    except MalformedLicense:
        return {}
    if published is None or not (published.is_prohibited(at) or published.is_deprecated(at)):
        return {}
    return {"license_is": "prohibited" if published.is_prohibited(at) else "deprecated"}


def _granted_here(row: Permission) -> dict[str, object]:
    return {
        "kind": "permission",
        "client_id": row.client_id,
        "sme": row.sme,
        "fuels": row.fuels,
        "text_sha256": row.text_sha256,
        "redeemed": instant.text(row.redeemed) if row.redeemed is not None else None,
        "refresh_key_version": row.refresh_version,
    }


def _granted_elsewhere(row: ProviderConnection, deployed_forms: list[str]) -> dict[str, object]:
    return {"kind": "connection", "issuer": row.issuer, "deployed_forms": deployed_forms}


def _call(row: OwedCall) -> dict[str, object]:
    state = "delivered" if row.delivered is not None else "given up" if row.given_up is not None else "waiting"
    return {"number": row.id, "kind": row.kind, "recipient": row.recipient, "state": state, "attempts": row.attempts}


def reason_of(text: str, what: str) -> str:
    """Return an operator's words in one line. Raise CommandFailed for none, too many, or a number."""
    words = " ".join(text.split())
    if not words or len(words) > _LONGEST_WHY or not words.isprintable():
        raise CommandFailed(f"{what}, in 1 to {_LONGEST_WHY} characters")
    if _NUMBER.search(words):
        raise CommandFailed("leave numbers of meters and telephones out: the reason is kept and shown")
    return words


def ending(subject: str) -> list[str]:
    """Return the ids of all that ends if this one is withdrawn, itself first. Raise CommandFailed where it has ended."""
    state = permission(subject)["state"]
    if state != "granted":
        raise CommandFailed(f"{subject} has ended already ({state}): see `consent-server permissions show`")
    with store.reading() as c:
        return [subject, *ending_with(c, subject, clock.now())]


def withdraw_as_operator(subject: str, why: str) -> list[str]:
    """Withdraw for an SME that asked in another way. Return the ids of all that ended. Raise CommandFailed.

    The message to the client waits in the outbox for the worker, as after any withdrawal.
    """
    why = reason_of(why, "say why")
    ending(subject)
    ended = withdraw(subject, Withdrawal(by="operator", where="command line", why=why))
    if not ended:
        raise CommandFailed(f"{subject} has ended meanwhile: see `consent-server permissions show`")
    return ended
