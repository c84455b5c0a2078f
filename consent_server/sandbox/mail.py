"""The sandbox's mail: what the CAP sends arrives here as JSON and is shown to anyone.

Also the inbox for messages to applications of the manifest that run no service of their own.
"""

import hashlib
from typing import Any, Final

from flask import Blueprint, Response, request

from consent_server.sandbox.journal import Journal
from consent_server.sandbox.layout import APPLICATIONS, Layout
from consent_server.sandbox.publishing import answered, here, refused
from consent_server.scheme import instant

_MAIL_FIELDS: Final = ("to", "from", "subject", "text")

routes = Blueprint("mail", __name__, url_prefix="/sandbox")


def mailed(layout: Layout, to: str | None = None) -> list[dict[str, Any]]:
    """Return the mail, or the mail to one address, the oldest first."""
    return [_dated(entry) for entry in Journal(layout.mailbox).entries() if to in (None, entry["to"])]


def received(layout: Layout) -> list[dict[str, Any]]:
    """Return the messages in the inbox, the oldest first. Of a token only a digest is kept."""
    return [_dated(entry) for entry in Journal(layout.messages).entries()]


@routes.post("/mail")
def send() -> Response:
    mail = request.get_json(silent=True)
    if not isinstance(mail, dict) or not all(isinstance(mail.get(name), str) for name in _MAIL_FIELDS):
        return refused(422, "invalid_request", f"POST a JSON object with the texts {', '.join(_MAIL_FIELDS)}.")
    Journal(here().mailbox).add({name: mail[name] for name in _MAIL_FIELDS})
    return answered({"accepted": True}, 201)


@routes.get("/mail")
def read() -> Response:
    return answered({"mail": mailed(here(), request.args.get("to"))})


@routes.post("/messages/<application>")
def deliver(application: str) -> Response:
    entry = APPLICATIONS.get(application)
    if entry is None or entry.delivery != "inbox":
        return refused(404, "not_found", "No application of this sandbox takes its messages here.")
    message = request.get_json(silent=True)
    body = message.get("body") if isinstance(message, dict) else None
    token = body.get("token") if isinstance(body, dict) else None
    if not isinstance(message, dict) or not isinstance(token, str):
        return refused(422, "invalid_request", "POST a message envelope whose body has a token.")
    digest = hashlib.sha256(token.encode()).hexdigest()
    arrived = {"application": application, "subject": str(message.get("subject")), "token_sha256": digest}
    Journal(here().messages).add(arrived)
    return answered({"accepted": True}, 202)


@routes.get("/messages")
def messages() -> Response:
    return answered({"messages": received(here())})


def _dated(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "at": instant.text(entry["at"])}
