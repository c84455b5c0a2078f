"""F01, F02, F04: what a session refuses to call, and what it survives from those it calls."""

import contextlib
import gzip
import logging
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from consent_server.outbound.errors import BadAnswer, NotAllowed, Unreachable
from consent_server.outbound.session import Limits, Response
from tests.outbound.conftest import SHORT
from tests.waiting import until

BOMB = gzip.compress(bytes(50_000_000))


def certificate_with(authority, kind: str, host: str, folder: Path) -> Path:
    """A server certificate of the authority's issuer with a key of its own kind."""
    key: Any = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }[kind]()
    issuer = x509.load_pem_x509_certificate((authority.directory / "server_issuer.pem").read_bytes())
    signer = load_pem_private_key((authority.directory / "server_issuer.key.pem").read_bytes(), None)
    pattern = authority.server(["pattern.example"]).x509
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(pattern.not_valid_before_utc)
        .not_valid_after(pattern.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
    )
    leaf = builder.sign(signer, hashes.SHA256())
    (folder / "chain.pem").write_bytes(leaf.public_bytes(Encoding.PEM) + issuer.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder


class Drip:
    """Sends `head`, then a byte at a time, each well within the read time-out; `ended` once it has sent all of them."""

    def __init__(self, head: bytes) -> None:
        self.head, self.ended = head, threading.Event()

    def __call__(self, wfile) -> None:
        wfile.write(self.head)
        for _ in range(600):
            wfile.write(b"x")
            wfile.flush()
            time.sleep(0.1)
        self.ended.set()


def test_member_is_shown_our_certificate_and_a_configured_host_is_not(session, serve, wire):
    server = serve(ask_client=True)
    server.routes["/"] = wire.json({"ok": True})
    assert session.get(server.url("/")).json() == {"ok": True}
    assert server.asked[0].certificate is not None
    with pytest.raises(Unreachable) as refused:
        session.get(server.url("/"), configured=True)
    assert refused.value.kind == "tls"


def test_the_chain_reaches_a_server_that_knows_the_root_alone(session, serve, wire):
    server = serve(ask_client=True)
    server.routes["/form"] = lambda asked: wire.json(asked.form())
    answer = session.post_form(server.url("/form"), {"scope": "https://a/b", "state": "ü &="})
    assert answer.json() == {"scope": "https://a/b", "state": "ü &="}


def test_a_session_without_a_certificate_calls_configured_hosts(settings, session_of, serve, wire):
    server = serve()
    server.routes["/"] = wire.json(1)
    without = settings.model_copy(
        update={"keys": settings.keys.model_copy(update={"client_certificate": None, "client_key": None})}
    )
    assert session_of(without).get(server.url("/"), configured=True).status == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://member.example/",
        "ftp://member.example/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user:secret@member.example/",
        "https://member.example@evil.example/",
        "https://member.example\\@evil.example/",
        "https://member.example/#fragment",
        "https://member.example./",
        "https://member.example/\r\nHost: evil",
        "https://mémber.example/",
        "https://member.example:99999/",
        "https://[::1/",
        "//member.example/",
        "",
    ],
)
def test_a_url_that_is_not_plain_https_is_never_called(session, url):
    with pytest.raises(NotAllowed) as refused:
        session.get(url)
    assert (refused.value.kind, str(refused.value)) == ("url", "-: url")


def test_no_member_is_called_before_there_is_an_allowlist(settings, session_of, serve):
    server = serve()
    with pytest.raises(NotAllowed) as refused:
        session_of(settings).get(server.url("/"))
    assert (refused.value.kind, server.asked) == ("allowlist", [])


@pytest.mark.parametrize("host", ["evil.example", "sub.member.example", "example", "localhost", "127.0.0.1"])
def test_a_host_beside_the_allowlist_is_refused_and_logged(session, serve, host, caplog):
    server = serve()
    with pytest.raises(NotAllowed) as refused, caplog.at_level(logging.WARNING, "consent_server.outbound"):
        session.post_json(server.url("/secret-path?token=secret", host), {"token": "secret"})
    assert (refused.value.kind, server.asked) == ("allowlist", [])
    assert host in caplog.text
    assert "secret" not in caplog.text + str(refused.value) + repr(refused.value)


def test_the_allowlist_is_compared_without_case(session, serve, wire):
    server = serve()
    server.routes["/"] = wire.json(1)
    assert session.get(server.url("/", "MEMBER.example")).status == 200


@pytest.mark.parametrize("configured", [False, True], ids=["member", "configured"])
@pytest.mark.parametrize(
    ("environment", "addresses"),
    [
        ("production", ["127.0.0.1"]),
        ("production", ["8.8.8.8", "10.0.0.1"]),
        ("sandbox", ["169.254.169.254"]),
        ("sandbox", ["127.0.0.1", "192.168.1.1"]),
        ("sandbox", []),
    ],
)
def test_a_name_with_one_inward_address_is_not_connected_to(
    settings_of, session_of, serve, wire, environment, addresses, configured
):
    server = serve()
    session = session_of(
        settings_of(server.port, environment), allowed=[wire.member], look_up=lambda host, port: addresses
    )
    with pytest.raises(NotAllowed) as refused:
        session.get(server.url("/"), configured=configured)
    assert (refused.value.kind, server.asked) == ("address", [])


def test_the_address_that_was_checked_is_the_one_connected_to(settings, session_of, serve, wire):
    """Rebinding: the name is looked up once for a connection, so a second answer has nothing to change."""
    server = serve()
    server.routes["/"] = wire.json(1)
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    session = session_of(settings, allowed=[wire.member], look_up=lambda host, port: next(answers))
    assert session.get(server.url("/")).status == 200


def test_decimal_addresses_meet_the_same_rule(settings_of, session_of, serve):
    from consent_server.outbound.addresses import resolve

    server = serve()
    session = session_of(settings_of(server.port, "production"), allowed=["2130706433"], look_up=resolve)
    with pytest.raises(Unreachable) as refused:
        session.get(server.url("/", "2130706433"))
    assert (refused.value.kind, server.asked) in [("address", []), ("dns", [])]


def test_unknown_name(settings, session_of, wire):
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror

    with pytest.raises(Unreachable) as failed:
        session_of(settings, allowed=[wire.member], look_up=unknown).get("https://member.example/")
    assert str(failed.value) == "member.example: dns"


def test_a_port_on_which_nobody_listens(session):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable) as failed:
            session.get(f"https://member.example:{bound.getsockname()[1]}/")
    assert failed.value.kind == "connect"


def test_a_wildcard_certificate_is_refused_at_a_member_alone(settings, session_of, serve, authority, wire):
    server = serve(certificate=authority.server(["*.members.example"]).certificate.parent)
    server.routes["/"] = wire.json(1)
    session = session_of(settings, allowed=["one.members.example"])
    with pytest.raises(NotAllowed) as refused:
        session.get(server.url("/", "one.members.example"))
    assert (refused.value.kind, server.asked) == ("name", [])
    assert session.get(server.url("/", "one.members.example"), configured=True).status == 200


@pytest.mark.parametrize("key", ["rsa", "p521", "p384"])
def test_a_member_server_needs_an_ecdsa_certificate_of_the_two_curves(session, serve, authority, wire, tmp_path, key):
    folder = certificate_with(authority, key, wire.member, tmp_path)
    server = serve(certificate=folder)
    server.routes["/"] = wire.json(1)
    assert session.get(server.url("/"), configured=True).status == 200
    if key == "p384":
        assert session.get(server.url("/")).status == 200
        return
    with pytest.raises(NotAllowed) as refused:
        session.get(server.url("/"))
    assert (refused.value.kind, len(server.asked)) == ("certificate", 1)


@pytest.mark.parametrize("fault", ["other name", "other authority"])
def test_a_certificate_that_does_not_verify(session, serve, authority, tmp_path, fault):
    from consent_server.sandbox.authority import Authority

    if fault == "other name":
        issued = authority.server(["other.example"])
    else:
        issued = Authority(tmp_path / "stranger").create().server(["member.example"])
    server = serve(certificate=issued.certificate.parent)
    with pytest.raises(Unreachable) as refused:
        session.get(server.url("/"))
    assert (refused.value.kind, server.asked) == ("tls", [])


def test_tls_1_2_is_refused(session, serve):
    server = serve(version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(Unreachable) as refused:
        session.get(server.url("/"))
    assert refused.value.kind == "tls"


def test_redirects_stay_on_the_origin(session, serve, wire):
    here, elsewhere = serve(), serve()
    here.routes["/a"] = wire.answer(302, headers={"Location": "/b"})
    here.routes["/b"] = wire.answer(307, headers={"Location": here.url("/c")})
    here.routes["/c"] = wire.json("c")
    assert session.get(here.url("/a")).json() == "c"
    for location in [
        elsewhere.url("/"),
        here.url("/c", "localhost"),
        "http://member.example/c",
        "//evil.example/c",
        "https://[",
        "/a",
    ]:
        here.routes["/a"] = wire.answer(302, headers={"Location": location})
        with pytest.raises(Unreachable) as refused:
            session.get(here.url("/a"), bearer="secret")
        assert refused.value.kind == "redirect"
    assert elsewhere.asked == []


def test_what_was_posted_is_never_sent_on(session, serve, wire):
    server = serve()
    server.routes["/a"] = wire.answer(307, headers={"Location": "/b"})
    assert session.post_form(server.url("/a"), {"token": "secret"}).status == 307
    assert [asked.path for asked in server.asked] == ["/a"]


@pytest.mark.parametrize(
    ("kind", "headers", "body"),
    [
        ("too_large", {}, bytes(100_001)),
        ("too_large", {"Content-Encoding": "gzip"}, BOMB),
        ("encoding", {"Content-Encoding": "gzip"}, b"not gzip"),
        ("encoding", {"Content-Encoding": "gzip"}, gzip.compress(b"cut off")[:-4]),
        ("encoding", {"Content-Encoding": "br"}, b"x"),
        ("encoding", {"Content-Encoding": "gzip, gzip"}, gzip.compress(gzip.compress(b"x"))),
    ],
    ids=["long", "gzip bomb", "not gzip", "gzip cut off", "brotli", "gzip twice"],
)
def test_bodies_are_counted_as_they_are_decoded(session, serve, wire, kind, headers, body):
    server = serve()
    server.routes["/"] = wire.answer(200, body, headers)
    with pytest.raises(Unreachable) as refused:
        session.get(server.url("/"))
    assert refused.value.kind == kind


def test_gzip_within_the_limit(session, serve, wire):
    server = serve()
    server.routes["/"] = wire.answer(200, gzip.compress(b"[" + b"1," * 40_000 + b"1]"), {"Content-Encoding": "gzip"})
    assert len(session.get(server.url("/")).json()) == 40_001


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX-Endless: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"],
    ids=["before the status", "in a header", "in the body"],
)
def test_a_drip_ends_at_the_total_time(settings, session_of, serve, wire, head):
    server, session = serve(), session_of(settings, allowed=[wire.member], limits=SHORT)
    dripping = Drip(head)
    server.routes["/"] = wire.answer(raw=dripping)
    with pytest.raises(Unreachable) as refused:
        session.get(server.url("/"))
    assert refused.value.kind in {"time", "connection"}
    assert not dripping.ended.is_set(), "a minute"


@pytest.mark.timeout(30)
def test_silence_ends_at_the_read_time(settings, session_of, serve, wire):
    server, over = serve(), threading.Event()
    server.routes["/"] = wire.answer(raw=lambda wfile: over.wait(60))
    session = session_of(settings, allowed=[wire.member], limits=Limits(connect_s=60, read_s=0.2, total_s=60))
    with pytest.raises(Unreachable) as refused:
        session.get(server.url("/"))
    over.set()
    assert refused.value.kind == "time"


def test_a_slow_server_uses_up_no_other_servers_connections(settings, session_of, serve, wire):
    slow, other, over = serve(), serve(), threading.Event()
    slow.routes["/"] = wire.answer(raw=lambda wfile: over.wait(60))
    other.routes["/"] = wire.json(1)
    session = session_of(settings, allowed=[wire.member], limits=Limits(connect_s=10, read_s=10, total_s=10))
    threads = [threading.Thread(target=lambda: suppressed(session.get, slow.url("/"))) for _ in range(40)]
    for thread in threads:
        thread.start()
    until(lambda: slow.asked, "it was not called")
    assert session.get(other.url("/")).status == 200
    assert all(thread.is_alive() for thread in threads), "each waits for the slow server still"
    over.set()
    for thread in threads:
        thread.join()


def suppressed(call, *arguments):
    with contextlib.suppress(Unreachable):
        call(*arguments)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n" + b"A" * 200_000,
    ],
    ids=["closed", "not http", "cut off", "endless header"],
)
def test_a_broken_answer(session, serve, wire, raw):
    server = serve()
    server.routes["/"] = wire.answer(raw=lambda wfile: wfile.write(raw))
    with pytest.raises(Unreachable) as failed:
        session.get(server.url("/"))
    assert failed.value.kind == "connection"


def test_after_each_failure_the_next_call_works(session, serve, wire):
    server = serve()
    server.routes["/bad"] = wire.answer(raw=lambda wfile: wfile.write(b"nonsense"))
    server.routes["/good"] = wire.json(1)
    for _ in range(3):
        with pytest.raises(Unreachable):
            session.get(server.url("/bad"))
        assert session.get(server.url("/good")).status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":NaN}'])
def test_json_that_is_not(body):
    with pytest.raises(BadAnswer) as refused:
        Response(200, {}, "member.example", body).json()
    assert refused.value.kind == "json"


def test_no_cookie_is_kept_and_no_environment_is_believed(session, serve, wire, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    server = serve()
    server.routes["/"] = wire.answer(200, b"1", {"Set-Cookie": "a=b; Path=/; Secure"})
    session.get(server.url("/"))
    session.get(server.url("/"))
    assert "cookie" not in server.asked[1].headers


def test_secrets_stay_out_of_logs_errors_and_reprs(session, serve, wire, caplog):
    server = serve()
    server.routes["/"] = wire.answer(401, b"canary-answer", {"WWW-Authenticate": "canary-header"})
    with caplog.at_level(logging.DEBUG):
        answer = session.get(server.url("/?q=canary-query"), bearer="canary-token")
        session.post_form(server.url("/"), {"token": "canary-form"})
        with pytest.raises(BadAnswer) as refused:
            answer.must_be(200)
    assert "canary" not in caplog.text + str(refused.value) + repr(refused.value) + repr(answer)
