"""The inbox's one route, at a mutual-TLS door."""

from flask import Blueprint, Response, jsonify, request

from consent_server import clock
from consent_server.caller.message import sent_message
from consent_server.deployment import current
from consent_server.withdrawal.inbox import receive

routes = Blueprint("inbox", __name__)


@routes.post("/messages")
def messages() -> Response:
    here = current()
    # The caller is judged before anything that it sent is read.
    sender = here.callers.identify(request.environ, here.settings.scheme.edp_roles, clock.now())
    return jsonify(effect=receive(sender, sent_message(request.environ, request.stream.read)))
