"""Withdrawal messages from issuers: accepted only from the member that granted, and idempotent."""

from consent_server import audit, store
from consent_server.deployment import current
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


def withdrawn_token(document: object, subjects: tuple[str, ...]) -> str:
    """Return the refresh token that a message is about. Raise MessageMalformed."""
    try:
        return parse_withdrawal(document, subjects)
    except MessageError as error:
        raise MessageMalformed(str(error)) from None


def receive(sender: MemberCertificate, document: object) -> str:
    """Act on one message; return its effect: "withdrawn", or "nothing" for a token that we do not hold, or no longer.

    Raise MessageMalformed and MessageNotYours.
    """
    here = current()
    token = withdrawn_token(document, here.settings.scheme.withdrawal_subjects)
    with store.reading() as c:
        connection = connections.by_refresh_mac(c, here.sealer.mac(token))
    if connection is None:
        effect, subject = "nothing", "-"
    elif connection.member != sender.member:
        raise MessageNotYours(f"connection {connection.id} was granted by {connection.member}, not {sender.member}")
    else:
        withdrawal = Withdrawal(
            by="sme", where=connection.issuer, why="withdrawn at the provider", already_told=connection.issuer
        )
        effect = "withdrawn" if withdraw(connection.id, withdrawal) else "nothing"
        subject = connection.id
    audit.event("message_accepted", sender=sender.application, subject=subject, effect=effect)
    return effect
