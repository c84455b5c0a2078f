"""The inbox's one route, at a mutual-TLS door."""

from typing import ClassVar

import orjson
from flask import Blueprint, Response, jsonify, request

from consent_server import clock
from consent_server.deployment import current
from consent_server.refusal import Refusal
from consent_server.withdrawal.inbox import MessageMalformed, receive

LARGEST = 64 * 1024


class MessageTooLarge(Refusal):
    code = "message_too_large"
    status = 413
    public = f"A message has at most {LARGEST} bytes."
    help = "Send the message alone: ib1:message, subject and body."
    clause = "IB1 Message Delivery; RFC 9110 15.5.14"


class MessageNotJson(Refusal):
    code = "message_not_json"
    status = 415
    public = "A message must be sent as application/json."
    help = "Send Content-Type: application/json and a JSON object, without Content-Encoding."
    clause = "IB1 Message Delivery; RFC 9110 15.5.16"
    headers: ClassVar[dict[str, str]] = {"Accept": "application/json"}


routes = Blueprint("inbox", __name__)


@routes.post("/messages")
def messages() -> Response:
    here = current()
    # The caller is judged before anything that it sent is read.
    sender = here.callers.identify(request.environ, here.settings.scheme.edp_roles, clock.now())
    return jsonify(effect=receive(sender, sent_message()))


def sent_message() -> object:
    """Return the JSON that was POSTed. Raise MessageNotJson, MessageTooLarge, MessageMalformed."""
    if request.mimetype != "application/json" or request.headers.get("Content-Encoding", "identity") != "identity":
        raise MessageNotJson()
    if (request.content_length or 0) > LARGEST:
        raise MessageTooLarge()
    body = request.stream.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise MessageTooLarge()
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise MessageMalformed("not JSON") from None
    return document
