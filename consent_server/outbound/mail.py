"""Mail to an SME: sign-in codes and receipts. By SMTP, or in the sandbox as JSON to the trust services."""

import os
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from urllib.parse import urlsplit

from consent_server.outbound.deadline import Deadline
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.page_time import call_time
from consent_server.outbound.session import Session
from consent_server.settings import Settings

_TIMEOUT_S = 10.0
#: For the whole exchange with a relay, less where a page waits for it: a relay that drips is within the limit of each read.
_TOTAL_S = 30.0


class _Relay(smtplib.SMTP):
    """An SMTP connection that ends with the deadline of the current call, the greeting and every TLS record included."""

    def __init__(self, host: str, port: int, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__(host, port, timeout=_TIMEOUT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), self._deadline.cut(timeout, host))
        # STARTTLS takes the descriptor away from the socket that we have, so it is shut by another one.
        self._twin = socket.socket(fileno=os.dup(connection.fileno()))
        self._deadline.using(self._twin)
        return connection

    def close(self) -> None:
        super().close()
        self._twin.close()


class Mail:
    def __init__(self, settings: Settings, session: Session) -> None:
        self._source = settings.mail.source
        self._sender = settings.mail.sender
        self._session = session
        self._deadline = Deadline()

    def send(self, to: str, subject: str, text: str) -> None:
        """Send one plain-text mail. Raise Unreachable, and ValueError for an address or subject with a line end."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._sender, to, subject
        message.set_content(text)
        if self._source.startswith("smtp://"):
            with self._relay() as connection:
                connection.send_message(message)
            return
        document = {"to": to, "from": self._sender, "subject": subject, "text": text}
        self._session.post_json(self._source, document, configured=True).must_be(200, 201, 202, 204)

    def reach(self) -> None:
        """Connect to the relay and send nothing. Raise Unreachable."""
        if self._source.startswith("smtp://"):
            with self._relay():
                return
        self._session.get(self._source, configured=True).must_be(200, 204, 405)

    @contextmanager
    def _relay(self) -> Iterator[smtplib.SMTP]:
        # The operator's own relay usually has a private address, so the session's rule about addresses does not apply.
        relay = urlsplit(self._source)
        host = relay.hostname or ""
        with call_time(relay.netloc, True, _TOTAL_S) as longest_s, self._deadline.of(longest_s):
            try:
                with _Relay(host, relay.port or 25, self._deadline) as connection:
                    connection.ehlo()
                    if connection.has_extn("starttls"):
                        connection.starttls(context=ssl.create_default_context())
                    yield connection
            except (OSError, smtplib.SMTPException) as error:
                kind = "refused" if isinstance(error, smtplib.SMTPRecipientsRefused) else "connection"
                raise Unreachable(self._deadline.kind(kind), host) from None
