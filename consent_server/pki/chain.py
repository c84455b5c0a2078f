"""Verification of the chain from a certificate to the trust framework's root at a given time.

For callers that time is now, for signatures the time of signing. Revocation is not checked here.
"""

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from consent_server.pki.member_certificate import MalformedCertificate, load, require_leaf, require_policy
from consent_server.pki.reading import UNREADABLE, extension_of

MAX_INTERMEDIATES = 8


class UntrustedChain(ValueError):
    """No valid chain leads from the certificate to the root at the given time."""


def build_chain(
    leaf_der: bytes, intermediates: Sequence[bytes], root: x509.Certificate, at: int
) -> tuple[x509.Certificate, ...]:
    """Return the chain from the leaf to the root that is valid at the instant `at`. Raise UntrustedChain.

    `intermediates` (DER) come from the other side: candidates in any order, useless ones included. The root comes from our
    configuration alone. Every certificate must follow the algorithm policy and be within its
    dates; every issuer must be a CA, may sign certificates, and allows the path's length (RFC 5280 §6.1). Key identifiers
    may be absent; those that are there must agree.
    """
    if len(intermediates) > MAX_INTERMEDIATES:
        raise UntrustedChain("too many intermediate certificates")
    try:
        leaf = load(leaf_der)
        extensions = leaf.extensions
        require_policy(leaf, extensions)
        require_leaf(extensions)
        _require_valid(leaf, at)
        _require_issuer(root, at)
    except MalformedCertificate as error:
        raise UntrustedChain(str(error)) from error
    except UntrustedChain:
        raise
    except UNREADABLE as error:
        raise UntrustedChain("the certificate cannot be read") from error
    issuers, passed_over = _possible_issuers(intermediates, root, at)
    path = _search(leaf, issuers, root)
    if path is None:
        raise UntrustedChain("; ".join(["no valid chain leads to the root", *sorted(passed_over)]))
    return path


def validity(chain: Sequence[x509.Certificate]) -> tuple[int, int]:
    """Return the first and the last instant at which every certificate of a chain is within its dates."""
    return (
        max(int(link.not_valid_before_utc.timestamp()) for link in chain),
        min(int(link.not_valid_after_utc.timestamp()) for link in chain),
    )


# Rules for one certificate of the chain


def _require_issuer(certificate: x509.Certificate, at: int) -> None:
    extensions = certificate.extensions
    require_policy(certificate, extensions)
    constraints = extension_of(extensions, x509.BasicConstraints)
    # RFC 5280 §6.1.4 (k)
    if constraints is None or not constraints.ca:
        raise MalformedCertificate("an issuer is not a CA")
    usage = extension_of(extensions, x509.KeyUsage)
    # RFC 5280 §6.1.4 (n)
    if usage is not None and not usage.key_cert_sign:
        raise MalformedCertificate("an issuer may not sign certificates")
    _require_valid(certificate, at)


def _require_valid(certificate: x509.Certificate, at: int) -> None:
    # RFC 5280 §6.1.3 (a)(2)
    if at < certificate.not_valid_before_utc.timestamp():
        raise UntrustedChain("a certificate is not yet valid")
    if at > certificate.not_valid_after_utc.timestamp():
        raise UntrustedChain("a certificate has expired")


# The path


def _possible_issuers(
    ders: Iterable[bytes], root: x509.Certificate, at: int
) -> tuple[list[x509.Certificate], set[str]]:
    """Return the candidates that could be an issuer, and why others were rejected: the other side may send anything."""
    issuers: list[x509.Certificate] = []
    passed_over: set[str] = set()
    for der in dict.fromkeys(ders):
        try:
            certificate = load(der)
            _require_issuer(certificate, at)
        except (MalformedCertificate, UntrustedChain) as error:
            passed_over.add(str(error))
        except UNREADABLE:
            passed_over.add("a certificate cannot be read")
        else:
            if certificate != root:
                issuers.append(certificate)
    return issuers, passed_over


def _search(
    leaf: x509.Certificate, issuers: list[x509.Certificate], root: x509.Certificate
) -> tuple[x509.Certificate, ...] | None:
    """Return the shortest chain, or None. The search is breadth first and reaches each certificate once, at its least
    depth, where path lengths allow most. So no chain is missed, and the work is at most the square of the candidates.
    """
    paths: list[tuple[x509.Certificate, ...]] = [(leaf,)]
    while paths:
        for path in paths:
            if _issued(path, root):
                return (*path, root)
        longer = []
        for path in paths:
            above = [issuer for issuer in issuers if _issued(path, issuer)]
            issuers = [issuer for issuer in issuers if issuer not in above]
            longer += [(*path, issuer) for issuer in above]
        paths = longer
    return None


def _issued(path: tuple[x509.Certificate, ...], issuer: x509.Certificate) -> bool:
    """Return whether the issuer may extend this path and has signed its last certificate."""
    constraints = extension_of(issuer.extensions, x509.BasicConstraints)
    # RFC 5280 §6.1.4 (l), (m); self-issued certificates are counted as well, since no profile here has any
    if constraints is not None and constraints.path_length is not None and len(path) - 1 > constraints.path_length:
        return False
    if not _identified(path[-1], issuer):
        return False
    try:
        path[-1].verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _identified(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether the certificate's key identifiers, as far as there are any, are this issuer's. They are optional
    because the Directory's command-line tool makes certificates without these extensions.
    """
    authority = extension_of(certificate.extensions, x509.AuthorityKeyIdentifier)
    if authority is None:
        return True
    subject = extension_of(issuer.extensions, x509.SubjectKeyIdentifier)
    # RFC 5280 §4.2.1.1, §4.2.1.2: the authority's key identifier is the subject key identifier of the issuer
    if subject and authority.key_identifier not in (None, subject.digest):
        return False
    names, serial = authority.authority_cert_issuer, authority.authority_cert_serial_number
    if names is None:  # the library has refused a name without a number, and a number without a name
        return True
    # RFC 5280 §4.2.1.1: the issuer's certificate, by the name of who issued that and by its serial number
    return x509.DirectoryName(issuer.issuer) in names and serial == issuer.serial_number
