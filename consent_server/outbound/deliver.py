"""Delivery of a message to an application, whose address the Directory has (Message Delivery to Applications)."""

from consent_server.outbound.directory import Directory
from consent_server.outbound.errors import BadAnswer
from consent_server.outbound.session import Session


def deliver(directory: Directory, session: Session, application: str, message: object) -> None:
    """POST a message, once, to the address that the Directory has now for an application.

    Raise Unreachable: NotAllowed for an address that we may not call, BadAnswer for an application without an address (kind
    `no address`) or another status than these.
    """
    address = directory.application(application, fresh=True).message_delivery
    if address is None:
        raise BadAnswer("no address", "directory")
    session.post_json(address, message).must_be(200, 201, 202, 204)
