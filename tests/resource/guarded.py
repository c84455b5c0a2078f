"""Data APIs that are guarded on another machine than the issuer's: an issuer elsewhere, and callers with real certificates."""

import dataclasses
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson

from consent_server import clock
from consent_server.resource.remote import License, MetersQuestion, RemoteGuard
from consent_server.sandbox.authority import Authority, IssuedCertificate
from consent_server.tokens import access_token, keys, status
from consent_server.tokens.access_token import AccessToken, PermissionClaim
from consent_server.tokens.data_sources import DataSources

DIRECTORY = "https://localhost:1/directory"
ROLE = "https://localhost:1/registry/scheme/perseus/role/carbon-accounting-provider"
LICENSE = "https://localhost:1/registry/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12"
DIGEST = "d" * 64
AUDIENCE = "https://data.edp.example"


def served(
    handler: type[BaseHTTPRequestHandler], authority: Authority, *, clients: bool = False
) -> ThreadingHTTPServer:
    """A running server on a free port of localhost, over TLS; with `clients` it requires a client certificate."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if clients:
        context.load_verify_locations(authority.client_root)
        context.verify_mode = ssl.CERT_REQUIRED
    certificate = authority.server()
    context.load_cert_chain(certificate.chain, certificate.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Issuer:
    """The public door of an issuer on another machine: its keys and its status list."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        keys.make(folder / "keys", 0)
        self.signing = keys.SigningKeys(folder / "keys")
        self.withdrawn: set[int] = set()
        self.down = False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = owner.answer(self.path)
                self.send_response(200 if body else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None: ...

        self.server = served(Handler, authority)
        self.url = f"https://localhost:{self.server.server_address[1]}"

    def answer(self, path: str) -> bytes:
        if self.down:
            return b""
        if path == "/jwks":
            return orjson.dumps(self.signing.jwks())
        now = clock.now()
        bits = status.with_ended(b"", 8, self.withdrawn)
        return status.encode(self.signing, f"{self.url}/status-list", bits, now, 2, now + 2 * 86400).encode()


@dataclasses.dataclass
class Running:
    issuer: Issuer
    url: str
    offset: Path
    certificates: dict[str, IssuedCertificate]
    server_root: Path
    log: Path

    def token(self, **changes: Any) -> str:
        now = clock.now()
        token = AccessToken(
            iss=self.issuer.url,
            aud=AUDIENCE,
            sub="account-1",
            client_id=f"{DIRECTORY}/a/cap",
            scope=LICENSE,
            iat=now,
            exp=now + 600,
            jti="jti",
            status_idx=3,
            status_uri=f"{self.issuer.url}/status-list",
            permission=PermissionClaim(now - 60, now + 86400, DIGEST),
            datasources=DataSources.of(["meter.1", "meter.2"]),
            fuels=("electricity", "gas"),
        )
        return access_token.mint(self.issuer.signing, dataclasses.replace(token, **changes))

    def get(
        self,
        path: str = "/my/data/meter.1",
        *,
        who: str | None = "cap",
        token: str | None = None,
        method: str = "GET",
        **headers: str,
    ) -> httpx.Response:
        context = ssl.create_default_context(cafile=str(self.server_root))
        if who:
            context.load_cert_chain(self.certificates[who].chain, self.certificates[who].key)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return httpx.request(method, self.url + path, headers=headers, verify=context, timeout=30)


def callers(authority: Authority, folder: Path) -> dict[str, IssuedCertificate]:
    """Callers by name, and the list that revokes one of them: client.crl in the folder."""
    member = f"{DIRECTORY}/m/cap"
    certificates = {
        "cap": authority.client("cap", f"{DIRECTORY}/a/cap", member, [ROLE]),
        "cap2": authority.client("cap2", f"{DIRECTORY}/a/cap2", member, [ROLE]),
        "no_role": authority.client("no_role", f"{DIRECTORY}/a/cap", member, []),
        "revoked": authority.client("revoked", f"{DIRECTORY}/a/cap", member, [ROLE]),
    }
    (folder / "client.crl").write_bytes(authority.crl([certificates["revoked"].serial]))
    return certificates


def remote_guard(
    authority: Authority, folder: Path, issuer: Issuer, meters: MetersQuestion | None = None
) -> RemoteGuard:
    """The guard that judges those callers, behind a proxy on this machine."""
    return RemoteGuard(
        issuer=issuer.url,
        audience=AUDIENCE,
        directory=DIRECTORY,
        client_root=authority.client_root,
        client_issuers=authority.client_issuer,
        server_roots=authority.server_root,
        revocation_list=str(folder / "client.crl"),
        roles=(ROLE,),
        licenses={LICENSE: License(DIGEST, ("electricity", "gas"))},
        arrival="escaped-pem",
        proxies=("127.0.0.1",),
        environment="sandbox",
        meters=meters,
    )


#: What the guard says, whichever front end it has: (claims of the token, what is called how, status, error).
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int, str | None]] = {
    "good": ({}, {}, 200, None),
    "no role": ({}, {"who": "no_role"}, 403, "unauthorized_client"),
    "revoked certificate": ({}, {"who": "revoked"}, 401, "invalid_client"),
    "another application": ({}, {"who": "cap2"}, 401, "invalid_token"),
    "another audience": ({"aud": "https://elsewhere.example"}, {}, 401, "invalid_token"),
    "permission younger than the list": ({"status_idx": 400}, {}, 200, None),
    "another license": ({"scope": LICENSE + "x"}, {}, 403, "insufficient_scope"),
    "gas without gas": ({"fuels": ("electricity",)}, {"path": "/my/gas/meter.1"}, 403, "insufficient_scope"),
    "electricity without gas": ({"fuels": ("electricity",)}, {}, 200, None),
    "gas": ({}, {"path": "/my/gas/meter.1"}, 200, None),
    "another data source": ({}, {"path": "/my/data/meter-2"}, 404, "not_found"),
    "a token in the URL as well": ({}, {"path": "/my/data/meter.1?access_token=x"}, 401, "invalid_token"),
}
#: Method and path -> what is answered, and the Allow of a refusal. The last path's route names POST beside GET and HEAD.
METHODS: dict[tuple[str, str], tuple[int, str | None]] = {
    ("GET", "/my/gas/meter.1"): (200, None),
    ("HEAD", "/my/gas/meter.1"): (200, None),
    **{(method, "/my/gas/meter.1"): (405, "GET, HEAD") for method in ("POST", "PUT", "DELETE", "PURGE")},
    ("POST", "/my/bill/meter.1"): (200, None),
    ("DELETE", "/my/bill/meter.1"): (405, "GET, HEAD, POST"),
}
#: What is asked of whatever tells paths by itself. A Flask view has been chosen by its path.
PATHS = {
    "an id that is encoded": ("/my/data/meter%2E2", 200),
    "the same id": ("/my/data/meter.2", 200),
    "an encoded slash": ("/my/data/a%2Fb", 404),
    "an encoded slash behind an id": ("/my/data/meter.1%2F..%2Fmeter.3", 404),
    "parameters of a segment": ("/my/data/meter.1;v=1", 404),
    "a query": ("/my/data/meter.1?from=2026-03-01T00%3A00%3A00Z", 200),
    "no route": ("/my/else/meter.1", 404),
    "more than the route": ("/my/data/meter.1/more", 404),
    "less than the route": ("/my/data/", 404),
    "dots": ("/my/gas/../data/meter.1", 404),
    "dots, encoded": ("/my/gas/%2e%2e/data/meter.1", 404),
    "a slash twice": ("//my/data/meter.1", 404),
    "NUL": ("/my/data/meter.1%00", 404),
    "not UTF-8": ("/my/data/%FF", 404),
}


def judged_by_method(answer: httpx.Response, issuer: Issuer, method: str, path: str) -> None:
    """The answer to a good call is the one that METHODS says."""
    status, allow = METHODS[method, path]
    assert (answer.status_code, answer.headers.get("Allow")) == (status, allow), answer.text
    if status == 405:
        refused_in_full(answer, issuer, "invalid_request")


def refused_in_full(answer: httpx.Response, issuer: Issuer, error: str) -> None:
    """The refusal is the guard's own, whole."""
    body = answer.json()
    assert body.keys() == {"error", "error_description", "error_uri", "correlation_id"}
    assert body["error"] == error
    assert body["error_uri"].startswith(issuer.url + "/errors/")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"
    assert ("WWW-Authenticate" in answer.headers) == (error in ("invalid_token", "insufficient_scope"))
