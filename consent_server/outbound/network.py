"""The wire beneath a session: addresses are judged before a connection is made, and time is judged at every read.

httpx has no hook for either, so this is a network backend for httpcore, which httpx stands on. Judging the address
that is then connected to, rather than the name, leaves no gap for a name server that changes its answer in between.
"""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic  # durations only: the clock may be stepped by a sandbox, a deadline may not
from typing import Any

import httpcore
import httpx

from consent_server.outbound.errors import NotAllowed, Unreachable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
# Given the host and the verified chain in DER, leaf first; raises NotAllowed for a server that we may not call.
JudgeServer = Callable[[str, Sequence[bytes]], None]

# RFC 6052 section 2.1: an IPv6 address in which a translator hides an IPv4 one.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_IDLE_S = 1.0  # shorter than any server's keep-alive, so that a request seldom meets a connection being closed


def is_public(address: IPAddress) -> bool:
    """Whether the address, and any IPv4 address inside it, is one of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped
        if address in _TRANSLATED:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(inside)
        # Tunnels of old (RFC 7526, RFC 4380): no server is reached through them, only inward addresses.
        if address.sixtofour is not None or address.teredo is not None:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def is_public_or_loopback(address: IPAddress) -> bool:
    """The sandbox's rule: loopback besides."""
    return address.is_loopback or is_public(address)


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, in the resolver's order. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Budget(threading.local):
    """The time left to the call that this thread is making; every wait on the wire is cut to it."""

    ends: float | None = None

    @contextmanager
    def of(self, seconds: float) -> Iterator[None]:
        self.ends = monotonic() + seconds
        try:
            yield
        finally:
            self.ends = None

    def cut(self, timeout: float | None, host: str) -> float | None:
        if self.ends is None:
            return timeout
        left = self.ends - monotonic()
        if left <= 0:
            raise Unreachable("time", host)
        return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, host: str, budget: Budget, judge: JudgeServer | None) -> None:
        self._inner = inner
        self._host = host
        self._budget = budget
        self._judge = judge

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._budget.cut(timeout, self._host))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._budget.cut(timeout, self._host))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            secure = self._inner.start_tls(ssl_context, server_hostname, self._budget.cut(timeout, self._host))
        except httpcore.ConnectError:
            raise Unreachable("tls", self._host) from None
        if self._judge is not None:
            try:
                sock = secure.get_extra_info("socket")
                if not _names_exactly(sock.getpeercert(), self._host):
                    raise NotAllowed("name", self._host)
                self._judge(self._host, _verified_chain(sock))
            except BaseException:
                secure.close()
                raise
        return _Stream(secure, self._host, self._budget, self._judge)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _names_exactly(certificate: dict[str, Any], host: str) -> bool:
    # Public CA server certificates, "Validation by clients": the SAN equals the host; a wildcard is refused even
    # where TLS itself would accept it.
    return any(value.lower() == host.lower() for _, value in certificate.get("subjectAltName", ()))


def _verified_chain(sock: Any) -> tuple[bytes, ...]:
    # Public from Python 3.13 on; before that it is in the socket's private part.
    if hasattr(sock, "get_verified_chain"):
        return tuple(sock.get_verified_chain())
    import _ssl

    return tuple(found.public_bytes(_ssl.ENCODING_DER) for found in sock._sslobj.get_verified_chain())


class _Backend(httpcore.NetworkBackend):
    def __init__(
        self, allowed: Callable[[IPAddress], bool], look_up: Resolve, budget: Budget, judge: JudgeServer | None
    ) -> None:
        self._allowed = allowed
        self._look_up = look_up
        self._budget = budget
        self._judge = judge
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._look_up(host, port)
        except (OSError, UnicodeError):
            raise Unreachable("dns", host) from None
        # ASVS 1.3.6: one address that may not be called spoils the name, lest the order of answers decide.
        if not addresses or not all(self._allowed(ipaddress.ip_address(address)) for address in addresses):
            raise NotAllowed("address", host)
        for address in addresses:
            try:
                stream = self._plain.connect_tcp(
                    address, port, self._budget.cut(timeout, host), local_address, socket_options
                )
            except httpcore.ConnectError:
                continue
            return _Stream(stream, host, self._budget, self._judge)
        raise Unreachable("connect", host)


class _Body(httpx.SyncByteStream):
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        yield from self._inner

    def close(self) -> None:
        self._inner.close()


class Transport(httpx.BaseTransport):
    """httpx's own transport, but for the network backend, which that one does not let in.

    With `judge`, a server's certificate must name the host exactly and please `judge` before anything is sent.
    """

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        allowed: Callable[[IPAddress], bool],
        look_up: Resolve,
        budget: Budget,
        judge: JudgeServer | None = None,
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=32,
            keepalive_expiry=_IDLE_S,
            network_backend=_Backend(allowed, look_up, budget, judge),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def close(self) -> None:
        self._pool.close()
