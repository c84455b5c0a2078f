"""Delivery of a message to an application, whose address the Directory has (Message Delivery to Applications)."""

from consent_server.outbound.directory import Directory
from consent_server.outbound.errors import BadAnswer
from consent_server.outbound.session import Session


def address_of(directory: Directory, application: str) -> str:
    """Return the address for messages that the Directory has now for an application.

    Raise Unreachable, and BadAnswer (kind `no address`) for an application without one.
    """
    address = directory.application(application, fresh=True).message_delivery
    if address is None:
        raise BadAnswer("no address", "directory")
    return address


def deliver(session: Session, address: str, message: object) -> None:
    """POST a message, once. Raise Unreachable: NotAllowed for an address that we may not call, BadAnswer for another status."""
    session.post_json(address, message).must_be(200, 201, 202, 204)
