"""gunicorn's threaded worker, made patient: threads only ever see whole requests, their heads and their bodies.

What gunicorn's own does, and why it is changed: it gives every new connection a thread at once, which then waits up to
five seconds for the first byte, and for ever inside a handshake, a request's head or a body that stops half way; and it
closes connections on the thread that accepts them, waiting up to two seconds for the other side. A few silent clients are
enough to stop it. PatientWorker keeps a connection with the poller until a whole request is there; what is longer than
BODY is bounded by PATIENCE. It rests on gunicorn's internals: run tests/caller after every upgrade of gunicorn.
"""

import re
import secrets
import selectors
import socket
import ssl
import time
from functools import partial
from typing import Any

import gunicorn.util
from gunicorn import http, sock
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.workers import gthread

from consent_server import audit

#: Seconds that a client may take, in all, over the handshake and its first request's head, and over each body.
PATIENCE = 10
#: Longest head that is waited for, in bytes; gunicorn's own limits are the ones that refuse.
HEAD = 128 * 1024
#: Longest body, in bytes, that is waited for without a thread: more than any form or message of ours has.
BODY = 128 * 1024
#: Longest body, in bytes, that is read away behind the back of an answer that did not want it.
UNREAD = 4 * 1024 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,6}")


def body_is_whole(head: bytes, body: bytes) -> bool:
    """Whether all of the body that `head` announces is in `body`.

    It decides how long to wait and nothing else. What it cannot read, and a body longer than BODY, it calls whole: gunicorn
    refuses the one, and a thread reads the other.
    """
    if len(body) > BODY:
        return True
    if _CHUNKED.search(head):
        return _last_chunk_is_there(body)
    length = _LENGTH.search(head)
    return length is None or int(length[1]) > BODY or len(body) >= int(length[1])


def _last_chunk_is_there(body: bytes) -> bool:
    at = 0
    while (ends := body.find(b"\r\n", at)) >= 0:
        size = _CHUNK_SIZE.match(body, at, ends)
        if size is None:
            return True
        if int(size[0], 16) == 0:
            return body.find(b"\r\n\r\n", at) >= 0
        at = ends + 2 + int(size[0], 16) + 2
        if at > BODY:
            return True
    return False


class DoorSocket(ssl.SSLSocket):
    """A connection that blocks for PATIENCE seconds at most while one request is read, counted over all its reads."""

    _until = 0.0

    def setblocking(self, flag: bool) -> None:
        self._until = time.monotonic() + PATIENCE
        self.settimeout(PATIENCE if flag else 0.0)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        if self.gettimeout() == 0.0:
            return super().recv(buflen, flags)
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the client is too slow")
        self.settimeout(left)
        try:
            return super().recv(buflen, flags)
        finally:
            self.settimeout(PATIENCE)


class Connection(gthread.TConn):
    """A connection that never makes a thread wait: each step does what it can and says whether it is done."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.until = time.monotonic() + PATIENCE
        self.lingering = False
        self.told_to_go_on = False

    def shake_hands(self) -> bool:
        """Whether the TLS handshake is finished. Raises ssl.SSLError when it has failed."""
        if self.initialized:
            return True
        self.sock.setblocking(False)
        if not isinstance(self.sock, ssl.SSLSocket):
            self.sock = sock.ssl_wrap_socket(self.sock, self.cfg)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            if time.monotonic() > self.until:
                raise ssl.SSLError("too slow") from None
            return False
        self.parser = http.get_parser(self.cfg, self.sock, self.client)
        self.initialized = True
        return True

    def has_request(self) -> bool:
        """Whether a whole request, or the end of the stream, has been read.

        Raises OSError when the client is too slow or gone, LimitRequestHeaders when the head is too long.
        """
        self.sock.setblocking(False)
        unreader = self.parser.unreader
        read = unreader.take_buffered()
        if not read:
            self.until = time.monotonic() + PATIENCE
            self.told_to_go_on = False
        try:
            while not self._is_whole(read):
                more = self.sock.recv(8192)
                if not more:
                    break
                read += more
        except ssl.SSLWantReadError:
            if time.monotonic() > self.until:
                raise TimeoutError("the client is too slow") from None
            return False
        finally:
            unreader.unread(read)
        return True

    def _is_whole(self, read: bytes) -> bool:
        end = read.find(b"\r\n\r\n")
        if end < 0:
            if len(read) > HEAD:
                raise LimitRequestHeaders("the head is too long")
            return False
        head, body = read[: end + 2], read[end + 4 :]
        if body_is_whole(head, body):
            return True
        if not self.told_to_go_on and _EXPECTS.search(head):
            # RFC 9110 section 10.1.1: the client keeps its body back until then; gunicorn would say so from a thread
            self.told_to_go_on = True
            self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return False

    def linger(self) -> bool:
        """Say goodbye, then read what is still coming, so that our last words are not lost. Whether that is done."""
        try:
            if not self.lingering:
                self.lingering = True
                self.until = time.monotonic() + PATIENCE
                self.sock.setblocking(False)
                self.sock.shutdown(socket.SHUT_WR)
            while time.monotonic() < self.until:
                if not self.sock.recv(8192):
                    return True
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self, graceful: bool = False) -> None:
        gunicorn.util.close(self.sock)


class PatientWorker(gthread.ThreadWorker):
    """gthread whose threads only ever see whole requests; see the top of this file."""

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except OSError as error:
            # Whatever is wrong with one connection, the worker lives on.
            self.log.debug("accept: %s", error)
            return
        conn = Connection(self.cfg, client, address, listener.getsockname())
        self.nr_conns += 1
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: Connection) -> Any:
        # The base class would close on the accepting thread, and wait there for the other side.
        served = False if conn.lingering else self._serve(conn)
        if served is False and not conn.linger():
            return gthread._DEFER
        return served

    def _serve(self, conn: Connection) -> Any:
        try:
            if not conn.shake_hands():
                return gthread._DEFER
        except OSError as error:
            self._note_refused_handshake(conn, error)
            return False
        try:
            if not conn.has_request():
                return gthread._DEFER
        except LimitRequestHeaders as error:
            conn.sock.setblocking(True)
            self.handle_error(None, conn.sock, conn.client, error)
            return False
        except OSError:
            return False
        return super().handle(conn)

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        # The answer has said keep-alive. gunicorn would still close on more than 64 KiB of unread body (a 413's), and the
        # client's next request on this connection would be lost.
        return keepalive and bool(conn.parser.finish_body(deadline=time.monotonic() + PATIENCE, max_bytes=UNREAD))

    def _note_refused_handshake(self, conn: Connection, error: OSError) -> None:
        """One line for each refused handshake, for such a refusal never reaches the application."""
        if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
            self.log.debug("the client left during the handshake")
            return
        reason = error.reason or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"{reason}: {error.verify_message}"
        address = conn.client[0] if isinstance(conn.client, tuple) else ""
        self.log.warning(
            "handshake refused", extra={"fields": {"event": "handshake_refused", "address": address, "reason": reason}}
        )

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        audit.correlation_id.set(secrets.token_hex(12))
        super().handle_error(req, client, addr, exc)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)
