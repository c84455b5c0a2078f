"""A message between members as it arrives, on any server: read within limits, once its sender has been checked."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import orjson

from consent_server.refusal import Refusal
from consent_server.scheme.messages import MessageError, parse_withdrawal

LARGEST: Final = 64 * 1024


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


class MessageMalformed(Refusal):
    code = "message_malformed"
    public = "The message is not a withdrawal of permission in the form of Message Delivery; see error_uri."
    help = (
        "POST application/json with ib1:message (the trust framework's URL), subject (the withdrawal subject of this "
        "environment) and body.token (the refresh token of the permission that was withdrawn)."
    )
    clause = "IB1 Message Delivery; IB1 Withdrawal of Permission"


class MessageNotYours(Refusal):
    code = "message_not_yours"
    error = "access_denied"
    status = 403
    public = "This application did not grant the permission that the message is about."
    help = "Send withdrawal messages with the certificate of the member that issued the token."
    clause = "IB1 Withdrawal of Permission"


def sent_message(environ: Mapping[str, Any], read: Callable[[int], bytes]) -> object:
    """Return the JSON that was POSTed; `environ` is the request's WSGI environment, `read` takes at most so many bytes of it.

    Raise MessageNotJson, MessageTooLarge, MessageMalformed.
    """
    kind = str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()
    if kind != "application/json" or environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise MessageNotJson()
    stated = str(environ.get("CONTENT_LENGTH") or LARGEST + 1)
    if not (stated.isascii() and stated.isdigit()) or len(stated) > 9 or int(stated) > LARGEST + 1:
        raise MessageTooLarge()
    # No more than is stated: PEP 3333 ends the body there, and some servers wait for the sender to say more.
    body = read(int(stated))
    if len(body) > LARGEST:
        raise MessageTooLarge()
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise MessageMalformed("not JSON") from None
    return document


def withdrawn_token(document: object, subjects: tuple[str, ...]) -> str:
    """Return the refresh token that a message is about. Raise MessageMalformed."""
    try:
        return parse_withdrawal(document, subjects)
    except MessageError as error:
        raise MessageMalformed(str(error)) from None
