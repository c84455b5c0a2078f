"""A signing authority for tests: root, issuer and members' signing certificates, made when the tests run."""

import datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consent_server.pki.member_certificate import OID_MEMBER, OID_ROLES, encode_member, encode_roles
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.provenance.steps import MeterOrigin

REGISTRY = "https://registry.core.sandbox.trust.ib1.org"
#: Where the readings of an EDP come from that reads smart meters through the DCC.
SMART_METERS = MeterOrigin(
    "Meter",
    "https://www.smartdcc.co.uk/",
    "https://smartenergycodecompany.co.uk/documents/sec/consolidated-sec/",
    "SmartDCCOtherUser",
)
DIRECTORY = "https://directory.core.sandbox.trust.ib1.org"
NOW = instant.parse("2026-03-12T09:30:00Z")
EDP_ROLE = f"{REGISTRY}/scheme/perseus/role/energy-data-provider"
CAP_ROLE = f"{REGISTRY}/scheme/perseus/role/carbon-accounting-provider"
FSP_ROLE = f"{REGISTRY}/scheme/perseus/role/financial-service-provider"


class SigningAuthority:
    """Root and issuer, valid from a year before `now` to two years after it."""

    def __init__(self, name: str = "Test Signing", now: int = NOW) -> None:
        self._now = datetime.datetime.fromtimestamp(now, datetime.UTC)
        self._root_key = ec.generate_private_key(ec.SECP384R1())
        self._issuer_key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._ca(f"{name} CA", self._root_key, None, 1)
        self.issuer = self._ca(f"{name} Issuer", self._issuer_key, self.root, 0)

    @property
    def root_pem(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.PEM)

    def member(
        self,
        name: str,
        role: str,
        *,
        valid: tuple[int, int] = (-30, 335),
        serial: int | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> tuple[bytes, bytes]:
        """PEM of leaf and issuer, and PEM of the key. `valid` is in days from `now`."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "GB"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{name.upper()} Limited"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"{DIRECTORY}/a/{name}"),
            ]
        )
        certificate = (
            self._builder(subject, self.issuer.subject, key.public_key(), *valid, serial)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"{DIRECTORY}/a/{name}")]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._issuer_key.public_key()), critical=False
            )
            .add_extension(x509.UnrecognizedExtension(OID_ROLES, encode_roles([role])), critical=False)
            .add_extension(
                x509.UnrecognizedExtension(OID_MEMBER, encode_member(f"{DIRECTORY}/m/{name}")), critical=False
            )
            .sign(self._issuer_key, hashes.SHA256())
        )
        chain = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (certificate, self.issuer))
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return chain, key_pem

    def signer(self, name: str, role: str, **options: Any) -> Signer:
        return Signer(*self.member(name, role, **options))

    def _builder(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        first_day: int,
        last_day: int,
        serial: int | None = None,
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(self._now + datetime.timedelta(days=first_day))
            .not_valid_after(self._now + datetime.timedelta(days=last_day))
        )

    def _ca(
        self, name: str, key: ec.EllipticCurvePrivateKey, parent: x509.Certificate | None, path_length: int
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signing_key = self._root_key
        return (
            self._builder(subject, parent.subject if parent else subject, key.public_key(), -365, 730)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
            .sign(signing_key, hashes.SHA384())
        )


@cache
def signing_authority() -> SigningAuthority:
    return SigningAuthority()


@cache
def member_signer(name: str, role: str) -> Signer:
    return signing_authority().signer(name, role)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
