"""Revocation lists (RFC 5280 sections 5 and 6.3): how they are read and verified."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from consent_server.pki.reading import UNREADABLE, extension_of

HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_SKEW_S: Final = 300  # an authority's clock may be this far ahead of ours


class NotTrusted(ValueError):
    """A revocation list or an OCSP response that cannot be trusted. The message says why and quotes nothing."""


@dataclass(frozen=True)
class RevokedSerials:
    """The contents of a verified list. `issued` and `next_update` are its own instants, `fetched` is ours.

    It covers only `authority`, the CA that signed it: others use the same serial numbers. `number` is its CRL number
    (RFC 5280 section 5.2.3), 0 for a list without one. Without `of_leaves` it is about certificates of CAs only.
    """

    authority: bytes
    issued: int
    next_update: int
    serials: frozenset[int]
    fetched: int
    number: int = 0
    of_leaves: bool = True

    def covers(self, issued: "IssuedSerial") -> bool:
        return self.authority == issued.authority and (self.of_leaves or not issued.is_leaf)


@dataclass(frozen=True)
class IssuedSerial:
    """The serial number of one certificate of a chain, and the CA that issued it."""

    serial: int
    authority: bytes
    is_leaf: bool


@dataclass(frozen=True)
class RevocationStatus:
    """Whether one certificate was revoked, and the instant until which that is known."""

    revoked: bool
    until: int


@contextmanager
def readable() -> Iterator[None]:
    """Turn what the X.509 library raises on unreadable bytes into NotTrusted."""
    try:
        yield
    except NotTrusted:
        raise
    except UNREADABLE:
        raise NotTrusted("cannot be read") from None


def authority_of(ca: x509.Certificate) -> bytes:
    """Return what tells one CA from another: a digest of its name and key. A CA may have several certificates."""
    key = ca.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(ca.subject.public_bytes() + key).digest()


def issued_serials(chain: Sequence[x509.Certificate]) -> tuple[IssuedSerial, ...]:
    """Return those of a chain, the leaf's first, without the root's, which nobody can revoke."""
    return tuple(
        IssuedSerial(lower.serial_number, authority_of(upper), lower is chain[0]) for lower, upper in pairwise(chain)
    )


def read_revocation_list(
    der_or_pem: bytes, issuers: Sequence[x509.Certificate], root: x509.Certificate, fetched: int
) -> RevokedSerials:
    """Return the contents of a list that our client authority signed: its root, or an issuer directly below it.

    `fetched` is the instant of the fetch. Raise NotTrusted.
    """
    with readable():
        crl = _load(der_or_pem)
        issued = int(crl.last_update_utc.timestamp())
        # RFC 5280 section 5.1.2.4. Kept, it would count as newer than every list that is published until then.
        if issued > fetched + _SKEW_S:
            raise NotTrusted("from the future")
        signer, part = _signer_and_part(crl, [each for each in (root, *issuers) if _is_authority(each, root, issued)])
        # RFC 5280 section 6.3.3 (b)(2): such a list is complete for what it is about
        if part is not None and (part.only_contains_user_certs if signer == root else part.only_contains_ca_certs):
            raise NotTrusted("a part of the list only")
        number = extension_of(crl.extensions, x509.CRLNumber)
        return RevokedSerials(
            authority=authority_of(signer),
            issued=issued,
            next_update=int(_next_update(crl).timestamp()),
            serials=frozenset(entry.serial_number for entry in crl),
            fetched=fetched,
            number=number.crl_number if number else 0,
            of_leaves=part is None or not part.only_contains_ca_certs,
        )


def status(
    der_or_pem: bytes, leaf: x509.Certificate, issuer: x509.Certificate, point: Collection[str], at: int
) -> RevocationStatus:
    """Return what the list from the distribution point with these names says of `leaf` at the instant `at`.

    Raise NotTrusted (RFC 5280 section 6.3.3).
    """
    with readable():
        crl = _load(der_or_pem)
        _, part = _signer_and_part(crl, [issuer])
        if part is not None:
            _require_point(part, point)
        until = require_fresh(crl.last_update_utc, _next_update(crl), at)
        return RevocationStatus(crl.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None, until)


def points(leaf: x509.Certificate) -> tuple[tuple[str, ...], ...]:
    """Return the certificate's CRL distribution points (RFC 5280 section 4.2.1.13); the names of one are alternatives.

    A point without a name that can be fetched is included, and empty: its list is published but out of reach.
    Raise NotTrusted.
    """
    with readable():
        return tuple(
            tuple(name.value for name in point.full_name or () if isinstance(name, x509.UniformResourceIdentifier))
            for point in extension_of(leaf.extensions, x509.CRLDistributionPoints) or ()
        )


def require_fresh(issued: datetime, next_update: datetime | None, at: int) -> int:
    """Return the instant of the next update. Raise NotTrusted for a list or response that is not current.

    Without a next update an old one could be replayed for ever.
    """
    if next_update is None:
        raise NotTrusted("no next update")
    if issued.timestamp() > at + _SKEW_S:
        raise NotTrusted("from the future")
    if at >= next_update.timestamp():
        raise NotTrusted("too old")
    return int(next_update.timestamp())


def _load(der_or_pem: bytes) -> x509.CertificateRevocationList:
    if der_or_pem.lstrip().startswith(b"-----BEGIN X509 CRL-----"):
        return x509.load_pem_x509_crl(der_or_pem)
    return x509.load_der_x509_crl(der_or_pem)


def _signer_and_part(
    crl: x509.CertificateRevocationList, issuers: Iterable[x509.Certificate]
) -> tuple[x509.Certificate, x509.IssuingDistributionPoint | None]:
    """Return which of `issuers` signed a list, and what part it says that it is. Raise NotTrusted."""
    signer = next((issuer for issuer in issuers if _signed(crl, issuer)), None)
    if signer is None:
        raise NotTrusted("not signed by an issuer that may sign it")
    part = None
    for extension in crl.extensions:
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            part = extension.value
        # RFC 5280 section 5.2
        elif extension.critical:
            raise NotTrusted("a critical extension that is not understood")
    if part is not None and (part.indirect_crl or part.only_contains_attribute_certs or part.only_some_reasons):
        raise NotTrusted("a part of the list only")
    return signer, part


def _next_update(crl: x509.CertificateRevocationList) -> datetime:
    # RFC 5280 section 5.1.2.5: the next update is always present
    if crl.next_update_utc is None:
        raise NotTrusted("no next update")
    return crl.next_update_utc


def _require_point(part: x509.IssuingDistributionPoint, point: Collection[str]) -> None:
    """Refuse a list that says nothing of a leaf with this distribution point (RFC 5280 section 6.3.3 (b)(2))."""
    if part.only_contains_ca_certs:
        raise NotTrusted("a part of the list only")
    if part.relative_name is not None:
        raise NotTrusted("named in a form that is not understood")
    if part.full_name is not None and not any(name.value in point for name in part.full_name):
        raise NotTrusted("the list of another distribution point")


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    usage = extension_of(issuer.extensions, x509.KeyUsage)
    return (
        crl.issuer == issuer.subject
        # RFC 5280 section 6.3.3 (f): where there is a key usage, it allows signing lists
        and (usage is None or usage.crl_sign)
        and isinstance(crl.signature_hash_algorithm, HASHES)
        and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # checked inside
    )


def _is_authority(issuer: x509.Certificate, root: x509.Certificate, at: int) -> bool:
    """Return whether this CA has an ECDSA key, is the root or directly below it, and is within its dates."""
    constraints = extension_of(issuer.extensions, x509.BasicConstraints)
    if constraints is None or not constraints.ca or not isinstance(issuer.public_key(), ec.EllipticCurvePublicKey):
        return False
    try:
        if issuer != root:
            issuer.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return issuer.not_valid_before_utc.timestamp() <= at <= issuer.not_valid_after_utc.timestamp()
