"""F07: requests that a proxy and a server could take apart at different places, through a real nginx and a real haproxy."""

import itertools
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tests.conftest import free_ports
from tests.refusals import fronts
from tests.serving.doors import Door

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
ALL_OF_IT = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)


def post(headers: bytes, body: bytes) -> bytes:
    return b"POST /seen HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n" + body


def length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


EMPTY_THEN_HIDDEN = b"0\r\n\r\n" + HIDDEN
CASES = {
    "CL.TE": post(length(EMPTY_THEN_HIDDEN) + CHUNKED, EMPTY_THEN_HIDDEN),
    "TE.CL": post(CHUNKED + b"Content-Length: 4\r\n", ALL_OF_IT),
    "TE of another name": post(length(EMPTY_THEN_HIDDEN) + b"Transfer-Encoding: xchunked\r\n", EMPTY_THEN_HIDDEN),
    "TE with a space before the colon": post(length(EMPTY_THEN_HIDDEN) + b"Transfer-Encoding : chunked\r\n", EMPTY_THEN_HIDDEN),
    "TE with a vertical tab": post(length(EMPTY_THEN_HIDDEN) + b"Transfer-Encoding: \x0bchunked\r\n", EMPTY_THEN_HIDDEN),
    "TE in quotes": post(length(EMPTY_THEN_HIDDEN) + b'Transfer-Encoding: "chunked"\r\n', EMPTY_THEN_HIDDEN),
    "TE twice": post(CHUNKED + b"Transfer-Encoding: identity\r\n", ALL_OF_IT),
    "TE with an underscore": post(length(EMPTY_THEN_HIDDEN) + b"Transfer_Encoding: chunked\r\n", EMPTY_THEN_HIDDEN),
    "TE folded": post(length(EMPTY_THEN_HIDDEN) + b"Transfer-Encoding:\r\n chunked\r\n", EMPTY_THEN_HIDDEN),
    "TE after a bare LF": post(length(EMPTY_THEN_HIDDEN) + b"X: y\nTransfer-Encoding: chunked\r\n", EMPTY_THEN_HIDDEN),
    "TE after a bare CR": post(length(EMPTY_THEN_HIDDEN) + b"X: y\rTransfer-Encoding: chunked\r\n", EMPTY_THEN_HIDDEN),
    "TE in HTTP/1.0": post(CHUNKED, ALL_OF_IT).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "two lengths": post(b"Content-Length: 0\r\n" + length(HIDDEN), HIDDEN),
    "a list of lengths": post(b"Content-Length: 0, %d\r\n" % len(HIDDEN), HIDDEN),
    "a length with a sign": post(b"Content-Length: +%d\r\n" % len(HIDDEN), HIDDEN),
    "a length in hexadecimal": post(b"Content-Length: 0x%x\r\n" % len(HIDDEN), HIDDEN),
    "a length folded": post(b"Content-Length:\r\n %d\r\n" % len(HIDDEN), HIDDEN),
    "a length after NUL": post(b"X: \0\r\n" + length(HIDDEN), HIDDEN),
    "a length that is underlined": post(b"Content_Length: 0\r\n" + length(HIDDEN), HIDDEN),
    "a body of a GET": post(length(HIDDEN), HIDDEN).replace(b"POST", b"GET", 1),
    "chunk extension": post(CHUNKED, ALL_OF_IT.replace(b"\r\n", b";a=b\r\n", 1)),
    "chunk extension with a bare LF": post(CHUNKED, b"2;\nxx\r\n%x\r\n0\r\n\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN) + 5, HIDDEN)),
    "chunk with a bare LF": post(CHUNKED, ALL_OF_IT.replace(b"\r\n", b"\n", 1)),
    "chunk size of 64 bits and more": post(CHUNKED, b"1" + b"0" * 16 + ALL_OF_IT[0:2] + b"\r\n" + HIDDEN + b"\r\n0\r\n\r\n"),
    "trailers that are headers": post(CHUNKED, b"0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN)),
    "Upgrade to a WebSocket": post(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + length(HIDDEN), HIDDEN),
    "Upgrade to HTTP/2": post(
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n" + length(HIDDEN), HIDDEN
    ),
    "Expect": post(b"Expect: 100-continue\r\n" + length(HIDDEN), HIDDEN),
    "Connection that drops the length": post(b"Connection: Content-Length\r\n" + length(HIDDEN), HIDDEN),
    "folded": b"GET /seen HTTP/1.1\r\nHost: localhost\r\nX: y\r\n GET /hidden HTTP/1.1\r\n\r\n",
    "bare LF everywhere": b"GET /seen HTTP/1.1\nHost: localhost\nX: y\n\n",
    "a space before the first header": b"GET /seen HTTP/1.1\r\n Host: localhost\r\nHost: localhost\r\n\r\n",
    "a request line in a request line": b"GET /seen HTTP/1.1 /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an absolute target": b"GET https://evil.example/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two hosts": b"GET /seen HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def ways(certificates, tmp_path_factory):
    """name -> (the port of a proxy, the door behind it)."""
    fronts.need("nginx", "haproxy")
    folder = tmp_path_factory.mktemp("framing")
    authority = certificates.authority
    proxy_certificate = authority.server(["localhost", fronts.PUBLIC])
    started, doors = [], {}
    try:
        ports = itertools.count(free_ports(2))
        for name, start, arrival in (
            ("nginx", fronts.start_nginx, "escaped-pem"),
            ("haproxy", fronts.start_haproxy, "client-cert"),
        ):
            (folder / f"{name}-door").mkdir()
            overrides = {"clients.arrival": arrival, "clients.proxies": [fronts.PROXY]}
            door = Door(certificates, folder / f"{name}-door", "mutual_tls", overrides=overrides)
            trust = {"client_ca": str(authority.client_root), "server_ca": str(authority.server_root)}
            manifest = {"trust": trust, "pages": {"edp": f"https://localhost:{door.port}"}}
            proxy = start(folder / name, next(ports), SimpleNamespace(manifest=manifest), door.port, proxy_certificate)
            started.append(proxy[0])
            doors[name] = (proxy[1], door)
            fronts.listening([proxy])
        yield doors
    finally:
        fronts.stop([*started, *(door.process for _, door in doors.values())])


def answers(port, certificates, request):
    """The statuses that come back; the proxy hangs up, or says nothing more."""
    context = ssl.create_default_context(cafile=certificates.authority.server_root)
    context.load_cert_chain(certificates.cap.chain, certificates.cap.key)
    seen = b""
    with context.wrap_socket(
        socket.create_connection(("127.0.0.1", port), timeout=30), server_hostname="localhost"
    ) as connection:
        connection.sendall(request)
        connection.settimeout(2)  # long enough for a second request to arrive, on a busy machine too
        try:
            while more := connection.recv(65536):
                seen += more
        except (TimeoutError, ConnectionError):
            pass
    statuses = [int(line.split()[1]) for line in seen.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    return [status for status in statuses if status != 100]


@pytest.fixture(scope="module")
def sent(ways, certificates):
    """All cases at once, each with paths of its own: (way, case) -> the statuses that came back and the paths that arrived."""
    numbered = {
        case: request.replace(b"/seen", b"/seen-%02d" % number).replace(b"/hidden", b"/hid-%02d" % number)
        for number, (case, request) in enumerate(CASES.items())
    }

    def send(way, case):
        return answers(ways[way][0], certificates, numbered[case])

    keys = list(itertools.product(ways, CASES))
    with ThreadPoolExecutor(24) as pool:
        statuses = dict(zip(keys, pool.map(send, *zip(*keys, strict=True)), strict=True))
    paths = {way: [line["path"] for line in door.lines("request")] for way, (_, door) in ways.items()}
    numbers = {case: f"-{number:02}" for number, case in enumerate(CASES)}
    return {
        (way, case): (statuses[way, case], [p for p in paths[way] if p.endswith(numbers[case])]) for way, case in keys
    }


@pytest.mark.parametrize("way", ["nginx", "haproxy"])
@pytest.mark.parametrize("case", CASES)
def test_F07_one_request_is_one_request_behind_a_proxy(sent, way, case):
    statuses, arrived = sent[way, case]
    assert len(arrived) <= 1, (arrived, statuses)
    assert not [path for path in arrived if path.startswith("/hid-")], "the hidden request arrived"
    assert statuses in ([], [200], [400], [417], [421], [501]), (statuses, arrived)
