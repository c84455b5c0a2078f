"""gunicorn's threaded worker, made patient: threads only ever see whole request heads.

What gunicorn's own does, and why it is changed: it gives every new connection a thread at once, which then waits up to
five seconds for the first byte, and for ever inside a handshake, a request's head or a body that stops half way; and it
closes connections on the thread that accepts them, waiting up to two seconds for the other side. A few silent clients are
enough to stop it. PatientWorker keeps a connection with the poller until a whole request head is there; the rest is
bounded by PATIENCE. It rests on gunicorn's internals: run tests/caller after every upgrade of gunicorn.
"""

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
#: Longest body, in bytes, that is read away behind the back of an answer that did not want it.
UNREAD = 4 * 1024 * 1024


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

    def has_head(self) -> bool:
        """Whether a whole request head, or the end of the stream, has been read.

        Raises OSError when the client is too slow or gone, LimitRequestHeaders when the head is too long.
        """
        self.sock.setblocking(False)
        unreader = self.parser.unreader
        head = unreader.take_buffered()
        if not head:
            self.until = time.monotonic() + PATIENCE
        try:
            while b"\r\n\r\n" not in head:
                if len(head) > HEAD:
                    raise LimitRequestHeaders("the head is too long")
                more = self.sock.recv(8192)
                if not more:
                    break
                head += more
        except ssl.SSLWantReadError:
            if time.monotonic() > self.until:
                raise TimeoutError("the client is too slow") from None
            return False
        finally:
            unreader.unread(head)
        return True

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
    """gthread whose threads only ever see whole request heads; see the top of this file."""

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
            if not conn.has_head():
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
