"""Small real TLS servers on loopback, and a Session that reaches them."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.session import Limits, Session
from consent_server.sandbox.authority import Authority
from consent_server.settings import Settings

# Names that no name server knows: the look-up of these tests sends each to loopback.
MEMBER = "member.example"
DIRECTORY = "directory.example"
REGISTRY = "registry.example"
ROLE = "https://registry.example/scheme/perseus/role/carbon-accounting-provider"


@dataclass
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    certificate: bytes | None

    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), strict_parsing=True))


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    raw: Callable[[Any], object] | None = None  # writes to the socket itself


def json_answer(document: object, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json", **named})


class WireServer:
    """Answers what `routes` says for a path; keeps what it was asked."""

    def __init__(self, context: ssl.SSLContext, port: int = 0) -> None:
        self.routes: dict[str, Callable[[Asked], Answer] | Answer] = {}
        self.asked: list[Asked] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

            def setup(self) -> None:
                self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def respond(self) -> None:
                parts = urlsplit(self.path)
                asked = Asked(
                    self.command,
                    parts.path,
                    dict(parse_qsl(parts.query)),
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(int(self.headers.get("Content-Length", 0))),
                    self.request.getpeercert(True),
                )
                owner.asked.append(asked)
                route = owner.routes.get(parts.path) or owner.routes.get("*", Answer(404))
                answer = route(asked) if callable(route) else route
                if answer.raw is not None:
                    answer.raw(self.wfile)
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in answer.headers:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = respond

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def url(self, path: str = "", host: str = MEMBER) -> str:
        return f"https://{host}:{self.port}{path}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def server_context(chain: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority")).create()
    application = f"https://{DIRECTORY}/a/ours"
    made.client("ours", application, f"https://{DIRECTORY}/m/ours", [ROLE])
    made.server([MEMBER, DIRECTORY, REGISTRY, "localhost", "127.0.0.1"])
    return made


@pytest.fixture
def serve(authority) -> Iterator[Callable[..., WireServer]]:
    """serve(certificate=…, ask_client=…, version=…, keylog=…) starts a server that ends with the test."""
    running: list[WireServer] = []

    def start(
        *, certificate=None, ask_client: bool = False, version=ssl.TLSVersion.TLSv1_3, keylog: Path | None = None
    ) -> WireServer:
        chain = certificate or authority.directory / "server" / MEMBER
        context = server_context(next(chain.glob("chain*.pem")), next(chain.glob("*key*.pem")))
        context.maximum_version = version
        if keylog is not None:
            context.keylog_filename, context.num_tickets = str(keylog), 0
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(authority.client_root)
        running.append(WireServer(context))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def trust(serve) -> WireServer:
    """Directory and Registry; its allowlist names MEMBER."""
    server = serve()
    server.routes["/server-allowlist"] = json_answer(
        {
            "ib1:allowlist": "1.0",
            "allowlistFor": f"https://{REGISTRY}:{server.port}/trust-framework",
            "lastUpdated": "2026-01-01T00:00:00Z",
            "allowed": [MEMBER],
        },
        cache_control="max-age=60",
        etag='"1"',
    )
    return server


@pytest.fixture
def settings_of(authority, tmp_path) -> Callable[..., Settings]:
    """settings_of(trust_port, environment=…, **sections) with everything that Settings asks for."""

    def make(port: int, environment: str = "sandbox", **sections: dict[str, object]) -> Settings:
        directory, registry = f"https://{DIRECTORY}:{port}", f"https://{REGISTRY}:{port}"
        ours = authority.directory / "client" / "ours"
        unused = tmp_path / "unused"
        listener = {"bind": "127.0.0.1:1", "certificate": unused, "key": unused}
        values: dict[str, object] = {
            "environment": environment,
            "party": "cap",
            "issuer": "https://cap.example",
            "member": {"url": f"{directory}/m/ours", "application": f"{directory}/a/ours"},
            "public": {"origin": "https://cap.example", "contact": {"email": "help@cap.example"}, **listener},
            "mutual_tls": {"origin": "https://mtls.cap.example", **listener},
            "clients": {"root": authority.client_root},
            "revocation_list": {"source": str(unused)},
            "calls": {},
            "scheme": {
                "registry": registry,
                "directory": directory,
                "trust_framework": f"{registry}/trust-framework",
                "edp_roles": [f"{registry}/role/edp"],
                "cap_roles": [f"{registry}/role/cap"],
                "fsp_roles": [f"{registry}/role/fsp"],
                "consumption_standard": f"{registry}/standard/consumption",
                "emissions_standard": f"{registry}/standard/emissions",
                "licenses": [
                    {
                        "url": f"{registry}/license/both",
                        "label": "both",
                        "text_sha256": "0" * 64,
                        "fuels": ["electricity", "gas"],
                    }
                ],
            },
            "database": {"url": "sqlite://", "withdrawal_journal": "withdrawals.jsonl"},
            "keys": {
                **dict.fromkeys(
                    ["tokens", "refresh", "sealing", "signing_certificate", "signing_key", "signing_root"], unused
                ),
                "client_certificate": next(ours.glob("chain*.pem")),
                "client_key": next(ours.glob("*key*.pem")),
                "server_roots": authority.server_root,
            },
            **{
                name: {}
                for name in ("lifetimes", "tokens", "metadata", "limits", "metering", "collection", "mail", "jobs")
            },
            "sandbox": {},
        }
        for name, section in sections.items():
            values[name] = {**values[name], **section}
        return Settings(**values)

    return make


def to_loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


#: Nothing that answers is cut off, however busy the machine is; SHORT is for what does not.
PATIENT = Limits(connect_s=20, read_s=20, total_s=20, body=100_000)
SHORT = Limits(connect_s=20, read_s=20, total_s=0.5, body=100_000)


@pytest.fixture
def session_of() -> Iterator[Callable[..., Session]]:
    """session_of(settings, allowed=…, look_up=…, limits=…)"""
    made: list[Session] = []

    def make(settings: Settings, *, allowed=None, look_up=to_loopback, limits=PATIENT) -> Session:
        session = Session(settings, limits=limits, look_up=look_up)
        if allowed is not None:
            session.allow_hosts(lambda: frozenset(allowed))
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()


@pytest.fixture
def settings(settings_of, trust) -> Settings:
    return settings_of(trust.port)


@pytest.fixture
def session(settings, session_of) -> Session:
    """A session that may call MEMBER."""
    return session_of(settings, allowed=[MEMBER])


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def wire():
    """The helpers of this folder, for tests (which cannot import a conftest)."""

    class Helpers:
        answer = Answer
        json = staticmethod(json_answer)
        member, directory, registry = MEMBER, DIRECTORY, REGISTRY
        to_loopback = staticmethod(to_loopback)

    return Helpers
