"""Calls through a proxy: what it is asked, that nothing is believed of it, and its bad days."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest
from pydantic import ValidationError

from consent_server.outbound.errors import NotAllowed, Unreachable
from consent_server.outbound.session import Limits
from consent_server.sandbox.authority import Authority
from consent_server.settings.calls import CallsSettings

OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
Act = Callable[[socket.socket, str], None]


def honest(client: socket.socket, target: str) -> None:
    """Open what was asked for, and carry bytes both ways."""
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port))) as server:
        client.sendall(OPENED)
        back = threading.Thread(target=carry, args=(server, client))
        back.start()
        carry(client, server)
        back.join()


def carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


class Proxy:
    """A proxy on loopback that does what `act` does; `asked` has the target of each CONNECT."""

    def __init__(self) -> None:
        self.act: Act = honest
        self.asked: list[str] = []
        self.ended = threading.Event()
        owner = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = self.request.recv(1)
                    if not piece:
                        return
                    head += piece
                method, target, _ = head.decode().split(" ", 2)
                assert method == "CONNECT"
                owner.asked.append(target)
                with contextlib.suppress(OSError):
                    owner.act(self.request, target)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://proxy.example:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.stop()


@pytest.fixture
def through(proxy, settings_of, trust, session_of, wire):
    """A session that may call MEMBER, through the proxy."""
    settings = settings_of(trust.port, calls={"proxy": proxy.url})
    return session_of(settings, allowed=[wire.member])


def test_each_call_goes_through_it_by_the_address_that_was_judged(through, proxy, serve, wire, trust):
    member = serve(ask_client=True)
    member.routes["/data"] = wire.json({"ours": True})
    assert through.get(member.url("/data")).json() == {"ours": True}
    assert member.asked[0].certificate, "our certificate reaches the member"
    trust.routes["/list"] = wire.json([])
    assert through.get(trust.url("/list", wire.directory), configured=True).json() == []
    proxy.act = lambda client, _: client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    with pytest.raises(Unreachable, match="proxy 403"):
        through._published("http://authority.example/list.crl", None, 100)
    assert proxy.asked == [f"127.0.0.1:{member.port}", f"127.0.0.1:{trust.port}", "127.0.0.1:80"]


@pytest.mark.parametrize("inward", [["10.0.0.1"], ["8.8.8.8", "169.254.169.254"], ["127.0.0.1"]], ids=str)
def test_a_forbidden_address_never_reaches_it(settings_of, session_of, proxy, wire, inward):
    def look_up(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "proxy.example" else inward

    settings = settings_of(1, environment="production", **PRODUCTION, calls={"proxy": proxy.url})
    session = session_of(settings, allowed=[wire.member], look_up=look_up)
    with pytest.raises(NotAllowed, match="address"):
        session.get(f"https://{wire.member}/data")
    assert proxy.asked == []


#: What production asks for, besides what a deployment has anyway.
PRODUCTION = {"revocation_list": {"source": "/list.crl"}}


def test_the_allowlist_is_asked_first(through, proxy):
    with pytest.raises(NotAllowed, match="allowlist"):
        through.get("https://elsewhere.example/data")
    assert proxy.asked == []


def test_of_several_addresses_it_is_asked_for_each(settings_of, session_of, trust, proxy, serve, wire):
    member = serve()
    member.routes["/data"] = wire.json({})

    def act(client: socket.socket, target: str) -> None:
        if target.startswith("["):
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        else:
            honest(client, target)

    def look_up(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "proxy.example" else ["::1", "127.0.0.1"]

    proxy.act = act
    session = session_of(settings_of(trust.port, calls={"proxy": proxy.url}), allowed=[wire.member], look_up=look_up)
    assert session.get(member.url("/data")).status == 200
    assert proxy.asked == [f"[::1]:{member.port}", f"127.0.0.1:{member.port}"]


def says(*pieces: bytes) -> Act:
    def act(client: socket.socket, _target: str) -> None:
        for piece in pieces:
            client.sendall(piece)

    return act


def endless(client: socket.socket, _target: str) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")


BAD_DAYS = {
    "asks-for-a-password": (says(b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\n\r\n"), "proxy 407"),
    "forbids": (says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "proxy 403"),
    "cannot-reach-it": (says(b"HTTP/1.0 504 Gateway Timeout\r\n\r\n"), "proxy 504"),
    "redirects": (says(b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\n\r\n"), "proxy 302"),
    "closes": (says(), "proxy answer"),
    "breaks-off": (says(b"HTTP/1.1 200 OK\r\n"), "proxy answer"),
    "is-no-proxy": (says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "proxy answer"),
    "speaks-for-the-server": (says(OPENED + b"\x16\x03\x03"), "proxy answer"),
    "never-ends": (endless, "proxy answer"),
}  # fmt: skip


@pytest.mark.parametrize("day", BAD_DAYS)
def test_a_bad_day_of_the_proxy_is_one_failed_call(through, proxy, serve, wire, day):
    act, kind = BAD_DAYS[day]
    member = serve()
    member.routes["/data"] = wire.json({})
    proxy.act = act
    with pytest.raises(Unreachable) as failed:
        through.get(member.url("/data"))
    assert (failed.value.kind, failed.value.host, failed.value.is_wrong) == (kind, wire.member, False)
    assert member.asked == []
    proxy.act = honest
    assert through.get(member.url("/data")).status == 200


@pytest.mark.parametrize("before", [b"", OPENED[:20], OPENED], ids=["silent", "in-its-head", "in-the-tunnel"])
def test_one_that_hangs_is_not_waited_for(settings_of, session_of, trust, proxy, wire, before):
    settings = settings_of(trust.port, calls={"proxy": proxy.url})
    session = session_of(settings, allowed=[wire.member], limits=Limits(connect_s=0.5, read_s=0.5, total_s=20))

    def act(client: socket.socket, _target: str) -> None:
        client.sendall(before)
        proxy.ended.wait(60)

    proxy.act = act
    with pytest.raises(Unreachable, match=wire.member) as failed:
        session.get(f"https://{wire.member}/data")
    assert failed.value.kind in {"time", "tls"}  # a handshake that does not come to its end


@pytest.mark.parametrize("whose", ["another-authority", "another-host"])
def test_one_that_leads_elsewhere_is_found_by_the_certificate(through, proxy, serve, wire, tmp_path, authority, whose):
    if whose == "another-authority":
        strange = Authority(tmp_path / "strange").create()
        strange.server([wire.member])
        elsewhere = serve(certificate=strange.directory / "server" / wire.member)
    else:
        authority.server(["elsewhere.example"])
        elsewhere = serve(certificate=authority.directory / "server/elsewhere.example")
    elsewhere.routes["*"] = wire.json({"stolen": True})
    proxy.act = lambda client, _: honest(client, f"127.0.0.1:{elsewhere.port}")
    with pytest.raises(Unreachable) as failed:
        through.get(f"https://{wire.member}/data", bearer="secret")
    assert failed.value.kind == "tls"
    assert elsewhere.asked == []


def test_a_proxy_that_does_not_listen(settings_of, session_of, trust, wire):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://proxy.example:{free.getsockname()[1]}"
    session = session_of(settings_of(trust.port, calls={"proxy": url}), allowed=[wire.member])
    with pytest.raises(Unreachable, match="proxy connect"):
        session.get(f"https://{wire.member}/data")

    def look_up(host: str, port: int) -> list[str]:
        if host == "proxy.example":
            raise OSError("no such name")
        return ["127.0.0.1"]

    session = session_of(settings_of(trust.port, calls={"proxy": url}), allowed=[wire.member], look_up=look_up)
    with pytest.raises(Unreachable, match="proxy dns"):
        session.get(f"https://{wire.member}/data")


@pytest.mark.parametrize("url", ["", "http://proxy.example:3128", "http://192.0.2.1:8080", "http://[2001:db8::1]:8080"])
def test_a_proxy_is_a_host_and_a_port(url):
    assert CallsSettings(proxy=url).proxy == url


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example:3128",
        "https://proxy.example:3128",
        "socks5://proxy.example:1080",
        "http://proxy.example",
        "http://proxy.example:3128/",
        "http://proxy.example:3128?x",
        "http://user:secret@proxy.example:3128",
        "http://:3128",
        "http://proxy.example:99999",
    ],
)
def test_what_is_none_is_refused_and_not_repeated(url):
    with pytest.raises(ValidationError) as refused:
        CallsSettings(proxy=url)
    (fault,) = refused.value.errors()
    assert "http://host:port" in fault["msg"] or "user name" in fault["msg"] or "port" in fault["msg"].lower()
    assert "secret" not in fault["msg"]
