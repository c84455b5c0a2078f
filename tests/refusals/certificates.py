"""Certificates for bad cases: from the running sandbox's own authority, bad in one way only, or from forged ones."""

import datetime
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consent_server.pki.member_certificate import OID_MEMBER, OID_ROLES, encode_member, encode_roles
from consent_server.sandbox.authority import Authority

HOUR = datetime.timedelta(hours=1)
#: As many bytes as OID_ROLES: put in its place where the library would not write an extension twice.
PLACEHOLDER = x509.ObjectIdentifier("1.3.6.1.4.1.62329.1.9")
SHA256_WITH, SHA1_WITH = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06072a8648ce3d0401")


@dataclass(frozen=True)
class Signer:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Holder:
    """A certificate, what the holder sends beside it, and its key; `chain` and `key` are the PEM files."""

    der: bytes
    intermediates: tuple[bytes, ...]
    chain: Path
    key: Path

    @property
    def pem(self) -> str:
        return _pem(self.der)


def held(entry: dict[str, Any]) -> Holder:
    """A client of the manifest."""
    first, *others = (
        each.public_bytes(serialization.Encoding.DER)
        for each in x509.load_pem_x509_certificates(Path(entry["chain"]).read_bytes())
    )
    return Holder(first, tuple(others), Path(entry["chain"]), Path(entry["key"]))


class Forge:
    """Issues below the sandbox's client issuer, in a folder of its own; the sandbox's files stay as they are."""

    def __init__(self, trust: Path, folder: Path, like: dict[str, Any]) -> None:
        folder.mkdir(parents=True)
        for file in trust.glob("*.pem"):
            shutil.copy(file, folder)
        self.authority = Authority(folder)
        self.folder = folder
        self.issuer = self.signer("client")
        self.like = like
        self._count = 0

    def signer(self, purpose: str) -> Signer:
        certificate = x509.load_pem_x509_certificate((self.folder / f"{purpose}_issuer.pem").read_bytes())
        key = serialization.load_pem_private_key((self.folder / f"{purpose}_issuer.key.pem").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return Signer(certificate, key)

    def leaf(
        self,
        *,
        uri: str | None = None,
        names: Sequence[x509.GeneralName] | None = None,
        common_name: str = "an application",
        roles: Collection[str] | None = None,
        role_extensions: Sequence[bytes] | None = None,
        signer: Signer | None = None,
        beside: Sequence[x509.Certificate] | None = None,
        key: Any = None,
        start: datetime.timedelta = -HOUR,
        end: datetime.timedelta = HOUR,
        sha1: bool = False,
    ) -> Holder:
        """A member certificate of the client that it is `like`, but for what is asked for. Times are from now.

        `names` are the whole SAN (an empty one leaves the extension out), `role_extensions` the contents of as many role
        extensions, `beside` the intermediates that are sent along.
        """
        signer = signer or self.issuer
        key = key or ec.generate_private_key(ec.SECP256R1())
        uris = [x509.UniformResourceIdentifier(uri or self.like["client_id"])]
        contents = (
            role_extensions
            if role_extensions is not None
            else [encode_roles(self.like["roles"] if roles is None else roles)]
        )
        moment = datetime.datetime.now(datetime.UTC)
        builder = _builder(common_name, signer.certificate.subject, key, moment + start, moment + end)
        if names is None or names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names or uris), False)
        builder = builder.add_extension(x509.BasicConstraints(False, None), True)
        builder = builder.add_extension(
            x509.UnrecognizedExtension(OID_MEMBER, encode_member(self.like["member"])), False
        )
        for oid, content in zip((OID_ROLES, PLACEHOLDER), contents, strict=False):
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, content), False)
        certificate = builder.sign(signer.key, hashes.SHA256())
        der = certificate.public_bytes(serialization.Encoding.DER)
        if len(contents) > 1:
            body = certificate.tbs_certificate_bytes.replace(_oid(PLACEHOLDER), _oid(OID_ROLES))
            der = _assemble(body, signer.key, hashes.SHA256(), SHA256_WITH)
        if sha1:
            der = _assemble(_with_sha1(certificate.tbs_certificate_bytes), signer.key, hashes.SHA1(), SHA1_WITH)
        return self.keep(der, [signer.certificate] if beside is None else beside, key)

    def keep(self, der: bytes, beside: Sequence[x509.Certificate], key: Any) -> Holder:
        self._count += 1
        chain, key_file = self.folder / f"chain{self._count}.pem", self.folder / f"key{self._count}.pem"
        intermediates = tuple(each.public_bytes(serialization.Encoding.DER) for each in beside)
        chain.write_text("".join(_pem(each) for each in (der, *intermediates)))
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Holder(der, intermediates, chain, key_file)

    def below(self, signer: Signer, *, ca: bool, common_name: str | None = None) -> Signer:
        """Another issuer, signed by `signer`; with `ca=False` it is none, and signs all the same."""
        key = ec.generate_private_key(ec.SECP256R1())
        moment = datetime.datetime.now(datetime.UTC)
        builder = _builder(
            common_name or "an intermediate", signer.certificate.subject, key, moment - HOUR, moment + HOUR
        )
        builder = builder.add_extension(x509.BasicConstraints(ca, 0 if ca else None), True)
        return Signer(builder.sign(signer.key, hashes.SHA256()), key)

    def forged(self) -> Signer:
        """An issuer with the names of the sandbox's own, below a root with the names of the sandbox's own; other keys."""
        root_name = self.issuer.certificate.issuer
        moment = datetime.datetime.now(datetime.UTC)
        root_key, key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
        root = _builder(None, root_name, root_key, moment - HOUR, moment + HOUR, root_name)
        root = root.add_extension(x509.BasicConstraints(True, 1), True)
        issuer = _builder(None, root_name, key, moment - HOUR, moment + HOUR, self.issuer.certificate.subject)
        issuer = issuer.add_extension(x509.BasicConstraints(True, 0), True)
        self.forged_root = root.sign(root_key, hashes.SHA384())
        return Signer(issuer.sign(root_key, hashes.SHA384()), key)


def _builder(
    common_name: str | None,
    issuer: x509.Name,
    key: Any,
    start: datetime.datetime,
    end: datetime.datetime,
    subject: x509.Name | None = None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or "")]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _pem(der: bytes) -> str:
    import ssl

    return ssl.DER_cert_to_PEM_cert(der)


def element(tag: int, content: bytes) -> bytes:
    """One DER element (X.690 8.1)."""
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _oid(oid: x509.ObjectIdentifier) -> bytes:
    """The last bytes of an IB1 object identifier, by which its extension is found: 1.3.6.1.4.1.62329.1.N."""
    return bytes.fromhex("060a2b0601040183e67901") + bytes([int(oid.dotted_string.rsplit(".", 1)[1])])


def _with_sha1(body: bytes) -> bytes:
    """A certificate's signed part whose algorithm says ecdsa-with-SHA1."""
    assert body.count(element(0x30, SHA256_WITH)) == 1
    inner = body.replace(element(0x30, SHA256_WITH), element(0x30, SHA1_WITH))
    length = 2 + (body[1] & 0x7F) if body[1] & 0x80 else 2
    return element(0x30, inner[length:])


def _assemble(body: bytes, key: ec.EllipticCurvePrivateKey, algorithm: hashes.HashAlgorithm, name: bytes) -> bytes:
    signature = key.sign(body, ec.ECDSA(algorithm))
    return element(0x30, body + element(0x30, name) + element(0x03, b"\0" + signature))
