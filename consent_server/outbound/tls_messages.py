"""A bound on the messages that a TLS peer sends beside data: new keys and tickets (RFC 8446 section 4.6), and requests for a
hello, which a client skips in its handshake (RFC 5246 section 7.4.1.1), before it has seen a certificate.

OpenSSL reads them in C until another message comes or nothing more does, and has no bound of its own. Under gevent a peer that
sends nothing else would hold up every other request of the worker, and no deadline could end it.
"""

import _socket
import _ssl
import logging
from contextlib import suppress
from typing import Any, Final

log = logging.getLogger("consent_server.outbound")

#: On one connection. A peer needs new keys after millions of records (RFC 8446 section 5.5), and sends a few tickets. Data does
#: not start the count again, since a record of data may be empty.
MOST: Final = 32
#: What a message is (RFC 8446 sections B.1 and B.3): of the handshake; a hello, with which a connection begins; a request for
#: one, a ticket, new keys.
_HANDSHAKE: Final = 22
_HELLO: Final = (1, 2)
_BOUNDED: Final = (0, 4, 24)
_AT_ONCE: Final = 1 << 16


def limit_messages(context: Any) -> None:
    """End each connection of a TLS context (ssl or gevent) whose peer sends more than MOST of them."""
    counted: dict[int, int] = {}

    def noted(connection: Any, direction: str, _version: int, content: int, kind: int, _message: bytes) -> None:
        if direction != "read" or content != _HANDSHAKE:
            return
        if kind in _HELLO:  # an earlier connection may have had this number
            counted.pop(connection.fileno(), None)
        elif kind in _BOUNDED:
            number = connection.fileno()
            counted[number] = counted.get(number, 0) + 1
            if counted[number] == MOST + 1:  # of those behind it in one record each would end it again
                _end(connection)

    # It is private, and there is no other hook. That of ssl.SSLContext looks for four names at each record.
    _ssl._SSLContext._msg_callback.__set__(context, noted)  # type: ignore[attr-defined]


def _end(connection: Any) -> None:
    """Shut a connection, and read away what has arrived, which OpenSSL would read as well."""
    with suppress(OSError):
        fields = {"event": "too_many_tls_messages", "address": str(_socket.socket.getpeername(connection)[0])}
        log.warning("a TLS peer sends messages without end", extra={"fields": fields})
        _socket.socket.shutdown(connection, _socket.SHUT_RDWR)
        while _socket.socket.recv(connection, _AT_ONCE):
            pass
