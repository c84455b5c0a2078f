"""The closed list of audit events, and the fields that each must have.

An event is a flat dictionary. Every event becomes one JSON line on the logger `consent_server.audit`; what has to be proved
later is also kept in the database, with the act that it records (see `store.audit_events`). No field ever holds a token, a
code, a key, a meter number or a postcode.
"""

import json
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

import orjson

from consent_server import clock

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="-")

log = logging.getLogger("consent_server.audit")
_escaped: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode
#: Values of these types are written by `_escaped`: orjson would write them in another form.
_NOT_BY_ORJSON: Final = (
    orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
)
#: Writes a line. A door's worker sets another than the logger (config/gunicorn.conf.py).
out: Callable[[str], None] = log.info
#: Called with each line as it is written, in this process.
listeners: Final[list[Callable[[Mapping[str, Any]], None]]] = []

EVENTS: Final[dict[str, frozenset[str]]] = {
    name: frozenset(fields.split())
    for name, fields in {
        # what a client requested
        "pushed_request": "client_id member license redirect_host certificate",
        "code_redeemed": "client_id permission license",
        "code_replayed": "client_id permission",
        "token_refreshed": "client_id permission license",
        "permission_read": "client_id permission",
        "token_introspected": "client_id active",
        "meters_looked_up": "client_id permission meters",
        "token_revoked": "client_id permission",
        # what an SME did
        "journey_opened": "client_id license",
        "sme_identified": "client_id journey method strength",
        "permission_granted": "client_id journey permission license text_sha256",
        "permission_declined": "client_id license",
        "permission_superseded": "permission by",
        "permission_withdrawn": "permission by where why",
        "signed_in": "account method",
        "passkey_added": "account passkey",
        "passkey_removed": "account passkey",
        "passkey_renamed": "account passkey",
        "connection_made": "connection issuer license",
        "connection_ended": "connection by why",
        # what was sent and received
        "data_released": "client_id permission resource fuels window readings",
        "readings_collected": "connection readings deployed_forms",
        "deployed_form_accepted": "form issuer",
        "message_accepted": "sender subject effect",
        "message_sent": "recipient permission attempt",
        "message_given_up": "recipient permission attempts error",
        "revocation_sent": "issuer connection attempt",
        "revocation_given_up": "issuer connection attempts error",
        "mail_sent": "subject kind attempt",
        "mail_given_up": "subject kind attempts error",
        # what an operator decided
        "reading_released": "meter half_hour reason by why",
        "reading_discarded": "meter half_hour reason by why",
        "notice_changed": "notice kind change",
        # what was refused or went wrong
        "refused": "refusal status private",
        "passkey_refused": "why passkey",
        "budget_used_up": "budget most seconds",
        "server_fault": "kind",
        "list_refreshed": "list entries",
        "list_refresh_failed": "list error",
        "catalogue_claim_refused": "service issuer member",
        "retention_applied": "removed",
        "record_deleted": "subject rows",
        "subject_erased": "certificate withdrawn rows by certificate_sha256",
        "factors_loaded": "year file_sha256",
        "keys_changed": "key change",
        "certificate_ends": "certificate days",
        "clock_stepped_back": "seconds",
        "audit_checkpoint": "position digest",
    }.items()
}


def as_json(made: Mapping[str, Any]) -> str:
    """Return a log line: printable ASCII, so that no value of a stranger's moves a terminal's cursor or looks like another."""
    try:
        text = orjson.dumps(made, option=_NOT_BY_ORJSON).decode()
    except (TypeError, ValueError):
        return _escaped(made)
    return text if text.isascii() and "\x7f" not in text else _escaped(made)


def event(name: str, **fields: Any) -> dict[str, Any]:
    """Write one audit line and return it, so that the act that it records can keep it. Raise ValueError, as `line` does."""
    found = line(name, **fields)
    write(found)
    return found


def line(name: str, **fields: Any) -> dict[str, Any]:
    """Return an audit line, for an act that writes it when it has succeeded.

    `fields` must have at least the event's own fields. Raise ValueError for an unknown event or a missing field: the list
    is closed, so that a reader of the log can know what to expect.
    """
    required = EVENTS.get(name)
    if required is None:
        raise ValueError(f"{name} is not an audit event")
    if missing := required - fields.keys():
        raise ValueError(f"audit event {name} lacks {', '.join(sorted(missing))}")
    return {"at": clock.now(), "event": name, "correlation_id": correlation_id.get(), **fields}


def write(made: dict[str, Any]) -> None:
    """Write an audit line."""
    out(as_json(made))
    for listener in listeners:
        listener(made)
