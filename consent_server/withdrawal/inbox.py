"""Withdrawal messages from issuers: believed only from the one that granted, and harmless when they come twice."""

from collections.abc import Callable
from dataclasses import dataclass

from consent_server import audit, store
from consent_server.caller.trust import require_role
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal
from consent_server.scheme.messages import MessageError, parse_withdrawal
from consent_server.store import connections
from consent_server.withdrawal.withdraw import Withdrawal, withdraw


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


@dataclass(frozen=True)
class InboxParts:
    """`caller` answers who is calling, from the request's environ; `mac` the keyed digest of a token."""

    caller: Callable[[dict[str, object]], MemberCertificate]
    senders: tuple[str, ...]
    subjects: tuple[str, ...]
    mac: Callable[[str], str]


def sender(parts: InboxParts, environ: dict[str, object]) -> MemberCertificate:
    """Who sends, once it may: judged before anything that it sent is read. Raises the refusals of `caller`, RoleMissing."""
    found = parts.caller(environ)
    require_role(found, parts.senders)
    return found


def receive(parts: InboxParts, sender: MemberCertificate, document: object) -> str:
    """Act on one message; answers its effect: "withdrawn", or "nothing" for a token that we do not hold (any more).

    Raises MessageMalformed and MessageNotYours.
    """
    try:
        token = parse_withdrawal(document, parts.subjects)
    except MessageError as error:
        raise MessageMalformed(str(error)) from None
    with store.reading() as c:
        connection = connections.by_refresh_mac(c, parts.mac(token))
    if connection is None:
        effect, subject = "nothing", "-"
    elif connection.member != sender.member:
        raise MessageNotYours(f"connection {connection.id} was granted by {connection.member}, not {sender.member}")
    else:
        told = Withdrawal(
            by="sme", where=connection.issuer, why="withdrawn at the provider", already_told=connection.issuer
        )
        effect = "withdrawn" if withdraw(connection.id, told) else "nothing"
        subject = connection.id
    audit.event("message_accepted", sender=sender.application, subject=subject, effect=effect)
    return effect
