"""One connection of a door: TLS 1.3, and bounds on the time that the client may take.

gunicorn's gevent worker bounds the time until a request's head has arrived and nothing else: a handshake, a body and the
reading of an answer may take for ever. Neither gunicorn nor gevent has a setting for that. Both use the TLS context of
our configuration and the socket class that it names (`SSLContext.sslsocket_class`), so the bounds are in that class, around
the public methods of gevent's SSLSocket.

What is bounded is the time spent waiting for the client, in all and not between two bytes: the handshake and each request
(`request_s`), each answer (`answer_s`), and the silence between an answer and the next request (`keep_alive_s`). Time that
the application takes does not count.
"""

import errno
import logging
import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

import gevent
from gevent.ssl import SSLContext, SSLSocket

from consent_server import audit, clock
from consent_server.outbound.tls_messages import limit_messages
from consent_server.settings.doors import ListenerSettings
from consent_server.settings.values import ip_address

log = logging.getLogger("consent_server.serving")

#: Bytes of one request, head and body, above which it is not read on. No endpoint takes a body of half as many; what one
#: refused with 413 is read away behind the answer, so that the client's next request finds the connection open.
LARGEST: Final = 4 * 1024 * 1024
#: After this many reads of one request, each further read first switches to other greenlets, and waits for PACE_S when the
#: reads so far have returned fewer than AVERAGE_READ bytes each: gunicorn scans the head from its start at every read.
UNPACED_READS: Final = 32
AVERAGE_READ: Final = 256
PACE_S: Final = 0.02
#: Seconds by which the wait grows before each further request of several that were read together, and the longest wait.
PIPELINED_S: Final = (0.2, 5.0)
#: Bytes of answers that the kernel buffers for one client.
SEND_BUFFER: Final = 64 * 1024
#: Bytes of an answer that are held until it is whole: gunicorn writes its head and each piece of its body apart, and every
#: write is a TLS record and a system call.
HELD: Final = 32 * 1024
#: The setting of what a client is waited for.
TIME_FOR: Final = {"handshake": "request_s", "silence": "keep_alive_s", "request": "request_s", "answer": "answer_s"}
CONTINUE: Final = b"HTTP/1.1 100 "
#: Seconds for which a worker that stops still waits for requests on its open connections.
STOPPING_S: Final = 2.0
#: Seconds and bytes for which a connection that closes still reads: with unread data, closing sends a reset, and the client
#: could lose the end of the answer to it.
LINGER_S: Final = 2.0
LINGER: Final = LARGEST


class TooSlow(ConnectionResetError):
    """The client used up its time. gunicorn treats it as a connection that the client has reset."""

    def __init__(self, waited_for: str) -> None:
        super().__init__(errno.ECONNRESET, f"the client is too slow: {waited_for}")


class _RoomNeeded(TooSlow):
    """Another client needs the connection, at once."""

    def __init__(self) -> None:
        super().__init__("others need its connection")


class _Stopping(Exception):
    """Ends the wait for a request when the worker stops, or needs room for another client."""


class DoorSocket(SSLSocket):  # type: ignore[misc]
    """The connection of one client. After the handshake it blocks only within `_waiting`: other calls need no timer."""

    context: "DoorContext"
    #: Greenlets that wait for the first byte of a request, in the order in which they began to, each with when that was.
    idle: Final[dict[Any, float]] = {}
    #: Greenlets that wait for their client, whatever for. The less their instants, the longer that has taken, in all.
    waiting: Final[dict[Any, float]] = {}
    #: The connections that this worker holds.
    held: Final[WeakSet["DoorSocket"]] = WeakSet()

    _is_secure = False  # whether the handshake is done
    _reads = False  # whether the latest thing that was done is reading a request, and not writing an answer
    _taken_s = 0.0  # how long the client has taken over this handshake, silence, request or answer
    _read = 0  # bytes of this request
    _times = 0  # how often it was read from
    _answered = 0  # requests since it was read from
    _lingers = True  # whether closing reads on: not where nothing is in flight, nor where others need the connection
    _held = b""  # of the answer, written and not sent yet
    _failed = False  # whether an answer could not be sent: there is no further request

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        if self._failed:
            return b""
        if self._held:
            self._send_held()
        if not self._reads:
            return self._recv_first(buflen, flags)
        if self._times <= UNPACED_READS:
            data = self._recv_at_once(buflen, flags)
            if data is not None:
                return self._counted(data)
        with self._waiting("request"):
            if self._times > UNPACED_READS:
                gevent.sleep(PACE_S if self._read < AVERAGE_READ * self._times else 0)
            return self._counted(super().recv(buflen, flags))

    def send(self, data: Any, flags: int = 0, *timeout: Any) -> int:
        # RFC 9110 section 15.2: after an interim answer the same request goes on.
        if self._reads and data[: len(CONTINUE)] != CONTINUE:
            self._reads, self._taken_s = False, 0.0
        if sent := super().send(data, flags):
            return int(sent)
        with self._waiting("answer"):
            return int(super().send(data, flags, *timeout))

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Hold what is short until the answer is whole, and send what is long behind what was held.

        Raise ConnectionResetError, which ends the connection, if an earlier answer could not be sent: gunicorn would go on
        with the requests that it has read already.
        """
        if self._failed:
            raise ConnectionResetError(errno.ECONNRESET, "the answer before could not be sent")
        if len(self._held) + len(data) <= HELD:
            self._held += data
        else:
            self._send_held()
            self._send_whole(data)

    def answered(self) -> None:
        """Send what is held of the answer, and switch to other greenlets.

        The wait grows with each request that was read together with the last: RFC 9112 section 9.3.2 lets a client send
        several requests at once, and a server answer them at its own pace.
        """
        try:
            self._send_held()
        except OSError:
            self._failed = True
            return
        each, longest = PIPELINED_S
        gevent.sleep(min(each * self._answered, longest))
        self._answered += 1

    def shutdown(self, how: int) -> None:
        """End TLS, and drop what is held: part of an answer is none, and it would be sent as it is."""
        self._held = b""
        super().shutdown(how)

    def close(self) -> None:
        if self.fileno() >= 0:
            if self._lingers:
                self._linger()
            super().close()
            self.held.discard(self)

    def _send_held(self) -> None:
        held, self._held = self._held, b""
        self._send_whole(held)

    def _send_whole(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self.send(left) :]

    def _recv_at_once(self, buflen: int, flags: int) -> bytes | None:
        """Return what has arrived, or None."""
        try:
            data: bytes = super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        return data

    def _recv_first(self, buflen: int, flags: int) -> bytes:
        data = self._recv_at_once(buflen, flags) if self._is_secure else None
        if data is None:
            data = self._wait_for_first(buflen, flags)
        if data is None:
            return b""
        self._reads, self._taken_s, self._read, self._times = True, 0.0, 0, 0
        return self._counted(data)

    def _wait_for_first(self, buflen: int, flags: int) -> bytes | None:
        """Return the first bytes of a request; None where there will be none."""
        greenlet = gevent.getcurrent()
        self.idle[greenlet] = monotonic()
        try:
            if not self._is_secure and not self._shake_hands():
                return None
            self._taken_s = 0.0
            with self._waiting("silence"):
                data: bytes = super().recv(buflen, flags)
        except (_Stopping, TooSlow):
            self._lingers = False
            return None
        finally:
            self.idle.pop(greenlet, None)
        return data

    def _shake_hands(self) -> bool:
        """Whether the handshake has succeeded; one that is refused is one line in the log."""
        self._taken_s = 0.0
        try:
            with self._waiting("handshake"):
                self.do_handshake()
        except ssl.SSLError as error:
            if not isinstance(error, ssl.SSLEOFError):
                self._note_refusal(error)
            return False
        self._is_secure = True
        self.settimeout(0.0)
        return True

    def _note_refusal(self, error: ssl.SSLError) -> None:
        reason = error.reason or "unknown"
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"{reason}: {error.verify_message}"
        fields = {"event": "handshake_refused", "address": self._address(), "reason": reason}
        log.warning("handshake refused", extra={"fields": fields})

    def _address(self) -> str:
        try:
            return str(ip_address(self.getpeername()[0]))
        except OSError:
            return ""

    def _counted(self, data: bytes) -> bytes:
        self._read += len(data)
        self._times += 1
        self._answered = 0
        if self._read > LARGEST:
            raise ConnectionResetError(errno.ECONNRESET, "the request is too large")
        return data

    @contextmanager
    def _waiting(self, for_what: str) -> Iterator[None]:
        started = monotonic()
        greenlet = gevent.getcurrent()
        self.settimeout(None)
        self.waiting[greenlet] = started - self._taken_s
        left_s = getattr(self.context.listener, TIME_FOR[for_what]) - self._taken_s
        try:
            with gevent.Timeout(max(left_s, 0), TooSlow(for_what)):
                yield
        except TooSlow as error:
            if isinstance(error, _RoomNeeded):
                self._lingers = False
            if for_what != "silence":
                fields = {"event": "slow_client", "address": self._address(), "waited_for": for_what}
                log.info("too slow", extra={"fields": fields})
            raise
        finally:
            self.waiting.pop(greenlet, None)
            self.settimeout(0.0)
            self._taken_s += monotonic() - started

    def _linger(self) -> None:
        try:
            self._send_held()
            with gevent.Timeout(LINGER_S, False):
                self.settimeout(None)
                self.shutdown(socket.SHUT_WR)
                read = 0
                while read < LINGER and (more := super().recv(8192)):
                    read += len(more)
        except (OSError, ValueError):
            pass


class DoorContext(SSLContext):  # type: ignore[misc]
    """TLS of every door: 1.3 and nothing older, without resumption.

    Made once in gunicorn's master and handed down to each worker: a worker that is replaced later has the same
    certificate, whatever has become of the files. It is of gevent's class, so it may be made before gevent patches.
    """

    sslsocket_class = DoorSocket
    listener: ListenerSettings
    #: gunicorn's worker, once there is one.
    worker: Any = None

    def wrap_socket(self, sock: Any, *args: Any, **how: Any) -> DoorSocket:
        """Return the connection; its handshake is part of its first read.

        When the worker stops, gevent's server may close after it has accepted a connection and before it handles it, and
        its handler is gone then. Such a connection is handled here.
        """
        audit.correlation_id.set(secrets.token_hex(12))
        how["do_handshake_on_connect"] = False
        try:
            address = sock.getpeername()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            wrapped: DoorSocket = super().wrap_socket(sock, *args, **how)
        except OSError:  # the client has left already
            raise gevent.GreenletExit from None
        DoorSocket.held.add(wrapped)
        if self.worker is not None and len(DoorSocket.held) >= self.worker.worker_connections:
            _make_room(self.listener.request_s)
        if self.worker is not None and all(listening.fileno() < 0 for listening in self.worker.sockets):
            self.worker.handle(wrapped, wrapped, address)
            raise gevent.GreenletExit
        return wrapped


def context(listener: ListenerSettings, client_root: str | None) -> DoorContext:
    """Return the context of one door; with `client_root` it asks for a client certificate. Raise OSError, ssl.SSLError."""
    made = DoorContext(ssl.PROTOCOL_TLS_SERVER)
    made.listener = listener
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_cert_chain(listener.certificate, listener.key)
    # A session of one door must not stand in for a certificate at the other (CVE-2025-23419).
    made.num_tickets = 0
    limit_messages(made)
    if client_root is not None:
        # The root alone, so that a chain ends there and at no intermediate. OpenSSL's strict mode stays off: it would
        # refuse certificates without key identifiers, and the application reads every certificate strictly anyhow.
        made.load_verify_locations(client_root)
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def _make_room(handshake_s: float) -> None:
    """Close the connection that has been idle longest, or else the one whose client has taken longest over what it does.

    Otherwise whoever keeps enough of them open keeps everybody else out. One counts as idle only once it has been so for longer
    than a handshake may take: beside requests that are sent in drips, the few that are idle are of clients that have just come.
    """
    later = gevent.get_hub().loop.run_callback
    waiting = DoorSocket.waiting
    idle = next(iter(DoorSocket.idle), None)
    if idle is not None and monotonic() - DoorSocket.idle[idle] > handshake_s:
        later(_end_if_idle, idle)
    elif waiting:
        later(_end_if_waiting, min(waiting, key=waiting.__getitem__))
    _note_full(clock.now() // 60)


@lru_cache(maxsize=1)
def _note_full(_minute: int) -> None:
    fields = {"event": "connections_full", "connections": len(DoorSocket.held)}
    log.warning("as many connections as may be: who has waited longest is closed", extra={"fields": fields})


def stop_gently(worker: Any) -> None:
    """Wait until `worker` stops, then close the connections on which no request has begun.

    gunicorn would keep each until its time to stop is over, and then write an error to it.
    """
    while worker.alive:
        gevent.sleep(0.2)
    # Requests in flight, and the first of a connection just accepted, are answered meanwhile with `Connection: close`.
    gevent.sleep(STOPPING_S)
    while True:
        for greenlet in list(DoorSocket.idle):
            gevent.get_hub().loop.run_callback(_end_if_idle, greenlet)
        gevent.sleep(0.2)


def _end_if_idle(greenlet: Any) -> None:
    # in the hub, where nothing can come between the question and the act
    if greenlet in DoorSocket.idle:
        greenlet.throw(_Stopping)


def _end_if_waiting(greenlet: Any) -> None:
    if greenlet in DoorSocket.waiting:
        greenlet.throw(_RoomNeeded)
