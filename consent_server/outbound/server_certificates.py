"""What a member's server certificate must be, beyond what TLS itself asks: ECDSA, and not revoked.

Revocation is asked of whatever the certificate itself names: its CRL distribution points and its OCSP responder. Both
answer over http, as RFC 5280 and RFC 6960 have it, so nothing counts but what the issuer has signed.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, SignatureAlgorithmOID

from consent_server import clock
from consent_server.outbound.errors import NotAllowed, Unreachable

log = logging.getLogger("consent_server.outbound")

Mode = Literal["require", "when-published", "off"]
# url, what to POST (None: GET), the most bytes to take. Raises Unreachable.
Fetch = Callable[[str, bytes | None, int], bytes]

LARGEST_LIST: Final = 16 << 20
LARGEST_OCSP: Final = 64 << 10
_MOST_SOURCES: Final = 4  # distribution points, and names in one; public authorities have one of each
_SKEW_S: Final = 300  # an authority's clock may be this far ahead of ours
_LONGEST_S: Final = 86400  # a list may be good for ten days, a revocation should be noticed sooner
_AGAIN_S: Final = 60  # a source that was away is asked again after this
_REMEMBERED: Final = 1024
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNREADABLE: Final = (ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.DuplicateExtension)


class NotBelieved(ValueError):
    """A list or an answer that says nothing to be relied on; the text says why and quotes nothing."""


@dataclass(frozen=True)
class Sources:
    """Where a certificate says that its revocation is published; the names of one distribution point are alternatives."""

    points: tuple[tuple[str, ...], ...]
    responders: tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """Whether the certificate was revoked, and the instant until which whoever said so stands by it."""

    revoked: bool
    until: int


def is_ecdsa(certificate: x509.Certificate) -> bool:
    """Whether the key is ECDSA P-256 or P-384 (IB1 Baseline TLS)."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)


def sources(leaf: x509.Certificate) -> Sources:
    """What the certificate's own extensions name (RFC 5280 sections 4.2.1.13 and 4.2.2.1). Raises ValueError."""
    points: list[tuple[str, ...]] = []
    responders: list[str] = []
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.CRLDistributionPoints):
            points.extend(_addresses(point) for point in value)
        elif isinstance(value, x509.AuthorityInformationAccess):
            responders.extend(
                named.access_location.value
                for named in value
                if named.access_method == AuthorityInformationAccessOID.OCSP
                and isinstance(named.access_location, x509.UniformResourceIdentifier)
            )
    return Sources(tuple(points), tuple(responders))


def _addresses(point: x509.DistributionPoint) -> tuple[str, ...]:
    # A point without a name that we can ask stays, empty: its list is published, and cannot be had.
    return tuple(name.value for name in point.full_name or () if isinstance(name, x509.UniformResourceIdentifier))


def by_list(der: bytes, leaf: x509.Certificate, issuer: x509.Certificate, point: Sequence[str], at: int) -> Status:
    """What a revocation list says of `leaf` at the instant `at` (RFC 5280 section 6.3.3). Raises NotBelieved.

    `point` has the names of the distribution point that the list came from.
    """
    try:
        crl = x509.load_der_x509_crl(der)
        if crl.issuer != issuer.subject:
            raise NotBelieved("a list of another issuer")
        if not _may_sign_lists(issuer) or not isinstance(crl.signature_hash_algorithm, _HASHES):
            raise NotBelieved("not signed as it must be")
        if not crl.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]  # checked inside
            raise NotBelieved("not signed by the certificate's issuer")
        until = _fresh(crl.last_update_utc, crl.next_update_utc, at)
        for extension in crl.extensions:
            part = extension.value
            if isinstance(part, x509.IssuingDistributionPoint):
                _require_part_of(part, point)
            elif extension.critical:
                raise NotBelieved("a critical extension that is not understood")
        return Status(crl.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None, until)
    except NotBelieved:
        raise
    except _UNREADABLE:
        raise NotBelieved("cannot be read") from None


def _require_part_of(part: x509.IssuingDistributionPoint, point: Sequence[str]) -> None:
    """RFC 5280 section 6.3.3 (b)(2): the list of another shard says nothing of a certificate in this one."""
    if part.indirect_crl or part.only_contains_attribute_certs or part.only_contains_ca_certs or part.only_some_reasons:
        raise NotBelieved("not a list of server certificates, or of some reasons only")
    if part.relative_name is not None:
        raise NotBelieved("named in a form that is not understood")
    if part.full_name is not None and not any(name.value in point for name in part.full_name):
        raise NotBelieved("the list of another distribution point")


def _may_sign_lists(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def ocsp_request(leaf: x509.Certificate, issuer: x509.Certificate) -> ocsp.OCSPRequest:
    """The question about one certificate, without a nonce: answers are made ahead, and their dates are judged."""
    # SHA-1 only names the issuer here (RFC 5019 section 2.1.1); many responders know no other hash.
    return ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1()).build()  # noqa: S303


def by_ocsp(der: bytes, leaf: x509.Certificate, issuer: x509.Certificate, at: int) -> Status:
    """What an OCSP response says of `leaf` at the instant `at` (RFC 6960 section 3.2). Raises NotBelieved."""
    try:
        answer = ocsp.load_der_ocsp_response(der)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise NotBelieved("the responder gives no answer")
        asked = ocsp_request(leaf, issuer)
        _require_signed(answer, issuer, asked.issuer_key_hash, at)
        for one in answer.responses:
            if (
                isinstance(one.hash_algorithm, hashes.SHA1)
                and one.serial_number == asked.serial_number
                and one.issuer_key_hash == asked.issuer_key_hash
                and one.issuer_name_hash == asked.issuer_name_hash
            ):
                break
        else:
            raise NotBelieved("about another certificate")
        until = _fresh(one.this_update_utc, one.next_update_utc, at)
        if one.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
            raise NotBelieved("the responder does not know the certificate")
        return Status(one.certificate_status is ocsp.OCSPCertStatus.REVOKED, until)
    except NotBelieved:
        raise
    except _UNREADABLE:
        raise NotBelieved("cannot be read") from None


def _require_signed(answer: ocsp.OCSPResponse, issuer: x509.Certificate, issuer_key: bytes, at: int) -> None:
    """Signed by the issuer, or by a responder whom the issuer itself made one (RFC 6960 section 4.2.2.2)."""
    signers = [signer for signer in answer.certificates if signer != issuer and _is_responder(signer, issuer, at)]
    if answer.responder_name == issuer.subject or answer.responder_key_hash == issuer_key:
        signers.insert(0, issuer)
    if not any(_signed(answer, signer) for signer in signers):
        raise NotBelieved("not signed by the certificate's issuer or a responder of theirs")


def _is_responder(signer: x509.Certificate, issuer: x509.Certificate, at: int) -> bool:
    try:
        signer.verify_directly_issued_by(issuer)
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        # Section 4.2.2.2.1: without this mark the responder's own revocation would have to be looked up in turn.
        signer.extensions.get_extension_for_class(x509.OCSPNoCheck)
    except (InvalidSignature, x509.ExtensionNotFound, *_UNREADABLE):
        return False
    return (
        ExtendedKeyUsageOID.OCSP_SIGNING in usage
        and signer.not_valid_before_utc.timestamp() <= at <= signer.not_valid_after_utc.timestamp()
    )


def _signed(answer: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    algorithm, key = answer.signature_hash_algorithm, signer.public_key()
    if algorithm is None or not isinstance(algorithm, _HASHES):
        return False
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and answer.signature_algorithm_oid != SignatureAlgorithmOID.RSASSA_PSS:
            key.verify(answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), algorithm)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _fresh(issued: datetime, next_update: datetime | None, at: int) -> int:
    """The next update. Without one nothing could tell an old answer, replayed, from today's."""
    if next_update is None:
        raise NotBelieved("no next update")
    if issued.timestamp() > at + _SKEW_S:
        raise NotBelieved("from the future")
    if at >= next_update.timestamp():
        raise NotBelieved("too old")
    return int(next_update.timestamp())


@dataclass(frozen=True)
class _Verdict:
    """What is wrong with a certificate (None: nothing), looked at `since` and good `until`."""

    kind: Literal["certificate", "revoked", "revocation"] | None
    since: int
    until: int


class ServerCertificates:
    """Judges the certificates of members' servers, and remembers each verdict by fingerprint."""

    def __init__(self, mode: Mode, fetch: Fetch) -> None:
        self._mode = mode
        self._fetch = fetch
        self._verdicts: dict[bytes, _Verdict] = {}
        self._lock = Lock()

    def __call__(self, host: str, chain: Sequence[bytes]) -> None:
        """`chain` is the verified one in DER, leaf first. Raises NotAllowed: kind certificate, revoked or revocation."""
        at = clock.now()
        fingerprint = hashlib.sha256(chain[0]).digest()
        verdict = self._verdicts.get(fingerprint)
        if verdict is None or not verdict.since <= at < verdict.until:
            verdict = self._judge(host, chain, at)
            with self._lock:
                self._verdicts[fingerprint] = verdict
                if len(self._verdicts) > _REMEMBERED:
                    del self._verdicts[next(iter(self._verdicts))]
        if verdict.kind is not None:
            raise NotAllowed(verdict.kind, host)

    def _judge(self, host: str, chain: Sequence[bytes], at: int) -> _Verdict:
        try:
            leaf, issuer = (
                x509.load_der_x509_certificate(der) for der in (*chain, *chain)[:2]
            )  # alone: its own issuer
        except ValueError:
            log.warning("%s: its certificate cannot be read", host)
            return _Verdict("certificate", at, at + _LONGEST_S)
        # Looked at after the handshake: in TLS 1.3 Python does not let a client choose the certificate's key type.
        if not is_ecdsa(leaf):
            log.warning("%s: the key of its certificate is not ECDSA P-256 or P-384", host)
            return _Verdict("certificate", at, at + _LONGEST_S)
        if self._mode == "off":
            return _Verdict(None, at, at + _LONGEST_S)
        try:
            statuses = []
            for status in self._statuses(leaf, issuer, at):
                if status.revoked:
                    log.warning("%s: its certificate was revoked", host)
                    return _Verdict("revoked", at, at + _LONGEST_S)
                statuses.append(status)
        except NotBelieved as error:
            log.warning("%s: revocation of its certificate: %s", host, error)
            return _Verdict("revocation", at, at + _AGAIN_S)
        except Unreachable as error:
            log.warning("%s: revocation of its certificate cannot be had: %s", host, error)
            return _Verdict("revocation", at, at + _AGAIN_S)
        if not statuses and self._mode == "require":
            log.warning("%s: its certificate names neither a revocation list nor an OCSP responder", host)
            return _Verdict("revocation", at, at + _LONGEST_S)
        return _Verdict(None, at, min([at + _LONGEST_S, *(status.until for status in statuses)]))

    def _statuses(self, leaf: x509.Certificate, issuer: x509.Certificate, at: int) -> Iterator[Status]:
        """One from each distribution point and one from the responders.

        Raises NotBelieved and Unreachable for the first that has none to be relied on.
        """
        try:
            published = sources(leaf)
        except _UNREADABLE:
            raise NotBelieved("the certificate's extensions cannot be read") from None
        if max(len(published.points), len(published.responders), *map(len, published.points), 0) > _MOST_SOURCES:
            raise NotBelieved("the certificate names too many sources")
        for point in published.points:
            yield self._list_status(point, leaf, issuer, at)
        if published.responders:
            question = ocsp_request(leaf, issuer).public_bytes(Encoding.DER)
            yield _first(
                published.responders,
                lambda url: by_ocsp(self._fetch(url, question, LARGEST_OCSP), leaf, issuer, at),
            )

    def _list_status(self, point: tuple[str, ...], leaf: x509.Certificate, issuer: x509.Certificate, at: int) -> Status:
        return _first(point, lambda url: by_list(self._fetch(url, None, LARGEST_LIST), leaf, issuer, point, at))


def _first(urls: Sequence[str], ask: Callable[[str], Status]) -> Status:
    """The first alternative that has something to say; else why the last had not."""
    why: Exception = NotBelieved("published where it cannot be asked for")
    for url in urls:
        try:
            return ask(url)
        except (NotBelieved, Unreachable) as error:
            why = error
    raise why
