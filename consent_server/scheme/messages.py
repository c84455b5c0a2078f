"""The message envelope between members, and its only message: withdrawal of permission.

A message's body contains a refresh token, so no error here repeats any part of a message.
"""

from collections.abc import Collection
from typing import Final

WITHDRAWAL_SUBJECT: Final = "https://registry.trust.ib1.org/message/withdrawal-of-permission/2025-03-16"

MAX_TOKEN = 4096


class MessageError(ValueError):
    """The document is not a message that we understand. The text names the part and never its value."""


def withdrawal(trust_framework: str, subject: str, token: str) -> dict[str, object]:
    """Return the message to a client that the permission behind this refresh token has been withdrawn."""
    return {"ib1:message": trust_framework, "subject": subject, "body": {"token": token}}


def parse_withdrawal(document: object, accepted_subjects: Collection[str]) -> str:
    """Return the refresh token in a withdrawal message. Raise MessageError for any other document.

    `ib1:message` must be present, but its value is not compared: members write the production framework's URL in every
    environment. Other properties are allowed, because the schema may grow.
    """
    if not isinstance(document, dict):
        raise MessageError("a message is a JSON object")
    if not isinstance(document.get("ib1:message"), str):
        raise MessageError("ib1:message must be the URL of the trust framework")
    # Compared one by one: `in` would accept part of a subject if a single string were configured.
    if not any(document.get("subject") == subject for subject in accepted_subjects):
        raise MessageError("subject is not one that is accepted here")
    body = document.get("body")
    token = body.get("token") if isinstance(body, dict) else None
    # RFC 6749 appendix A.17: a refresh token is visible ASCII and spaces
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN or not (token.isascii() and token.isprintable()):
        raise MessageError("body.token must be a refresh token")
    return token
