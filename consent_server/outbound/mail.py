"""Mail to an SME: sign-in codes and receipts. By SMTP, or in the sandbox as JSON to the trust services.

By SMTP the message is the standard library's (`email` with the policy for SMTP) and so is the protocol (`smtplib`). TLS is
required, with the relay's certificate checked, unless `mail.unencrypted` says otherwise.
"""

import contextlib
import os
import smtplib
import socket
import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import Final
from urllib.parse import urlsplit

from email_validator import validate_email

from consent_server import clock
from consent_server.outbound.deadline import Deadline
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.outbound.page_time import call_time
from consent_server.outbound.session import Session
from consent_server.outbound.tls_messages import limit_messages
from consent_server.settings import Settings
from consent_server.settings.calls import MailSettings

_TIMEOUT_S = 10.0
#: For the whole exchange with a relay, less where a page waits for it: a relay that drips is within the limit of each read.
_TOTAL_S = 30.0
_PORTS: Final = {"smtp": 25, "smtps": 465}


class MailNotTaken(Unreachable):
    """The relay refused or failed at one recipient or one message: it may take the next."""


class _Relay(smtplib.SMTP):
    """An SMTP connection that ends with the deadline of the current call, the greeting and every TLS record included.

    With `tls` it is encrypted from the first byte (RFC 8314).
    """

    def __init__(self, host: str, port: int, our_name: str, deadline: Deadline, tls: ssl.SSLContext | None) -> None:
        self._deadline, self._tls = deadline, tls
        # Without a name of ours smtplib asks a name server for one, for as long as that takes.
        super().__init__(host, port, our_name, timeout=_TIMEOUT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), self._deadline.cut(timeout, host))
        # TLS takes the descriptor away from the socket that we have, so it is shut by another one.
        self._twin = socket.socket(fileno=os.dup(connection.fileno()))
        self._deadline.using(self._twin)
        if self._tls is None:
            return connection
        try:
            return self._tls.wrap_socket(connection, server_hostname=host)
        except OSError:
            self._twin.close()
            raise

    def close(self) -> None:
        super().close()
        self._twin.close()


class Mail:
    """The relay that the settings name."""

    def __init__(self, settings: Settings, session: Session) -> None:
        self._settings = settings.mail
        self._our_name = urlsplit(settings.public.origin).hostname or "localhost"
        self._session = session
        self._deadline = Deadline()

    def send(self, to: str, subject: str, text: str) -> None:
        """Send one plain-text mail to one address.

        Raise MailNotTaken, Unreachable, and ValueError for what is no address and for a subject with a line end.
        """
        address = validate_email(to, check_deliverability=False)
        message = self._message(address.ascii_email or address.normalized, subject, text)
        if not self._settings.by_smtp:
            document = {"to": to, "from": self._settings.sender, "subject": subject, "text": text}
            answer = self._session.post_json(self._settings.source, document, configured=True)
            try:
                answer.must_be(200, 201, 202, 204)
            except BadAnswer as refused:
                raise MailNotTaken(refused.kind, refused.host) from None
            return
        with self._relay() as connection:
            self._submit(connection, message)

    def reach(self) -> None:
        """Connect to the relay as for a mail, authentication included, and send nothing. Raise Unreachable."""
        if self._settings.by_smtp:
            with self._relay():
                return
        self._session.get(self._settings.source, configured=True).must_be(200, 204, 405)

    def _message(self, to: str, subject: str, text: str) -> EmailMessage:
        message = EmailMessage(policy=SMTP)  # refuses a header with a line end
        message["From"], message["To"], message["Subject"] = self._settings.sender, to, subject
        message["Date"] = formatdate(clock.now())
        message["Message-ID"] = make_msgid(domain=self._our_name)
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5: no out-of-office reply
        message.set_content(text, cte="quoted-printable")  # every relay takes seven bits, and no line end by itself
        return message

    @contextlib.contextmanager
    def _relay(self) -> Iterator[_Relay]:
        # The operator's own relay usually has a private address, so the session's rule about addresses does not apply.
        relay = urlsplit(self._settings.source)
        host = relay.hostname or ""
        with call_time(relay.netloc, True, _TOTAL_S) as longest_s, self._deadline.of(longest_s):
            try:
                connection = self._connected(host, relay.port or _PORTS[relay.scheme], relay.scheme == "smtps")
            except (OSError, smtplib.SMTPException) as error:
                raise Unreachable(self._deadline.kind(_kind(error)), host) from None
            try:
                yield connection
            finally:
                # What the relay says to QUIT changes nothing: a mail that it has taken is not sent again.
                with contextlib.suppress(OSError, smtplib.SMTPException):
                    connection.quit()
                connection.close()

    def _connected(self, host: str, port: int, tls_at_once: bool) -> _Relay:
        wanted = self._settings
        context = None if wanted.unencrypted else ssl.create_default_context(cafile=wanted.roots)
        if context is not None:
            limit_messages(context)
        connection = _Relay(host, port, self._our_name, self._deadline, context if tls_at_once else None)
        try:
            connection.ehlo_or_helo_if_needed()
            if context is not None and not tls_at_once:
                connection.starttls(context=context)
            if wanted.user:
                connection.login(wanted.user, _password(wanted))
        except BaseException:
            connection.close()
            raise
        return connection

    def _submit(self, connection: _Relay, message: EmailMessage) -> None:
        host = urlsplit(self._settings.source).hostname or ""
        try:
            connection.send_message(message)
        except smtplib.SMTPSenderRefused as error:  # as it would be for every mail of ours
            raise Unreachable(f"sender {error.smtp_code}", host) from None
        except (OSError, smtplib.SMTPException) as error:
            raise MailNotTaken(self._deadline.kind(_kind(error)), host) from None


def _kind(error: OSError | smtplib.SMTPException) -> str:
    """Return one or two words for the log: nothing of what the relay wrote, which may quote an address or a password."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"authentication {error.smtp_code}"
        case smtplib.SMTPRecipientsRefused():
            return f"refused {next(iter(error.recipients.values()))[0]}"
        case smtplib.SMTPResponseException():
            return f"refused {error.smtp_code}"
        case smtplib.SMTPNotSupportedError():
            return "not offered"  # STARTTLS or AUTH; or SMTPUTF8, for an address that needs it
        case _ if type(error) is smtplib.SMTPException:
            return "not offered"  # no way to authenticate that both sides have
        case ssl.SSLError():
            return "tls"
        case _PasswordMissing():
            return "password"
        case _:
            return "connection"


class _PasswordMissing(OSError):
    pass


def _password(settings: MailSettings) -> str:
    """Return the password, read anew for each connection so that it can be changed without a restart."""
    if settings.password_file is None:
        return settings.password.get_secret_value()
    try:
        return settings.password_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise _PasswordMissing from None
