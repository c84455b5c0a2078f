"""Whether the caller's certificate is trusted: contents, chain, Directory, dates, revocation, role. Each check has a refusal.

The chain's verdict is remembered by the certificate's fingerprint. Dates and revocation are checked on every request, so
a certificate revoked on an open connection is refused at the next request on it.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.caller.arrival import Arrival
from consent_server.outbound.revocation_list import RevocationLists, client_authority
from consent_server.outbound.settings import MembersSettings
from consent_server.pki.chain import UntrustedChain, build_chain, validity
from consent_server.pki.crl import IssuedSerial, RevokedSerials, issued_serials
from consent_server.pki.member_certificate import MalformedCertificate, MemberCertificate, parse
from consent_server.refusal import Refusal, Unavailable
from consent_server.scheme import roles

log = logging.getLogger(__name__)

_ALARM_EVERY: Final = 60  # seconds
_REMEMBERED: Final = 1024


class CertificateRefused(Refusal):
    """Branch of the family: the client certificate is not good enough to authenticate with."""

    error = "invalid_client"
    status = 401


class CertificateMalformed(CertificateRefused):
    code = "certificate_malformed"
    public = "The client certificate does not follow the member certificate profile."
    help = (
        "A member certificate names exactly one application, as a URI in its subject alternative name, and nothing "
        "else there; it has the member extension and at most one role extension, in strict DER, and an ECDSA key."
    )
    clause = "Member Identity Digital Certificates; OAuth with Member Identity Certificates"


class CertificateUntrusted(CertificateRefused):
    code = "certificate_untrusted"
    public = "The client certificate does not chain to the client root of this trust framework."
    help = (
        "Use a certificate issued by the Directory's client issuer, and send the issuer's certificate with it. "
        "Certificates from the signing, server or public authorities are not client certificates."
    )
    clause = "RFC 5280 6.1; Member Identity Digital Certificates"


class CertificateOutOfDate(CertificateRefused):
    code = "certificate_out_of_date"
    public = "The client certificate, or one above it, has expired or is not yet valid."
    help = "Renew the certificate in the Directory, send the current certificate of its issuer, and check your clock."
    clause = "RFC 5280 6.1.3"


class CertificateFromElsewhere(CertificateRefused):
    code = "certificate_from_elsewhere"
    public = "The client certificate names an application or a member that is not in this environment's Directory."
    help = "Sandbox certificates work only in the sandbox, production certificates only in production."
    clause = "Member Identity Digital Certificates"


class CertificateRevoked(CertificateRefused):
    code = "certificate_revoked"
    public = "The client certificate has been revoked."
    help = "Ask the Directory for a new certificate. A revocation takes effect at once, on open connections as well."
    clause = "RFC 5280 6.3; Member Identity Digital Certificates"


class RevocationListStale(Unavailable):
    """In production no caller is accepted while it is unknown whose certificates were revoked."""

    code = "revocation_list_stale"
    public = "The server cannot check revocation just now; try again after the time in Retry-After."
    help = (
        "This server's copy of the revocation list of the certificate's issuer is missing or too old. Try again "
        "later. Operators: see revocation_list.source, clients.issuers and the log of the jobs."
    )
    clause = "RFC 5280 6.3.3; Member Identity Digital Certificates"


class RoleMissing(Refusal):
    """A good certificate without the role that this endpoint requires."""

    code = "role_missing"
    error = "unauthorized_client"
    status = 403
    public = "The certificate is valid, but does not carry the role that this endpoint requires."
    help = (
        "Role URLs are compared as a whole, and differ between environments. Ask the Directory for a certificate "
        "whose role extension has the role that clients of this endpoint need."
    )
    clause = "Member Identity Digital Certificates; Perseus implementation guides"


@dataclass(frozen=True)
class _TrustVerdict:
    """A certificate with a valid chain, the chain's period of validity, and its serial numbers without the root."""

    certificate: MemberCertificate
    not_before: int
    not_after: int
    chain: tuple[IssuedSerial, ...]


class Trust:
    """Judges callers. Raise ValueError when the client root is not exactly one readable certificate."""

    def __init__(self, settings: MembersSettings, revocation_list: RevocationLists) -> None:
        self._root, issuers = client_authority(settings.clients)
        self._issuers = tuple(issuer.public_bytes(Encoding.DER) for issuer in issuers)
        self._directory = settings.scheme.directory + "/"
        self._max_age = settings.revocation_list.max_age_s
        self._require_of_issuers = settings.revocation_list.of_issuers == "require"
        self._production = not settings.is_sandbox
        self._revocation_list = revocation_list
        self._verdicts: dict[str, _TrustVerdict] = {}
        self._unrevoked: dict[str, tuple[_TrustVerdict, tuple[RevokedSerials, ...], int]] = {}
        self._lock = threading.Lock()
        self._alarmed: int | None = None

    def caller(self, arrival: Arrival, at: int) -> MemberCertificate:
        """Return the certificate of the caller at the instant `at`.

        Raise the CertificateRefused family, and RevocationListStale where revocation cannot be judged (production).
        """
        fingerprint = arrival.fingerprint
        verdict = self._verdicts.get(fingerprint)
        if verdict is None or not verdict.not_before <= at <= verdict.not_after:
            verdict = self._judge(arrival, at)
            with self._lock:
                self._verdicts[fingerprint] = verdict
                if len(self._verdicts) > _REMEMBERED:
                    del self._verdicts[next(iter(self._verdicts))]
        lists = self._revocation_list.lists()
        # What follows depends on these three alone, so a second request with all of them needs no second answer.
        if self._unrevoked.get(fingerprint) != (verdict, lists, at):
            self._require_unrevoked(verdict.chain, lists, at)
            self._unrevoked[fingerprint] = verdict, lists, at
            if len(self._unrevoked) > _REMEMBERED:
                self._unrevoked.clear()
        return verdict.certificate

    def _judge(self, arrival: Arrival, at: int) -> _TrustVerdict:
        try:
            certificate = parse(arrival.leaf)
        except MalformedCertificate as error:
            raise CertificateMalformed(str(error)) from None
        # RFC 5280 section 6.1.3 (a)(2); build_chain checks the dates of the certificates above the leaf
        if not certificate.not_before <= at <= certificate.not_after:
            raise CertificateOutOfDate("the certificate itself")
        try:
            chain = build_chain(arrival.leaf, (*arrival.intermediates, *self._issuers), self._root, at)
        except UntrustedChain as error:
            raise CertificateUntrusted(str(error)) from None
        # A valid chain does not say which environment the certificate is for.
        if not (certificate.application.startswith(self._directory) and certificate.member.startswith(self._directory)):
            raise CertificateFromElsewhere("another Directory's application or member")
        return _TrustVerdict(certificate, *validity(chain), issued_serials(chain))

    def _require_unrevoked(self, chain: tuple[IssuedSerial, ...], lists: tuple[RevokedSerials, ...], at: int) -> None:
        lists_of = {link: [each for each in lists if each.covers(link)] for link in chain}
        if any(link.serial in each.serials for link, its_lists in lists_of.items() for each in its_lists):
            raise CertificateRevoked("on the revocation list")
        for link, its_lists in lists_of.items():
            # RFC 5280 section 6.3.3: a list counts until its next update; and we limit the time since it was fetched
            if any(at < each.next_update and at - each.fetched <= self._max_age for each in its_lists):
                continue
            if its_lists:
                self._alarm("the revocation list is too old", at)
            elif link.is_leaf or self._require_of_issuers:
                self._alarm("no revocation list" if not lists else "no revocation list of an issuer in the chain", at)

    def _alarm(self, what: str, at: int) -> None:
        if self._alarmed is None or not 0 <= at - self._alarmed < _ALARM_EVERY:
            self._alarmed = at
            log.warning("%s: %s", what, "callers are refused" if self._production else "the sandbox goes on")
        if self._production:
            raise RevocationListStale(what)


def require_role(caller: MemberCertificate, accepted: tuple[str, ...]) -> None:
    """Raise RoleMissing unless the certificate carries one of the accepted role URLs."""
    if not roles.holds(caller.roles, accepted):
        raise RoleMissing("none of the accepted roles")
