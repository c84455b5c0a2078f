"""A bound on the messages that a TLS peer sends in place of data: new keys and tickets (RFC 8446 section 4.6).

OpenSSL reads them in C until data comes or nothing more does, and has no bound of its own. Under gevent a peer that sends
nothing else would hold up every other request of the worker, and no deadline could end it.
"""

import _socket
import _ssl
import logging
from contextlib import suppress
from typing import Any, Final

log = logging.getLogger("consent_server.outbound")

#: Between two pieces of data. A peer needs new keys after millions of records (RFC 8446 section 5.5), and sends a few tickets.
MOST: Final = 32
#: Of a record, what its content is said to be: a handshake message, or what is inside of an encrypted record (RFC 8446 B.1).
_HANDSHAKE, _INSIDE = 22, 257
_DATA: Final = 23
#: RFC 8446 section B.3: NewSessionTicket and KeyUpdate.
_IN_PLACE_OF_DATA: Final = (4, 24)
_AT_ONCE: Final = 1 << 16


def limit_messages(context: Any) -> None:
    """End each connection of a TLS context (ssl or gevent) whose peer sends more than MOST of them without data."""
    counted: dict[int, int] = {}

    def noted(connection: Any, direction: str, _version: int, content: int, kind: int, _message: bytes) -> None:
        if direction != "read":
            return
        if content == _HANDSHAKE and kind in _IN_PLACE_OF_DATA:
            number = connection.fileno()
            counted[number] = counted.get(number, 0) + 1
            if counted[number] > MOST:
                _end(connection)
        elif content == _HANDSHAKE or (content == _INSIDE and kind == _DATA):
            # data, or the handshake of the next connection with this number
            counted.pop(connection.fileno(), None)

    # It is private, and there is no other hook. That of ssl.SSLContext looks for four names at each record.
    _ssl._SSLContext._msg_callback.__set__(context, noted)  # type: ignore[attr-defined]


def _end(connection: Any) -> None:
    """Shut a connection, and read away what has arrived, which OpenSSL would read as well."""
    with suppress(OSError):
        fields = {"event": "messages_without_data", "address": str(_socket.socket.getpeername(connection)[0])}
        log.warning("a TLS peer sends messages and no data", extra={"fields": fields})
        _socket.socket.shutdown(connection, _socket.SHUT_RDWR)
        while _socket.socket.recv(connection, _AT_ONCE):
            pass
