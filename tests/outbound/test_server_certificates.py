"""Members' server certificates: a real member server, and a real http server that publishes lists and responses."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp

from consent_server import clock
from consent_server.outbound import server_certificates
from consent_server.outbound.errors import NotAllowed
from tests.pki.authorities import (
    DAY,
    HOUR,
    NOW,
    Signer,
    answer_of,
    list_of,
    make_issuers,
    make_root,
    point,
    responder,
)


@pytest.fixture(scope="module")
def root() -> Signer:
    return make_root()


@pytest.fixture(scope="module")
def issuers(root) -> dict[str, Signer]:
    return make_issuers(root)


@dataclass
class Published:
    """What the http server gives out, by path, and what it was asked."""

    port: int = 0
    routes: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://authority.example:{self.port}{path}"


@pytest.fixture
def published() -> Iterator[Published]:
    state = Published()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            state.asked.append((self.command, self.path, body))
            status, answer = state.routes.get(self.path, (404, b""))
            self.send_response(status)
            if status in {301, 302}:
                self.send_header("Location", "/good")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = respond

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def member(root, issuers, serve, settings_of, session_of, wire, tmp_path):
    """member(*extensions, mode=…): its URL, a session that may call it, and its certificate."""
    (tmp_path / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))

    def start(*extensions, mode: str = "when-published", look_up=wire.to_loopback):
        issuer = issuers["ec"]
        leaf = issuer.issue(wire.member, (x509.SubjectAlternativeName([x509.DNSName(wire.member)]), False), *extensions)
        chain = leaf.certificate.public_bytes(Encoding.PEM) + issuer.certificate.public_bytes(Encoding.PEM)
        (tmp_path / "chain.pem").write_bytes(chain)
        key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "key.pem").write_bytes(key)
        server = serve(certificate=tmp_path)
        server.routes["/"] = wire.answer(200, b"{}", {"Connection": "close"})
        settings = settings_of(
            server.port, keys={"server_roots": tmp_path / "root.pem"}, calls={"server_revocation": mode}
        )
        return server, session_of(settings, allowed=[wire.member], look_up=look_up), leaf.certificate

    return start


def outcome(session, server) -> str:
    try:
        return str(session.get(server.url("/")).status)
    except NotAllowed as refused:
        return refused.kind


# What is named (list, responder), what is published there, and how a call ends unless nobody asks.
CASES = {
    "good by both": (True, True, {}, "200"),
    "good by list": (True, False, {}, "200"),
    "good by responder": (False, True, {}, "200"),
    "revoked by list": (True, True, {"list": "revoked"}, "revoked"),
    "revoked by responder": (True, True, {"answer": "revoked"}, "revoked"),
    "list of another issuer": (True, True, {"list": "stranger"}, "revocation"),
    "list too old": (True, True, {"list": "stale"}, "revocation"),
    "answer too old": (True, True, {"answer": "stale"}, "revocation"),
    "list not there": (True, True, {"list": "absent"}, "revocation"),
    "answer not there": (True, True, {"answer": "absent"}, "revocation"),
    "list moved": (True, False, {"list": "moved"}, "revocation"),
    "list too large": (True, False, {"list": "large"}, "revocation"),
    "answer too large": (False, True, {"answer": "large"}, "revocation"),
}


@pytest.mark.parametrize("mode", ["require", "when-published", "off"])
@pytest.mark.parametrize(("has_list", "has_responder", "faults", "ends"), CASES.values(), ids=list(CASES))
def test_calls_to_a_member(member, issuers, published, monkeypatch, mode, has_list, has_responder, faults, ends):
    monkeypatch.setattr(server_certificates, "LARGEST_LIST", 10_000)
    issuer = issuers["ec"]
    extensions = [point(published.url("/list"))] * has_list + [responder(published.url("/ocsp"))] * has_responder
    server, session, leaf = member(*extensions, mode=mode)
    lists = {
        "revoked": (200, list_of(issuer, leaf.serial_number)),
        "stranger": (200, list_of(issuers["stranger"])),
        "stale": (200, list_of(issuer, issued=-2 * DAY, until=-DAY)),
        "absent": (404, b""),
        "moved": (302, b""),
        "large": (200, bytes(10_001)),
    }
    answers = {
        "revoked": (200, answer_of(leaf, issuer, status="REVOKED")),
        "stale": (200, answer_of(leaf, issuer, issued=-2 * DAY, until=-DAY)),
        "absent": (503, b""),
        "large": (200, bytes(65_537)),
    }
    good = (200, list_of(issuer))
    published.routes["/good"] = good
    published.routes["/list"] = lists.get(faults.get("list"), good)
    published.routes["/ocsp"] = answers.get(faults.get("answer"), (200, answer_of(leaf, issuer)))
    ends = "200" if mode == "off" else ends
    assert [outcome(session, server), outcome(session, server)] == [ends, ends]
    assert len(server.asked) == (2 if ends == "200" else 0)
    paths = [path for _, path, _ in published.asked]
    assert sorted(set(paths)) == sorted(paths)  # nothing is asked twice
    assert "/good" not in paths  # no redirect is followed
    if mode == "off":
        assert paths == []


@pytest.mark.parametrize(("mode", "ends"), [("require", "revocation"), ("when-published", "200"), ("off", "200")])
def test_a_certificate_that_names_no_source(member, mode, ends):
    server, session, _ = member(mode=mode)
    assert outcome(session, server) == ends


def test_a_question_is_about_the_certificate_alone(member, issuers, published):
    server, session, leaf = member(responder(published.url("/ocsp")))
    published.routes["/ocsp"] = (200, answer_of(leaf, issuers["ec"]))
    assert outcome(session, server) == "200"
    ((method, _, body),) = published.asked
    assert (method, ocsp.load_der_ocsp_request(body).serial_number) == ("POST", leaf.serial_number)


def test_the_second_name_of_a_point_stands_in_for_the_first(member, issuers, published):
    server, session, _ = member(point(published.url("/gone"), published.url("/list")))
    published.routes["/list"] = (200, list_of(issuers["ec"]))
    assert outcome(session, server) == "200"


@pytest.mark.parametrize(
    "url",
    ["https://authority.example/list", "ldap://authority.example/list", "http://user@authority.example/", "http://"],
)
def test_a_source_that_is_not_plain_http_is_not_asked(member, url):
    server, session, _ = member(point(url))
    assert outcome(session, server) == "revocation"


def test_a_source_at_an_inward_address_is_not_asked(member, issuers, published, wire):
    server, session, _ = member(
        point(published.url("/list")),
        look_up=lambda host, port: ["127.0.0.1"] if host == wire.member else ["127.0.0.1", "169.254.169.254"],
    )
    published.routes["/list"] = (200, list_of(issuers["ec"]))
    assert (outcome(session, server), published.asked) == ("revocation", [])


def test_verdicts_are_remembered_until_they_are_due(member, issuers, published, monkeypatch):
    server, session, leaf = member(point(published.url("/list")))
    at = NOW
    monkeypatch.setattr(clock, "now", lambda: at)
    assert outcome(session, server) == "revocation"
    published.routes["/list"] = (200, list_of(issuers["ec"], until=2 * HOUR))
    assert (outcome(session, server), len(published.asked)) == ("revocation", 1)
    at += 60
    assert (outcome(session, server), len(published.asked)) == ("200", 2)
    published.routes["/list"] = (200, list_of(issuers["ec"], leaf.serial_number, until=9 * DAY))
    at = NOW + 2 * HOUR - 1
    assert (outcome(session, server), len(published.asked)) == ("200", 2)
    at += 1
    assert (outcome(session, server), len(published.asked)) == ("revoked", 3)
