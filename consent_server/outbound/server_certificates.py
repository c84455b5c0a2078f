"""What a member's server certificate must be, beyond what TLS requires: ECDSA, and not revoked.

Revocation is checked at the sources that the certificate names: its CRL distribution points and its OCSP responder. Both
are reached over http, as RFC 5280 and RFC 6960 say, so only what the issuer has signed counts.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from consent_server import clock
from consent_server.outbound.errors import NotAllowed, Unreachable
from consent_server.pki import crl, ocsp
from consent_server.pki.crl import NotTrusted, RevocationStatus
from consent_server.scheme.instant import DAY

log = logging.getLogger("consent_server.outbound")

Mode = Literal["require", "when-published", "off"]
# url, what to POST (None: GET), the most bytes to take. Raise Unreachable.
Fetch = Callable[[str, bytes | None, int], bytes]

LARGEST_LIST: Final = 16 << 20
LARGEST_OCSP: Final = 64 << 10
_MOST_SOURCES: Final = 4  # distribution points, and names in one; public authorities have one of each
_LONGEST_S: Final = DAY  # a list may be good for ten days, a revocation should be noticed sooner
_AGAIN_S: Final = 60  # an unavailable source is tried again after this
_REMEMBERED: Final = 1024


def _is_ecdsa(certificate: x509.Certificate) -> bool:
    """Return whether the key is ECDSA P-256 or P-384 (IB1 Baseline TLS)."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)


@dataclass(frozen=True)
class _ServerVerdict:
    """The fault of a certificate (None: no fault), found at `since` and valid `until`."""

    kind: Literal["certificate", "revoked", "revocation"] | None
    since: int
    until: int


class ServerCertificates:
    """Judges the certificates of members' servers, and remembers each verdict by fingerprint."""

    def __init__(self, mode: Mode, fetch: Fetch) -> None:
        self._mode = mode
        self._fetch = fetch
        self._verdicts: dict[bytes, _ServerVerdict] = {}
        self._lock = threading.Lock()

    def __call__(self, host: str, chain: Sequence[bytes]) -> None:
        """Judge a verified chain in DER, leaf first. Raise NotAllowed: kind certificate, revoked or revocation."""
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

    def _judge(self, host: str, chain: Sequence[bytes], at: int) -> _ServerVerdict:
        try:
            # chain[-1]: a chain of one certificate is its own issuer
            leaf, issuer = (x509.load_der_x509_certificate(der) for der in (chain[0], (*chain, chain[-1])[1]))
        except ValueError:
            log.warning("%s: its certificate cannot be read", host)
            return _ServerVerdict("certificate", at, at + _LONGEST_S)
        # Checked after the handshake: in TLS 1.3 Python does not let a client choose the certificate's key type.
        if not _is_ecdsa(leaf):
            log.warning("%s: the key of its certificate is not ECDSA P-256 or P-384", host)
            return _ServerVerdict("certificate", at, at + _LONGEST_S)
        if self._mode == "off":
            return _ServerVerdict(None, at, at + _LONGEST_S)
        try:
            statuses = []
            for status in self._statuses(leaf, issuer, at):
                if status.revoked:
                    log.warning("%s: its certificate was revoked", host)
                    return _ServerVerdict("revoked", at, at + _LONGEST_S)
                statuses.append(status)
        except (NotTrusted, Unreachable) as error:
            log.warning("%s: whether its certificate was revoked is unknown: %s", host, error)
            return _ServerVerdict("revocation", at, at + _AGAIN_S)
        if not statuses and self._mode == "require":
            log.warning("%s: its certificate names neither a revocation list nor an OCSP responder", host)
            return _ServerVerdict("revocation", at, at + _LONGEST_S)
        return _ServerVerdict(None, at, min([at + _LONGEST_S, *(status.until for status in statuses)]))

    def _statuses(self, leaf: x509.Certificate, issuer: x509.Certificate, at: int) -> Iterator[RevocationStatus]:
        """Yield one status from each distribution point and one from the responders.

        Raise NotTrusted and Unreachable for the first that has no valid one.
        """
        points, responders = crl.points(leaf), ocsp.responders(leaf)
        if max(len(points), len(responders), *map(len, points), 0) > _MOST_SOURCES:
            raise NotTrusted("the certificate names too many sources")
        for point in points:
            yield self._by_list(point, leaf, issuer, at)
        if responders:
            question = ocsp.request(leaf, issuer)
            yield _first(
                responders, lambda url: ocsp.status(self._fetch(url, question, LARGEST_OCSP), leaf, issuer, at)
            )

    def _by_list(
        self, point: tuple[str, ...], leaf: x509.Certificate, issuer: x509.Certificate, at: int
    ) -> RevocationStatus:
        return _first(point, lambda url: crl.status(self._fetch(url, None, LARGEST_LIST), leaf, issuer, point, at))


def _first(urls: Sequence[str], ask: Callable[[str], RevocationStatus]) -> RevocationStatus:
    """Return the first valid status of several alternatives. Raise what was wrong with the last if there is none."""
    why: Exception = NotTrusted("published where it cannot be fetched")
    for url in urls:
        try:
            return ask(url)
        except (NotTrusted, Unreachable) as error:
            why = error
    raise why
