"""Messages to applications, and requests to an authority for time."""

import asyncio
import io
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyhanko.pdf_utils.reader import PdfFileReader

from consent_server import clock
from consent_server.documents import signing
from consent_server.documents.timestamps import NotStamped, Stamper, of_signature
from consent_server.outbound.deliver import address_of, deliver
from consent_server.outbound.directory import Directory
from consent_server.outbound.errors import BadAnswer, NotAllowed, Unreachable
from consent_server.outbound.timestamps import TimestampAuthority
from tests.documents import sample
from tests.scheme.signing import CAP_ROLE, member_signer, signing_authority

MESSAGE = {"ib1:message": "https://registry.example/trust-framework", "body": {"token": "canary"}}


@pytest.fixture
def recipient(settings, session_of, trust, serve, wire, cache):
    """(application URL, its server, send); the Directory says that it takes messages at /messages."""
    session = session_of(settings)
    server = serve(ask_client=True)
    server.routes["/messages"] = wire.answer(202)

    def deliver_to(address):
        trust.routes["/a/app"] = wire.json(
            {
                "id": f"{settings.scheme.directory}/a/app",
                "publisher": f"{settings.scheme.directory}/m/abc",
                "title": "Reader",
                "role": [],
                "messageDelivery": address,
            },
            cache_control="max-age=1000",
        )

    deliver_to(server.url("/messages"))
    directory = Directory(settings, session, cache)

    def send(application, message):
        deliver(session, address_of(directory, application), message)

    return f"{settings.scheme.directory}/a/app", server, send, deliver_to


class TestDelivery:
    def test_to_where_the_directory_says_now(self, recipient, wire):
        application, server, send, deliver_to = recipient
        server.routes["/new"] = wire.answer(200)
        send(application, MESSAGE)
        deliver_to(server.url("/new"))
        send(application, MESSAGE)
        assert [asked.path for asked in server.asked] == ["/messages", "/new"]
        assert server.asked[0].headers["content-type"] == "application/json"
        assert server.asked[0].certificate is not None
        assert b"canary" in server.asked[0].body

    @pytest.mark.parametrize("status", [301, 307, 400, 403, 410, 429, 500])
    def test_an_answer_other_than_2xx(self, recipient, wire, status):
        application, server, send, _ = recipient
        server.routes["/messages"] = wire.answer(status, b"canary", {"Location": "/elsewhere"})
        with pytest.raises(BadAnswer) as refused:
            send(application, MESSAGE)
        assert refused.value.status == status
        assert "canary" not in str(refused.value)
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        "address",
        [
            "https://evil.example/messages",
            "https://localhost/messages",
            "https://127.0.0.1/messages",
            "https://[::ffff:169.254.169.254]/messages",
            "https://2130706433/messages",
            "https://member.example@evil.example/messages",
        ],
    )
    def test_an_address_that_we_may_not_call(self, recipient, address):
        application, server, send, deliver_to = recipient
        deliver_to(address)
        with pytest.raises(NotAllowed):
            send(application, MESSAGE)
        assert server.asked == []

    @pytest.mark.parametrize("address", [None, "", "http://member.example/messages"])
    def test_no_usable_address(self, recipient, address):
        application, server, send, deliver_to = recipient
        deliver_to(address)
        with pytest.raises(BadAnswer):
            send(application, MESSAGE)
        assert server.asked == []


def common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


class OpenSsl:
    """OpenSSL's own time-stamping authority (`openssl ts`), under an issuer below its root."""

    CONFIGURATION = """
[tsa]
default_tsa = ours
[ours]
serial = {folder}/serial
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
signer_digest = sha256
"""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "issuer", "tsa")}
        stamping = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.TIME_STAMPING])
        self.root = self._certificate("root", "root", x509.BasicConstraints(True, None))
        issuer = self._certificate("issuer", "root", x509.BasicConstraints(True, 0))
        signer = self._certificate("tsa", "issuer", stamping)
        for name, each in {"root": self.root, "chain": issuer, "signer": signer}.items():
            (folder / f"{name}.pem").write_bytes(each.public_bytes(Encoding.PEM))
        key = self._keys["tsa"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "key.pem").write_bytes(key)
        (folder / "serial").write_text("01")
        (folder / "tsa.conf").write_text(self.CONFIGURATION.format(folder=folder))

    def _certificate(self, name: str, by: str, extension: x509.ExtensionType) -> x509.Certificate:
        begun = datetime.now(UTC) - timedelta(days=1)
        made = x509.CertificateBuilder(
            issuer_name=common_name(by), subject_name=common_name(name), public_key=self._keys[name].public_key(),
            serial_number=x509.random_serial_number(), not_valid_before=begun, not_valid_after=begun + timedelta(days=9),
        )  # fmt: skip
        return made.add_extension(extension, True).sign(self._keys[by], hashes.SHA256())

    def reply(self, query: bytes) -> bytes:
        (self._folder / "query").write_bytes(query)
        of = {
            "-config": "tsa.conf",
            "-queryfile": "query",
            "-signer": "signer.pem",
            "-inkey": "key.pem",
            "-chain": "chain.pem",
        }
        named = [part for option, file in of.items() for part in (option, self._folder / file)]
        return subprocess.run(["openssl", "ts", "-reply", *named], check=True, capture_output=True).stdout


class TestTimestamps:
    def test_openssl_as_the_authority(self, authority, settings_of, session_of, trust, wire, tmp_path):
        tsa = OpenSsl(tmp_path)
        collection = {
            "timestamp_authority": trust.url("/time", wire.directory),
            "timestamp_roots": tmp_path / "root.pem",
        }
        settings = settings_of(trust.port, collection=collection)
        trust.routes["/time"] = lambda asked: wire.answer(200, tsa.reply(asked.body))
        time, at = TimestampAuthority(settings, session_of(settings)), clock.now()
        file = signing.signed(sample.plain(), member_signer("cap", CAP_ROLE), at, Stamper(time.respond, [tsa.root], at))
        (signature,) = PdfFileReader(io.BytesIO(file)).embedded_signatures
        stamp = of_signature(signature.signer_info, [tsa.root], at)
        assert stamp is not None
        assert (stamp.is_trusted, 0 <= stamp.at - at < 60) == (True, True)
        with pytest.raises(NotStamped, match="no chain"):
            of_signature(signature.signer_info, [signing_authority().root], at)
        # a digest that its configuration does not take: the response is a rejection
        with pytest.raises(NotStamped):
            asyncio.run(Stamper(time.respond, [tsa.root], at).async_timestamp(bytes(64), "sha512"))

    def test_an_authority_for_time(self, authority, settings_of, session_of, trust, wire):
        collection = {
            "timestamp_authority": trust.url("/time", wire.directory),
            "timestamp_roots": authority.server_root,
        }
        settings = settings_of(trust.port, collection=collection)
        time = TimestampAuthority(settings, session_of(settings))
        trust.routes["/time"] = wire.answer(200, b"response")
        assert time.respond(b"request") == b"response"
        (asked,) = trust.asked
        kinds = asked.headers["content-type"], asked.headers["accept"]
        assert (asked.method, asked.body, *kinds, asked.certificate) == (
            *("POST", b"request", "application/timestamp-query", "application/timestamp-reply"),
            None,
        )
        for answer in (wire.answer(503), wire.answer(200, b""), wire.answer(200, bytes(100_000)), wire.answer(307)):
            trust.routes["/time"] = answer
            with pytest.raises(Unreachable):
                time.respond(b"request")
