"""The network layer of a session: it checks addresses before it connects, and the time left at every read and write.

It is a network backend for httpcore. The address checked is the one that is then connected to, so a name server that changes
its response in between gains nothing.
"""

import ipaddress
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore
import httpx

from consent_server.outbound.addresses import IPAddress, Resolve
from consent_server.outbound.deadline import Deadline
from consent_server.outbound.errors import NotAllowed, Unreachable
from consent_server.outbound.turns import take_turns
from consent_server.pki.reading import verified_chain

log = logging.getLogger("consent_server.outbound")

# Given the host and the verified chain in DER, leaf first; raises NotAllowed for a server that we may not call.
JudgeServer = Callable[[str, Sequence[bytes]], None]

_MOST_TO_ONE_HOST = 16  # calls at once; more wait for a connection, and for theirs alone
_LONGEST_HEAD = 8192  # bytes that a proxy may say before its tunnel begins
_IDLE_S = 1.0  # shorter than any server's keep-alive, so that a request seldom meets a connection being closed
_STATUS = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})[ \r]")


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, host: str, deadline: Deadline, judge: JudgeServer | None) -> None:
        self._inner = inner
        self._host = host
        self._deadline = deadline
        self._judge = judge
        self._reads = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._deadline.using(self._inner.get_extra_info("socket"))
        self._reads += 1
        take_turns(self._reads)
        return self._inner.read(max_bytes, self._deadline.cut(timeout, self._host))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._deadline.using(self._inner.get_extra_info("socket"))
        self._inner.write(buffer, self._deadline.cut(timeout, self._host))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        # The handshake takes the descriptor away from the socket that we have, so it is shut by another one.
        with socket.socket(fileno=os.dup(self._inner.get_extra_info("socket").fileno())) as twin:
            self._deadline.using(twin)
            try:
                secure = self._inner.start_tls(ssl_context, server_hostname, self._deadline.cut(timeout, self._host))
            except httpcore.ConnectError:
                raise Unreachable(self._deadline.kind("tls"), self._host) from None
        if self._judge is not None:
            try:
                sock = secure.get_extra_info("socket")
                if not _names_exactly(sock.getpeercert(), self._host):
                    raise NotAllowed("name", self._host)
                self._judge(self._host, verified_chain(sock))
            except BaseException:
                secure.close()
                raise
        return _Stream(secure, self._host, self._deadline, self._judge)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _names_exactly(certificate: dict[str, Any], host: str) -> bool:
    # Public CA server certificates, "Validation by clients": the SAN equals the host; a wildcard is refused even
    # where TLS itself would accept it.
    return any(value.lower() == host.lower() for _, value in certificate.get("subjectAltName", ()))


class _Backend(httpcore.NetworkBackend):
    def __init__(
        self,
        allowed: Callable[[IPAddress], bool],
        look_up: Resolve,
        deadline: Deadline,
        judge: JudgeServer | None,
        proxy: str,
    ) -> None:
        self._proxy = urlsplit(proxy) if proxy else None
        self._allowed = allowed
        self._look_up = look_up
        self._deadline = deadline
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
        if self._proxy is None:
            return self._connected(addresses, port, timeout, host, "connect")
        return self._tunnel(self._proxy, addresses, port, timeout, host)

    def _connected(
        self, addresses: Iterable[str], port: int, timeout: float | None, host: str, otherwise: str
    ) -> _Stream:
        for address in addresses:
            try:
                stream = self._plain.connect_tcp(address, port, self._deadline.cut(timeout, host))
            except httpcore.ConnectError:
                continue
            return _Stream(stream, host, self._deadline, self._judge)
        raise Unreachable(otherwise, host)

    def _tunnel(
        self, proxy: SplitResult, addresses: Sequence[str], port: int, timeout: float | None, host: str
    ) -> _Stream:
        """Return a connection to the first of these addresses to which the proxy opens one (RFC 9110 section 9.3.6).

        It is asked for addresses that were judged: what a name means to the proxy plays no part.
        """
        name, proxy_port = proxy.hostname or "", proxy.port or 0
        try:
            of_proxy = self._look_up(name, proxy_port)
        except OSError:
            raise Unreachable("proxy dns", host) from None
        status = ""
        for address in addresses:
            stream = self._connected(of_proxy, proxy_port, timeout, host, "proxy connect")
            status = _ask_for_tunnel(stream, f"[{address}]:{port}" if ":" in address else f"{address}:{port}", timeout)
            if status == "200":
                return stream
            stream.close()
        log.warning("the proxy %s opens no connection to %s: %s", name, host, status)
        raise Unreachable(f"proxy {status}", host)


def _ask_for_tunnel(proxy: _Stream, target: str, timeout: float | None) -> str:
    """Return the status with which a proxy answers, "200" for each success; "answer" where it is no HTTP, or too long."""
    try:
        proxy.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"), timeout)
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
            piece = proxy.read(_LONGEST_HEAD - len(head), timeout)
            if not piece:
                break
            head += piece
    except BaseException:
        proxy.close()
        raise
    status = _STATUS.match(head)
    if status is None or b"\r\n\r\n" not in head:
        return "answer"
    if not status[1].startswith(b"2"):
        return status[1].decode("ascii")
    # Those whom we call wait for us to speak: whatever follows the head does not come from them.
    return "200" if head.endswith(b"\r\n\r\n") and head.count(b"\r\n\r\n") == 1 else "answer"


class Connections:
    """Connections to servers, kept for a moment. Each host has its own, so a slow one does not use up those of others.

    With `judge`, a server's certificate must name the host exactly and pass `judge` before anything is sent. A `proxy`
    (http://host:port) opens each connection.
    """

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        allowed: Callable[[IPAddress], bool],
        look_up: Resolve,
        deadline: Deadline,
        judge: JudgeServer | None = None,
        proxy: str = "",
    ) -> None:
        self._tls = tls
        self._backend = _Backend(allowed, look_up, deadline, judge, proxy)
        self._pools: dict[tuple[bytes, bytes, int | None], httpcore.ConnectionPool] = {}

    def response(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        content: bytes | None,
        timeouts: Mapping[str, float | None],
    ) -> AbstractContextManager[httpcore.Response]:
        """Return the response to one request, whose body is then read. Raise exceptions of httpcore, and Unreachable."""
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        how = {"timeout": timeouts}
        return self._pool(url).stream(method, target, headers=[*headers.items()], content=content, extensions=how)

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
