"""Three ways to the EDP's mutual-TLS door: the sandbox's own, and doors behind a real nginx and a real haproxy.

The doors behind a proxy run on the sandbox's settings and database, with clients.arrival and clients.proxies changed.
The proxies call them from 127.0.0.2, so that a caller on 127.0.0.1 who goes around the proxy can be told from it.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx

from consent_server.sandbox.authority import IssuedCertificate
from tests.conftest import RunningSandbox, program
from tests.refusals.certificates import Holder, held
from tests.refusals.oracle import Log, Oracle

ROOT = Path(__file__).resolve().parents[2]
PROXY = "127.0.0.2"
PUBLIC = "auth.edp.example.org"


class Front:
    """Where members arrive. `door` is the name of the log of the application behind it."""

    def __init__(self, name: str, door: str, port: int, oracle: Oracle) -> None:
        self.name, self.door, self.port, self.oracle = name, door, port, oracle
        self.base = f"https://localhost:{port}"
        self._roots = oracle.manifest["trust"]["server_ca"]
        self._honest: httpx.Client | None = None

    def context(self, who: Holder | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._roots)
        if who is not None:
            context.set_ciphers("DEFAULT:@SECLEVEL=0")  # let a bad client show what it has
            context.load_cert_chain(who.chain, who.key)
        return context

    def client(self, who: Holder | None = None, *, source: str | None = None) -> httpx.Client:
        transport = httpx.HTTPTransport(verify=self.context(who), local_address=source, trust_env=False)
        return httpx.Client(base_url=self.base, transport=transport, timeout=30)

    def connect(self, who: Holder | None = None, *, source: str = "127.0.0.1") -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=30, source_address=(source, 0))
        return self.context(who).wrap_socket(raw, server_hostname="localhost")

    def send(self, who: Holder | None, request: bytes) -> tuple[int, str]:
        """Bytes as they are, on a connection of their own; status and body of what comes back."""
        with self.connect(who) as connection:
            connection.sendall(request)
            answer = HTTPResponse(connection)
            answer.begin()
            return answer.status, answer.read().decode("utf-8", errors="replace")

    def honest(self) -> None:
        """The next honest request, through this front."""
        if self._honest is None:
            self._honest = self.client(held(self.oracle.manifest["clients"]["cap2"]))
        answer = self._honest.post("/par", data=self.oracle.good_push("cap2"))
        assert answer.status_code == 201, answer.text

    def wait_until_healthy(self, within_s: float = 60) -> None:
        """A door that takes connections may still be loading what answers them."""
        until = time.monotonic() + within_s
        who = held(self.oracle.manifest["clients"]["cap2"])
        while True:
            try:
                with self.client(who) as client:
                    assert client.get("/health").status_code == 200
                return
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def close(self) -> None:
        if self._honest is not None:
            self._honest.close()

    def refused(
        self, act: Callable[[], httpx.Response], refusal: Any, status: int, error: str, **more: Any
    ) -> httpx.Response:
        """The application behind this front refuses `act` (see Oracle.refused)."""
        return self.oracle.refused(act, refusal, status, error, door=self.door, honest=self.honest, **more)

    def turned_away(self, act: Callable[[], object]) -> str:
        """TLS itself turns `act` away here, before any application; answers the reason that was logged."""
        return self.oracle.handshake_refused(act, door=self.door, honest=self.honest)


class Behind(Front):
    """A front that is a proxy of its own, with its own log."""

    def __init__(self, name: str, door: str, port: int, oracle: Oracle, log: Path) -> None:
        super().__init__(name, door, port, oracle)
        self.proxy_log = log

    def turned_away(self, act: Callable[[], object]) -> str:
        before, seen, said = self.oracle.stores["edp"].contents(), self.oracle.log(self.door), Log(self.proxy_log)
        try:
            answered = act()
        except (ssl.SSLError, httpx.TransportError, ConnectionError):
            answered = None
        if answered is not None:
            # nginx tells on the HTTP level: still JSON, and still counted in its own log
            assert isinstance(answered, httpx.Response)
            assert (answered.status_code, answered.json()["error"]) == (401, "invalid_client")
            assert answered.json()["correlation_id"] == answered.headers["X-Request-Id"]
            assert "no-store" in answered.headers["Cache-Control"]
            line = said.wait_for(answered.headers["X-Request-Id"])
            assert line.count("\n") == 1, line
        elif self.name == "haproxy":
            line = said.wait_for(" members/1: ")
            assert line.count("\n") == 1, line
        else:
            line = ""  # nginx keeps broken handshakes to its info level
        assert not reached(seen), "it reached the door"
        assert self.oracle.stores["edp"].contents() == before
        self.honest()
        return line


def reached(log: Log) -> list[dict[str, Any]]:
    """Requests that a door has answered; the honest push before may have its line written a moment late."""
    return [line for line in log.lines(event="request") if (line["path"], line["status"]) != ("/par", 201)]


def start_door(sandbox: RunningSandbox, name: str, port: int, **overrides: Any) -> tuple[subprocess.Popen[bytes], int]:
    """Another mutual-TLS door of the sandbox's EDP, with settings of its own; its log is DIR/logs/<name>.log."""
    environment = {
        **{key: value for key, value in os.environ.items() if key != "DATABASE_URL"},
        "CONSENT_CONFIG": str(sandbox.directory / "edp" / "settings.toml"),
        "CONSENT_DOOR": "mutual_tls",
        "CONSENT_SET": json.dumps({"mutual_tls.bind": f"127.0.0.1:{port}", **overrides}),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "config" / "gunicorn.conf.py")]
    with (sandbox.directory / "logs" / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
    return process, port


def start_nginx(
    folder: Path, port: int, oracle: Oracle, door: int, certificate: IssuedCertificate
) -> tuple[subprocess.Popen[bytes], int, Path]:
    """config/nginx.conf as it stands, with this machine's ports, names and files."""
    folder.mkdir()
    trust = oracle.manifest["trust"]
    text = (ROOT / "config" / "nginx.conf").read_text(encoding="utf-8")
    certificates = "/etc/consent-server/certificates"
    for there, here in {
        "listen 443": f"listen 127.0.0.1:{port}",
        "127.0.0.1:8443": f"127.0.0.1:{httpx.URL(oracle.manifest['pages']['edp']).port}",
        "127.0.0.1:8444": f"127.0.0.1:{door}",
        "server_name api.edp.example.org": "server_name localhost",
        f"{certificates}/client-root.pem": str(trust["client_ca"]),
        f"{certificates}/public.pem": str(certificate.chain),
        f"{certificates}/public.key": str(certificate.key),
        f"{certificates}/mutual-tls.pem": str(certificate.chain),
        f"{certificates}/mutual-tls.key": str(certificate.key),
        "/etc/ssl/certs/ca-certificates.crt": str(trust["server_ca"]),
        "proxy_ssl_name $host": f"proxy_bind {PROXY};\n    proxy_ssl_name localhost",
        "worker_processes auto": "worker_processes 1",
        "/run/nginx.pid": str(folder / "pid"),
        "/var/log/nginx": str(folder),
    }.items():
        assert there in text, there
        text = text.replace(there, here)
    kept = "".join(
        f"    {kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(text.replace("http {\n", f"http {{\n{kept}", 1))
    command = [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    return process, port, folder / "access.log"


HAPROXY = """
global
    log stdout format raw local0
defaults
    mode http
    log global
    log-format "%ci %ST %HM"
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend members
    bind 127.0.0.1:{port} ssl crt {bundle} ca-file {client_root} verify required ssl-min-ver TLSv1.3 no-tls-tickets
    # What a client sends under these names is removed, and what was verified is put there (RFC 9440 section 2.4).
    http-request del-header Client-Cert
    http-request del-header Client-Cert-Chain
    http-request del-header X-SSL-Client-Cert
    http-request set-header Client-Cert :%[ssl_c_der,base64]: if {{ ssl_c_used }} {{ ssl_c_verify 0 }}
    default_backend door
backend door
    default-server ssl verify required ca-file {server_root} sni str(localhost) verifyhost localhost
    server door 127.0.0.1:{door} source {proxy}
"""


def start_haproxy(
    folder: Path, port: int, oracle: Oracle, door: int, certificate: IssuedCertificate
) -> tuple[subprocess.Popen[bytes], int, Path]:
    """haproxy with RFC 9440's header from its own fetch functions."""
    folder.mkdir()
    trust = oracle.manifest["trust"]
    (folder / "bundle.pem").write_bytes(certificate.chain.read_bytes() + certificate.key.read_bytes())
    (folder / "haproxy.cfg").write_text(
        HAPROXY.format(
            port=port,
            bundle=folder / "bundle.pem",
            client_root=trust["client_ca"],
            server_root=trust["server_ca"],
            door=door,
            proxy=PROXY,
        )
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program("haproxy"), "-f", str(folder / "haproxy.cfg"), "-db"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return process, port, folder / "log"


def listening(processes: Sequence[tuple[subprocess.Popen[bytes], int, Path]], within_s: float = 60) -> None:
    """Wait until each of (process, port, log) takes connections."""
    until = time.monotonic() + within_s
    for process, port, log in processes:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < until, log.read_text(errors="replace")
                time.sleep(0.05)


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def need(*programs: str) -> None:
    for name in programs:
        program(name)
