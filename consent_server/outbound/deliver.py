"""Delivery of a message to an application, by way of the Directory (Message Delivery to Applications)."""

from consent_server.outbound.directory import Directory
from consent_server.outbound.errors import BadAnswer
from consent_server.outbound.session import Session

_ACCEPTED = (200, 201, 202, 204)


class Delivery:
    """One attempt at a time; when to try again is the outbox's to decide."""

    def __init__(self, directory: Directory, session: Session) -> None:
        self._directory = directory
        self._session = session

    def send(self, application: str, message: object) -> None:
        """POST the message to where the Directory says, now, that the application takes messages (D11).

        Raises Unreachable: NotAllowed for an address that we may not call, BadAnswer for an application without an
        address (kind `no address`) or an answer other than 2xx.
        """
        address = self._directory.application(application, fresh=True).message_delivery
        if address is None:
            raise BadAnswer("no address", "directory")
        self._session.post_json(address, message).must_be(*_ACCEPTED)
