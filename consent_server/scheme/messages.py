"""The message envelope between members, and the one message that there is: withdrawal of permission.

A message's body quotes a refresh token, so neither errors nor anything else here repeats what a message holds.
"""

from collections.abc import Collection
from typing import Final

WITHDRAWAL_SUBJECT: Final = "https://registry.trust.ib1.org/message/withdrawal-of-permission/2025-03-16"

MAX_TOKEN = 4096


class MessageError(ValueError):
    """The document is not a message that is understood; says which part, never what it held."""


def withdrawal(trust_framework: str, subject: str, token: str) -> dict[str, object]:
    """The message that tells a client that the permission behind this refresh token has been withdrawn."""
    return {"ib1:message": trust_framework, "subject": subject, "body": {"token": token}}


def parse_withdrawal(document: object, accepted_subjects: Collection[str]) -> str:
    """The refresh token that a withdrawal message quotes. MessageError for any other document.

    `ib1:message` must be there, and its value is not compared: members write the production framework's URL in every
    environment. Members of the document beyond the three are allowed, as the schema may grow.
    """
    if not isinstance(document, dict):
        raise MessageError("a message is a JSON object")
    if not isinstance(document.get("ib1:message"), str):
        raise MessageError("ib1:message must be the URL of the trust framework")
    # Compared one by one: `in` would find a part of a subject if a single string were configured.
    if not any(document.get("subject") == subject for subject in accepted_subjects):
        raise MessageError("subject is not one that is accepted here")
    body = document.get("body")
    token = body.get("token") if isinstance(body, dict) else None
    # RFC 6749 appendix A.17: a refresh token is visible ASCII and spaces
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN or not (token.isascii() and token.isprintable()):
        raise MessageError("body.token must be a refresh token")
    return token
