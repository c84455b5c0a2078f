"""A root with several issuers, and the lists and OCSP responses that they sign."""

import datetime
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from consent_server import clock

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
        self,
        name: str,
        *extensions: tuple[x509.ExtensionType, bool],
        key: Any = None,
        days: int = 30,
        serial: int | None = None,
    ) -> "Signer":
        key = key or ec.generate_private_key(ec.SECP256R1())
        return Signer(certified(named(name), self.certificate.subject, key, self.key, extensions, days, serial), key)


def certified(subject, issuer, key, signing_key, extensions, days=30, serial=None) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
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


def make_root() -> Signer:
    key = ec.generate_private_key(ec.SECP384R1())
    return Signer(certified(named("Root"), named("Root"), key, key, [CA]), key)


def make_issuers(root: Signer) -> dict[str, Signer]:
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


def point(*urls: str) -> tuple[x509.ExtensionType, bool]:
    names = [x509.UniformResourceIdentifier(url) for url in urls]
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)]), False


def responder(url: str) -> tuple[x509.ExtensionType, bool]:
    named_there = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))
    return x509.AuthorityInformationAccess([named_there]), False
