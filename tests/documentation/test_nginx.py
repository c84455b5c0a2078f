"""config/nginx.conf in a real nginx: what it passes on, what it removes, and how it refuses (matrix A01, A03, A05, A15)."""

import json
import re
import socket
import ssl
import subprocess
import threading
import time
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from consent_server.caller.arrival import from_header
from consent_server.sandbox.authority import Authority
from consent_server.settings.clients import ClientsSettings
from tests.conftest import free_ports, program
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
PUBLIC, MUTUAL_TLS = "auth.edp.example.org", "api.edp.example.org"
DIRECTORY = "https://directory.core.trust.ib1.org"
ROLE = "https://registry.core.trust.ib1.org/scheme/perseus/role/carbon-accounting-provider"


class Echo(BaseHTTPRequestHandler):
    """A door's place: says which headers reached it."""

    def do_GET(self) -> None:
        if self.path.startswith("/fails"):
            self.close_connection = True  # without an answer
            return
        body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


class Proxy:
    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca").create()
        self.cap = self.authority.client("cap", f"{DIRECTORY}/a/cap", f"{DIRECTORY}/m/cap", [ROLE])
        self.stranger = self.authority.client(
            "stranger", f"{DIRECTORY}/a/cap", f"{DIRECTORY}/m/cap", [ROLE], wrong_ca=True
        )
        server = self.authority.server([PUBLIC, MUTUAL_TLS])
        self.doors = [self._door(server) for _ in range(2)]
        self.port = free_ports(1)
        (folder / "nginx.conf").write_text(self._configuration(folder, server))
        command = [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)
        self.access_log = folder / "access.log"

    def _door(self, server: Any) -> ThreadingHTTPServer:
        door = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.chain, server.key)
        door.socket = context.wrap_socket(door.socket, server_side=True)
        threading.Thread(target=door.serve_forever, daemon=True).start()
        return door

    def _configuration(self, folder: Path, server: Any) -> str:
        """The file as it stands, with this machine's ports and paths."""
        text = (ROOT / "config" / "nginx.conf").read_text(encoding="utf-8")
        replaced = {
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "127.0.0.1:8443": f"127.0.0.1:{self.doors[0].server_address[1]}",
            "127.0.0.1:8444": f"127.0.0.1:{self.doors[1].server_address[1]}",
            "/etc/consent-server/certificates/client-root.pem": str(self.authority.client_root),
            "/etc/consent-server/certificates/public.pem": str(server.chain),
            "/etc/consent-server/certificates/public.key": str(server.key),
            "/etc/consent-server/certificates/mutual-tls.pem": str(server.chain),
            "/etc/consent-server/certificates/mutual-tls.key": str(server.key),
            "/etc/ssl/certs/ca-certificates.crt": str(self.authority.server_root),
            "/run/nginx.pid": str(folder / "pid"),
            "/var/log/nginx": str(folder),
        }
        for there, here in replaced.items():
            assert there in text, there
            text = text.replace(there, here)
        bodies = "".join(
            f"    {kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return text.replace("http {\n", f"http {{\n{bodies}", 1)

    def connect(
        self, name: str, who: Any = None, *, session: Any = None, newest: Any = ssl.TLSVersion.TLSv1_3
    ) -> ssl.SSLSocket:
        context = self.context(who, newest)
        return context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), timeout=30), server_hostname=name, session=session
        )

    def listens(self) -> bool:
        assert self.process.poll() is None, self.process.stderr and self.process.stderr.read().decode()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def context(self, who: Any = None, newest: Any = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.server_root))
        context.maximum_version = newest
        if who:
            context.load_cert_chain(who.chain, who.key)
        return context

    def get(self, name: str, who: Any = None, *headers: str, host: str | None = None) -> tuple[int, Any, Any]:
        with self.connect(name, who) as connection:
            lines = ["GET / HTTP/1.1", f"Host: {host or name}", "Connection: close", *headers, "", ""]
            connection.sendall("\r\n".join(lines).encode())
            answer = HTTPResponse(connection)
            answer.begin()
            body = answer.read()
        kind = answer.headers.get("Content-Type", "")
        return answer.status, json.loads(body) if b"<" not in body[:1] else body, kind


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    proxy = Proxy(tmp_path_factory.mktemp("nginx"))
    until(proxy.listens, "nginx does not listen")
    yield proxy
    proxy.process.terminate()
    proxy.process.wait(60)
    for door in proxy.doors:
        door.shutdown()


def test_a_verified_certificate_arrives_as_the_settings_expect_it(proxy: Proxy) -> None:
    status, seen, _ = proxy.get(MUTUAL_TLS, proxy.cap)
    assert status == 200
    name = ClientsSettings(root=Path("x")).header.lower()
    passed = [value for header, value in seen if header == name]
    assert len(passed) == 1
    assert from_header(passed[0], "escaped-pem", None).leaf == proxy.cap.der


FORGED = {
    "the-same-name": "X-SSL-Client-Cert: forged",
    "another-case": "x-ssl-client-CERT: forged",
    "underscores": "X_SSL_Client_Cert: forged",
    "rfc-9440": "Client-Cert: :Zm9yZ2Vk:",
    "rfc-9440-chain": "Client-Cert-Chain: :Zm9yZ2Vk:",
}


@pytest.mark.parametrize("door", [PUBLIC, MUTUAL_TLS])
@pytest.mark.parametrize("header", FORGED.values(), ids=FORGED.keys())
def test_a_certificate_header_of_the_callers_own_never_passes(proxy: Proxy, door: str, header: str) -> None:
    status, seen, _ = proxy.get(door, proxy.cap if door == MUTUAL_TLS else None, header, header)
    assert status == 200
    assert "forged" not in str(seen).lower()
    assert "zm9yz2vk" not in str(seen).lower()


@pytest.mark.parametrize("door", [PUBLIC, MUTUAL_TLS])
def test_the_visitors_address_is_the_one_that_nginx_saw(proxy: Proxy, door: str) -> None:
    _, seen, _ = proxy.get(door, proxy.cap if door == MUTUAL_TLS else None, "X-Forwarded-For: 192.0.2.1")
    assert [value for header, value in seen if header == "x-forwarded-for"] == ["127.0.0.1"]


def test_at_the_public_door_no_certificate_is_asked_for_and_none_is_passed_on(proxy: Proxy) -> None:
    status, seen, _ = proxy.get(PUBLIC, proxy.cap)
    assert status == 200
    assert not [header for header, _ in seen if "client-cert" in header]


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_without_a_good_certificate_the_refusal_is_json(proxy: Proxy, who: str) -> None:
    status, body, kind = proxy.get(MUTUAL_TLS, None if who == "nobody" else proxy.stranger)
    assert (status, kind) == (401, "application/json")
    assert body["error"] == "invalid_client"
    assert body.keys() == {"error", "error_description", "error_uri", "correlation_id"}


def test_malformed_http_is_refused_in_json(proxy: Proxy) -> None:
    status, body, _ = proxy.get(MUTUAL_TLS, proxy.cap, "X-Long: " + "a" * 9000)
    assert (status, body["error"]) == (400, "invalid_request")


def test_a_host_header_does_not_reach_around_the_certificate(proxy: Proxy) -> None:
    status, _, _ = proxy.get(PUBLIC, None, host=MUTUAL_TLS)
    assert status in {401, 421}


def test_tls_1_2_and_unknown_names_are_refused(proxy: Proxy) -> None:
    with pytest.raises(ssl.SSLError):
        proxy.connect(PUBLIC, newest=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError):
        proxy.connect("else.example.org")


def test_no_session_is_resumed(proxy: Proxy) -> None:
    context = proxy.context()
    session = None
    for _ in range(2):
        raw = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
        with context.wrap_socket(raw, server_hostname=PUBLIC, session=session) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {PUBLIC}\r\nConnection: close\r\n\r\n".encode())
            assert connection.recv(4096)
            assert connection.session_reused is False
            session = connection.session


@pytest.mark.parametrize(("path", "status"), [("/?code=canary", 200), ("/fails/canary?code=canary", 503)])
def test_the_logs_hold_no_path_and_no_query(proxy: Proxy, path: str, status: int) -> None:
    with proxy.connect(PUBLIC) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {PUBLIC}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(4096).split()[1] == str(status).encode()
    time.sleep(0.2)
    written = proxy.access_log.read_text()
    assert f" GET {status} " in written
    assert not re.search("canary|code=", written + (proxy.access_log.parent / "error.log").read_text())
