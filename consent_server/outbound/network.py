"""The network layer of a session: it checks addresses before it connects, and the time left at every read and write.

httpx has no hook for either, so this is a network backend for httpcore, on which httpx is built. The address checked is
the one that is then connected to, so a name server that changes its response in between gains nothing.
"""

import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic  # durations only: the clock may be stepped by a sandbox, a deadline may not
from typing import Any

import httpcore
import httpx

from consent_server.outbound.errors import NotAllowed, Unreachable
from consent_server.pki.reading import verified_chain

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
# Given the host and the verified chain in DER, leaf first; raises NotAllowed for a server that we may not call.
JudgeServer = Callable[[str, Sequence[bytes]], None]

# No public server has an address in these blocks: both IANA special-purpose registries (with the blocks that they call
# globally reachable, which are anycast services), multicast, and what RFC 3701 and RFC 7526 gave back.
_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # RFC 791: this network
        "10.0.0.0/8",  # RFC 1918
        "100.64.0.0/10",  # RFC 6598: shared address space
        "127.0.0.0/8",  # RFC 1122: loopback
        "168.63.129.16/32",  # a cloud platform's own services, beside the link-local ones
        "169.254.0.0/16",  # RFC 3927: link local
        "172.16.0.0/12",  # RFC 1918
        "192.0.0.0/24",  # RFC 6890: protocol assignments, the dummy address and anycast among them
        "192.0.2.0/24",  # RFC 5737: documentation
        "192.31.196.0/24",  # RFC 7535: AS112
        "192.52.193.0/24",  # RFC 7450: multicast tunnelling
        "192.88.99.0/24",  # RFC 7526: deprecated 6to4 relays
        "192.168.0.0/16",  # RFC 1918
        "192.175.48.0/24",  # RFC 7534: AS112
        "198.18.0.0/15",  # RFC 2544: benchmarking
        "198.51.100.0/24",  # RFC 5737: documentation
        "203.0.113.0/24",  # RFC 5737: documentation
        "224.0.0.0/4",  # RFC 5771: multicast
        "240.0.0.0/4",  # RFC 1112, RFC 919: reserved, limited broadcast
    )
)
# RFC 4291 section 2.4, RFC 3513: all global unicast addresses so far. Site local, unique local, link local, discard-only,
# dummy, segment routing, IPv4-compatible and local translation addresses lie outside.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/23",  # RFC 2928: protocol assignments: Teredo, benchmarking, anycast, ORCHID, drones
        "2001:db8::/32",  # RFC 3849: documentation
        "2002::/16",  # RFC 7526: deprecated 6to4
        "2620:4f:8000::/48",  # RFC 7534: AS112
        "3ffe::/16",  # RFC 3701: returned
        "3fff::/20",  # RFC 9637: documentation
    )
)
# IPv6 addresses that stand for an IPv4 one: mapped (RFC 4291 section 2.5.5.2), translated (RFC 6052 section 2.1).
_OF_V4 = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
_LOOPBACK = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
_MOST_TO_ONE_HOST = 16  # calls at once; more wait for a connection, and for theirs alone
_IDLE_S = 1.0  # shorter than any server's keep-alive, so that a request seldom meets a connection being closed


def is_public(address: IPAddress) -> bool:
    """Return whether the address, or the IPv4 address that it stands for, can be that of a server on the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _SPECIAL_V4)
    if any(address in block for block in _OF_V4):
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _GLOBAL_V6 and not any(address in block for block in _SPECIAL_V6)


def is_public_or_loopback(address: IPAddress) -> bool:
    """Return the same, with loopback allowed as well: the sandbox's rule."""
    return any(address in block for block in _LOOPBACK) or is_public(address)


def resolve(host: str, port: int) -> list[str]:
    """Return every address of a name, in the resolver's order. Raise OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _Call:
    """A call in progress: when its time is up, and the connections that it has used."""

    def __init__(self, seconds: float) -> None:
        self.ends = monotonic() + seconds
        self.sockets: list[socket.socket] = []
        self._ended = False
        self._lock = threading.Lock()

    def end(self) -> None:
        with self._lock:
            self._ended = True

    def break_off(self) -> None:
        """Shut the connections, so that whatever waits for them returns."""
        with self._lock:
            for used in () if self._ended else self.sockets:
                try:
                    # By another descriptor of the same connection: TLS sockets are not shut while another thread reads.
                    with socket.socket(fileno=os.dup(used.fileno())) as twin:
                        twin.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # closed already


class Budget:
    """The time left for the current call, which limits every wait on the network.

    Each thread and each greenlet has its own. Time-outs of single waits do not suffice: gevent begins one anew at each piece
    of a TLS record that arrives, and so a server that drips would be waited for without end.
    """

    def __init__(self) -> None:
        self._call: ContextVar[_Call | None] = ContextVar("call", default=None)

    @contextmanager
    def of(self, seconds: float) -> Iterator[None]:
        call = _Call(seconds)
        before = self._call.set(call)
        timer = threading.Timer(seconds, call.break_off)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            call.end()
            self._call.reset(before)

    def using(self, connection: socket.socket) -> None:
        """Take note of a connection that must end with the time of the call."""
        call = self._call.get()
        if call is not None and connection not in call.sockets:
            call.sockets.append(connection)

    def kind(self, otherwise: str) -> str:
        """Return the kind of a fault: "time" once the call has had its time, whatever its connection then says."""
        call = self._call.get()
        return "time" if call is not None and monotonic() >= call.ends else otherwise

    def cut(self, timeout: float | None, host: str) -> float | None:
        call = self._call.get()
        if call is None:
            return timeout
        left = call.ends - monotonic()
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
        self._budget.using(self._inner.get_extra_info("socket"))
        return self._inner.read(max_bytes, self._budget.cut(timeout, self._host))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._budget.using(self._inner.get_extra_info("socket"))
        self._inner.write(buffer, self._budget.cut(timeout, self._host))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        # The handshake takes the descriptor away from the socket that we have, so it is shut by another one.
        with socket.socket(fileno=os.dup(self._inner.get_extra_info("socket").fileno())) as twin:
            self._budget.using(twin)
            try:
                secure = self._inner.start_tls(ssl_context, server_hostname, self._budget.cut(timeout, self._host))
            except httpcore.ConnectError:
                raise Unreachable(self._budget.kind("tls"), self._host) from None
        if self._judge is not None:
            try:
                sock = secure.get_extra_info("socket")
                if not _names_exactly(sock.getpeercert(), self._host):
                    raise NotAllowed("name", self._host)
                self._judge(self._host, verified_chain(sock))
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
            allowed = [self._allowed(ipaddress.ip_address(address)) for address in addresses]
        except (OSError, ValueError):  # a name that does not encode, an address that is none
            raise Unreachable("dns", host) from None
        # ASVS 1.3.6: one forbidden address is enough to refuse the name, so that the order of addresses does not matter.
        if not addresses or not all(allowed):
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
    """A transport like httpx's own, which does not accept a network backend.

    With `judge`, a server's certificate must name the host exactly and pass `judge` before anything is sent. Each host has
    its own connections, so a slow one does not use up those of others.
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
        self._tls = tls
        self._backend = _Backend(allowed, look_up, budget, judge)
        self._pools: dict[tuple[bytes, bytes, int | None], httpcore.ConnectionPool] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = self._pool(url).handle_request(
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
        for pool in self._pools.values():
            pool.close()

    def _pool(self, url: httpx.URL) -> httpcore.ConnectionPool:
        origin = (url.raw_scheme, url.raw_host, url.port)
        return self._pools.get(origin) or self._pools.setdefault(
            origin,
            httpcore.ConnectionPool(
                ssl_context=self._tls,
                max_connections=_MOST_TO_ONE_HOST,
                keepalive_expiry=_IDLE_S,
                network_backend=self._backend,
            ),
        )
