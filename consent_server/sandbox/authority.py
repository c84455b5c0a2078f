"""The sandbox's certificate authority: client, signing and server certificates, and the revocation list.

Three independent roots (P-384), one issuer (P-256) under each, leaves (P-256). Everything is on disk below one
directory, so that another process can issue more or rewrite the revocation list. Member certificates follow the
profile of the Member Identity Digital Certificates specification: one SAN URI with the application's URL, the roles
and the member in their two extensions, and no extended key usage.
"""

import datetime
import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from consent_server import clock
from consent_server.pki import member_certificate

Purpose = Literal["client", "signing", "server"]
PURPOSES: Final[tuple[Purpose, ...]] = ("client", "signing", "server")

# The sandbox's clock may be stepped by 400 days either way, and certificates are to outlive that.
_BEFORE = datetime.timedelta(days=430)
_AFTER = datetime.timedelta(days=1300)
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class IssuedCertificate:
    """One certificate and its key (PKCS#8), each a PEM file. `chain` is the leaf followed by its issuer."""

    certificate: Path
    key: Path
    chain: Path
    x509: x509.Certificate

    @property
    def serial(self) -> int:
        return self.x509.serial_number

    @property
    def der(self) -> bytes:
        return self.x509.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True)
class _Signer:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Authority:
    """The certificate authority whose files are below `directory`. Call `create` once; afterwards it only reads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._issuers: dict[Purpose, _Signer] = {}

    @property
    def client_root(self) -> Path:
        return self.directory / "client_root.pem"

    @property
    def signing_root(self) -> Path:
        return self.directory / "signing_root.pem"

    @property
    def server_root(self) -> Path:
        return self.directory / "server_root.pem"

    @property
    def client_issuer(self) -> Path:
        """Return the issuer of client certificates, which also signs the revocation list."""
        return self.directory / "client_issuer.pem"

    def create(self, at: int | None = None) -> "Authority":
        """Make the three roots and their issuers, valid from 430 days before `at` (now) to 1300 days after it."""
        moment = datetime.datetime.fromtimestamp(clock.now() if at is None else at, datetime.UTC)
        self.directory.mkdir(parents=True, exist_ok=True)
        for purpose in PURPOSES:
            root, issuer = _root_and_issuer(f"Sandbox {purpose}", moment)
            _write(self.directory / f"{purpose}_root.pem", _pem(root.certificate))
            _write(self.directory / f"{purpose}_issuer.pem", _pem(issuer.certificate))
            _write(self.directory / f"{purpose}_issuer.key.pem", _key_pem(issuer.key), secret=True)
            self._issuers[purpose] = issuer
        return self

    def client(
        self,
        name: str,
        application: str,
        member: str,
        roles: Collection[str],
        *,
        expired: bool = False,
        self_signed: bool = False,
        wrong_ca: bool = False,
        second_uri: str | None = None,
    ) -> IssuedCertificate:
        """Make a client certificate, wrong only in the ways asked for, below `client/<name>/`."""
        issuer = self._issuer("client")
        if wrong_ca:
            _, issuer = _root_and_issuer("Stranger's client", issuer.certificate.not_valid_before_utc + _BEFORE + _DAY)
        extra = [x509.UniformResourceIdentifier(second_uri)] if second_uri else []
        return self._issue(
            self.directory / "client" / name,
            None if self_signed else issuer,
            _member_subject(name, application),
            [x509.UniformResourceIdentifier(application), *extra],
            _member_extensions(member, roles),
            expired=expired,
        )

    def signing(self, name: str, application: str, member: str, roles: Collection[str]) -> IssuedCertificate:
        """Make a certificate for provenance signatures, from a root of its own, below `signing/<name>/`."""
        return self._issue(
            self.directory / "signing" / name,
            self._issuer("signing"),
            _member_subject(name, application),
            [x509.UniformResourceIdentifier(application)],
            _member_extensions(member, roles),
        )

    def server(self, hostnames: Collection[str] = ("localhost", "127.0.0.1", "::1")) -> IssuedCertificate:
        """Make a server certificate for host names and addresses, below `server/<first host name>/`."""
        first = next(iter(hostnames))
        return self._issue(
            self.directory / "server" / first,
            self._issuer("server"),
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, first)]),
            [_host(name) for name in hostnames],
            [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])],
        )

    def crl(self, serials: Iterable[int], number: int = 1) -> bytes:
        """Return the client issuer's revocation list (DER), valid as long as the certificates; a higher `number` is newer."""
        issuer = self._issuer("client")
        # Dated well in the past: the list must not lie in the future of a clock that was stepped back.
        issued = issuer.certificate.not_valid_before_utc + _DAY + datetime.timedelta(seconds=number)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(issued)
            .next_update(issuer.certificate.not_valid_after_utc)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_authority_key_identifier(issuer.certificate), critical=False)
        )
        for serial in sorted(set(serials)):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(issued)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _issuer(self, purpose: Purpose) -> _Signer:
        known = self._issuers.get(purpose)
        if known is None:
            certificate = x509.load_pem_x509_certificate((self.directory / f"{purpose}_issuer.pem").read_bytes())
            key = serialization.load_pem_private_key(
                (self.directory / f"{purpose}_issuer.key.pem").read_bytes(), password=None
            )
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise TypeError(f"the sandbox's {purpose} issuer key is not an EC key")
            known = self._issuers[purpose] = _Signer(certificate, key)
        return known

    def _issue(
        self,
        folder: Path,
        issuer: _Signer | None,
        subject: x509.Name,
        names: list[x509.GeneralName],
        more: list[x509.ExtensionType],
        *,
        expired: bool = False,
    ) -> IssuedCertificate:
        """Make one leaf inside its issuer's validity; without an issuer it signs itself."""
        window = (issuer or self._issuer("client")).certificate
        start = window.not_valid_before_utc + _DAY
        end = start + 10 * _DAY if expired else window.not_valid_after_utc - _DAY
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject, issuer.certificate.subject if issuer else subject, key, start, end)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                _authority_key_identifier(issuer.certificate)
                if issuer
                else x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
                critical=False,
            )
        )
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        leaf = builder.sign(issuer.key if issuer else key, hashes.SHA256())
        issued = IssuedCertificate(folder / "certificate.pem", folder / "key.pem", folder / "chain.pem", leaf)
        folder.mkdir(parents=True, exist_ok=True)
        _write(issued.certificate, _pem(leaf))
        _write(issued.key, _key_pem(key), secret=True)
        _write(issued.chain, _pem(leaf) + (_pem(issuer.certificate) if issuer else b""))
        return issued


def _root_and_issuer(title: str, at: datetime.datetime) -> tuple[_Signer, _Signer]:
    start, end = at - _BEFORE, at + _AFTER
    root_name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sandbox"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{title} CA"),
        ]
    )
    issuer_name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sandbox"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{title} issuer"),
        ]
    )
    root_key = ec.generate_private_key(ec.SECP384R1())
    root = (
        _builder(root_name, root_name, root_key, start - 2 * _DAY, end + 2 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(root_key, hashes.SHA384())
    )
    issuer_key = ec.generate_private_key(ec.SECP256R1())
    issuer = (
        _builder(issuer_name, root_name, issuer_key, start - _DAY, end + _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(_authority_key_identifier(root), critical=False)
        .sign(root_key, hashes.SHA384())
    )
    return _Signer(root, root_key), _Signer(issuer, issuer_key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    start: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _member_subject(name: str, application: str) -> x509.Name:
    # RFC 5280 upper bound of a common name: 64 characters. The name is never used as an identity.
    common_name = application if len(application) <= 64 else name
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "GB"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"Sandbox {name}"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _member_extensions(member: str, roles: Collection[str]) -> list[x509.ExtensionType]:
    ours = {member_certificate.OID_MEMBER: member_certificate.encode_member(member)}
    if roles:  # the profile has no empty list: a holder without a role has no such extension
        ours[member_certificate.OID_ROLES] = member_certificate.encode_roles(roles)
    return [x509.UnrecognizedExtension(oid, contents) for oid, contents in ours.items()]


def _authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
        issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, secret: bool = False) -> None:
    path.touch(mode=0o600 if secret else 0o644)
    path.write_bytes(content)
