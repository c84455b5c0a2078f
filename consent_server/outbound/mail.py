"""Mail to an SME: sign-in codes. By SMTP, or in the sandbox as JSON to the trust services."""

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from urllib.parse import urlsplit

from consent_server.outbound.errors import Unreachable
from consent_server.outbound.session import Session
from consent_server.settings import Settings

_TIMEOUT_S = 10.0


class Mail:
    def __init__(self, settings: Settings, session: Session) -> None:
        self._source = settings.mail.source
        self._sender = settings.mail.sender
        self._session = session

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
        try:
            with smtplib.SMTP(host, relay.port or 25, timeout=_TIMEOUT_S) as connection:
                connection.ehlo()
                if connection.has_extn("starttls"):
                    connection.starttls(context=ssl.create_default_context())
                yield connection
        except (OSError, smtplib.SMTPException) as error:
            kind = "refused" if isinstance(error, smtplib.SMTPRecipientsRefused) else "connection"
            raise Unreachable(kind, host) from None
