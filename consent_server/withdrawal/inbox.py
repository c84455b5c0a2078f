"""Withdrawal messages from issuers: accepted only from the member that granted, and idempotent."""

from consent_server import audit, store
from consent_server.caller.message import MessageNotYours, withdrawn_token
from consent_server.deployment import current
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.store import audit_events, connections
from consent_server.withdrawal.withdraw import Withdrawal, withdraw


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
    event = audit.event("message_accepted", sender=sender.application, subject=subject, effect=effect)
    if effect != "nothing":  # what has no effect is not kept: a member could fill the table with it
        with store.writing() as c:
            audit_events.keep(c, event)
    return effect
