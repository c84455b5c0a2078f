"""Members' server certificates: what CRL and OCSP say of them, and what a session makes of it."""

import datetime
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from consent_server import clock
from consent_server.outbound import server_certificates
from consent_server.outbound.errors import NotAllowed
from consent_server.outbound.server_certificates import NotBelieved, Status, by_list, by_ocsp, sources

NOW = clock.now()
HOUR, DAY = 3600, 86400
POINT = "http://crl.example/one.crl"


def moment(offset: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(NOW + offset, datetime.UTC)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass
class Signer:
    certificate: x509.Certificate
    key: Any

    def issue(
        self, name: str, *extensions: tuple[x509.ExtensionType, bool], key: Any = None, days: int = 30
    ) -> "Signer":
        key = key or ec.generate_private_key(ec.SECP256R1())
        return Signer(certified(named(name), self.certificate.subject, key, self.key, extensions, days), key)


def certified(subject, issuer, key, signing_key, extensions, days=30) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(-40 * DAY))
        .not_valid_after(moment(days * DAY))
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(signing_key, hashes.SHA256())


CA = (x509.BasicConstraints(ca=True, path_length=None), True)
NO_LISTS = (
    x509.KeyUsage(True, False, False, False, False, True, False, False, False),
    True,
)
RESPONDER = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)
NO_CHECK = (x509.OCSPNoCheck(), False)


@pytest.fixture(scope="module")
def root() -> Signer:
    key = ec.generate_private_key(ec.SECP384R1())
    return Signer(certified(named("Root"), named("Root"), key, key, [CA]), key)


@pytest.fixture(scope="module")
def issuers(root) -> dict[str, Signer]:
    return {
        "ec": root.issue("Issuer", CA),
        "rsa": root.issue("Issuer RSA", CA, key=rsa.generate_private_key(65537, 2048)),
        "namesake": root.issue("Issuer", CA),
        "stranger": root.issue("Stranger", CA),
        "no lists": root.issue("Issuer", CA, NO_LISTS),
    }


def list_of(
    signer: Signer, *serials: int, issued: int = -HOUR, until: int = DAY, extensions=(), algorithm=None
) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(moment(issued))
        .next_update(moment(until))
    )
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment(issued))
        builder = builder.add_revoked_certificate(revoked.build())
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(signer.key, algorithm or hashes.SHA256()).public_bytes(Encoding.DER)


def part(url: str | None = None, **only: bool) -> tuple[x509.ExtensionType, bool]:
    flags = dict.fromkeys(
        ["only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs"], False
    )
    names = [x509.UniformResourceIdentifier(url)] if url else None
    return x509.IssuingDistributionPoint(names, None, only_some_reasons=None, **{**flags, **only}), True


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("extensions", [(), (part(POINT, only_contains_user_certs=True),)], ids=["whole", "shard"])
def test_what_a_list_says(issuers, kind, extensions):
    issuer = issuers[kind]
    leaf = issuer.issue("leaf").certificate
    good = list_of(issuer, 1, 2, extensions=extensions)
    bad = list_of(issuer, 1, leaf.serial_number, extensions=extensions)
    assert by_list(good, leaf, issuer.certificate, (POINT,), NOW) == Status(False, NOW + DAY)
    assert by_list(bad, leaf, issuer.certificate, (POINT,), NOW) == Status(True, NOW + DAY)


LISTS = {
    "another issuer's": ("stranger", {}),
    "another issuer's of the same name": ("namesake", {}),
    "too old": ("ec", {"issued": -2 * DAY, "until": 0}),
    "from the future": ("ec", {"issued": HOUR}),
    "of another shard": ("ec", {"extensions": (part("http://crl.example/two.crl"),)}),
    "of authorities": ("ec", {"extensions": (part(only_contains_ca_certs=True),)}),
    "indirect": ("ec", {"extensions": (part(indirect_crl=True),)}),
    "a delta": ("ec", {"extensions": ((x509.DeltaCRLIndicator(1), True),)}),
}


@pytest.mark.parametrize(("signer", "ways"), LISTS.values(), ids=list(LISTS))
def test_a_list_that_is_not_believed(issuers, signer, ways):
    issuer = issuers["ec"]
    with pytest.raises(NotBelieved):
        by_list(list_of(issuers[signer], **ways), issuer.issue("leaf").certificate, issuer.certificate, (POINT,), NOW)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\x30\x80" * 50], ids=["empty", "a page", "not a list"])
def test_bytes_that_say_nothing(issuers, body):
    issuer = issuers["ec"]
    leaf = issuer.issue("leaf").certificate
    with pytest.raises(NotBelieved):
        by_list(body, leaf, issuer.certificate, (POINT,), NOW)
    with pytest.raises(NotBelieved):
        by_ocsp(body, leaf, issuer.certificate, NOW)


def test_an_issuer_that_may_not_sign_lists(issuers):
    issuer = issuers["no lists"]
    with pytest.raises(NotBelieved):
        by_list(list_of(issuer), issuer.issue("leaf").certificate, issuer.certificate, (POINT,), NOW)


def answer_of(
    leaf: x509.Certificate,
    issuer: Signer,
    *,
    status: str = "GOOD",
    signer: Signer | None = None,
    carried: bool = True,
    issued: int = -HOUR,
    until: int | None = DAY,
) -> bytes:
    by = signer or issuer
    revoked = status == "REVOKED"
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=leaf,
            issuer=issuer.certificate,
            algorithm=hashes.SHA1(),
            cert_status=ocsp.OCSPCertStatus[status],
            this_update=moment(issued),
            next_update=None if until is None else moment(until),
            revocation_time=moment(issued) if revoked else None,
            revocation_reason=None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, by.certificate)
    )
    if signer is not None and carried:
        builder = builder.certificates([signer.certificate])
    return builder.sign(by.key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("delegated", [False, True], ids=["issuer", "responder"])
def test_what_a_responder_says(issuers, kind, delegated):
    issuer = issuers[kind]
    leaf = issuer.issue("leaf").certificate
    signer = issuer.issue("responder", RESPONDER, NO_CHECK) if delegated else None
    for status in ["GOOD", "REVOKED"]:
        said = by_ocsp(answer_of(leaf, issuer, status=status, signer=signer), leaf, issuer.certificate, NOW)
        assert said == Status(status == "REVOKED", NOW + DAY)


ANSWERS = {
    "it does not know": lambda leaf, issuer, others: answer_of(leaf, issuer, status="UNKNOWN"),
    "too old": lambda leaf, issuer, others: answer_of(leaf, issuer, issued=-2 * DAY, until=0),
    "no next update": lambda leaf, issuer, others: answer_of(leaf, issuer, until=None),
    "from the future": lambda leaf, issuer, others: answer_of(leaf, issuer, issued=HOUR),
    "about another": lambda leaf, issuer, others: answer_of(issuer.issue("other").certificate, issuer),
    "another issuer's responder": lambda leaf, issuer, others: answer_of(
        leaf, issuer, signer=others["stranger"].issue("responder", RESPONDER, NO_CHECK)
    ),
    "a namesake's responder": lambda leaf, issuer, others: answer_of(
        leaf, issuer, signer=others["namesake"].issue("responder", RESPONDER, NO_CHECK)
    ),
    "a namesake itself": lambda leaf, issuer, others: answer_of(leaf, issuer, signer=others["namesake"]),
    "a server's certificate": lambda leaf, issuer, others: answer_of(leaf, issuer, signer=issuer.issue("server")),
    "a responder to be looked up in turn": lambda leaf, issuer, others: answer_of(
        leaf, issuer, signer=issuer.issue("responder", RESPONDER)
    ),
    "an expired responder": lambda leaf, issuer, others: answer_of(
        leaf, issuer, signer=issuer.issue("responder", RESPONDER, NO_CHECK, days=-1)
    ),
    "a responder that does not show itself": lambda leaf, issuer, others: answer_of(
        leaf, issuer, signer=issuer.issue("responder", RESPONDER, NO_CHECK), carried=False
    ),
    "try later": lambda leaf, issuer, others: ocsp.OCSPResponseBuilder.build_unsuccessful(
        ocsp.OCSPResponseStatus.TRY_LATER
    ).public_bytes(Encoding.DER),
}


@pytest.mark.parametrize("made", ANSWERS.values(), ids=list(ANSWERS))
def test_an_answer_that_is_not_believed(issuers, made):
    issuer = issuers["ec"]
    leaf = issuer.issue("leaf").certificate
    with pytest.raises(NotBelieved):
        by_ocsp(made(leaf, issuer, issuers), leaf, issuer.certificate, NOW)


def test_a_spoilt_signature_is_not_believed(issuers):
    issuer = issuers["ec"]
    leaf = issuer.issue("leaf").certificate
    answer = bytearray(answer_of(leaf, issuer))
    answer[-1] ^= 1
    with pytest.raises(NotBelieved):
        by_ocsp(bytes(answer), leaf, issuer.certificate, NOW)


# From here on: a real member server, and a real http server that publishes.


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


def point(*urls: str) -> tuple[x509.ExtensionType, bool]:
    names = [x509.UniformResourceIdentifier(url) for url in urls]
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)]), False


def responder(url: str) -> tuple[x509.ExtensionType, bool]:
    named_there = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))
    return x509.AuthorityInformationAccess([named_there]), False


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


def test_where_a_certificate_says_that_it_is_looked_after(issuers):
    leaf = issuers["ec"].issue("leaf", point("http://a/1", "http://b/1"), responder("http://c/")).certificate
    found = sources(leaf)
    assert (found.points, found.responders) == ((("http://a/1", "http://b/1"),), ("http://c/",))
