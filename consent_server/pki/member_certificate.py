"""Member certificates: who a certificate says its holder is, and whether the trust framework's root stands behind it.

`parse` reads one certificate strictly and judges its contents alone. `build_chain` judges its descent at a given time,
for callers (now) and for signatures (the time of signing). Neither looks at a revocation list, and neither knows which
Directory or role a caller needs: `caller.trust` asks those questions.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

OID_ROLES = x509.ObjectIdentifier("1.3.6.1.4.1.62329.1.1")
OID_MEMBER = x509.ObjectIdentifier("1.3.6.1.4.1.62329.1.3")

MAX_CERTIFICATE_BYTES = 16 * 1024
MAX_ROLES = 64
MAX_INTERMEDIATES = 8

_SEQUENCE = 0x30
_UTF8_STRING = 0x0C

# Baseline TLS: ECDSA on P-256 or P-384 with SHA-2, for every certificate of a chain.
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_SIGNATURES = (
    SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512,
)

# RFC 5280 §4.2: a critical extension that is not processed refuses the certificate. These are processed below.
_PROCESSED = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        OID_ROLES,
        OID_MEMBER,
    }
)

# One spelling per URL, since URLs are compared whole: lower-case scheme and host, no userinfo, query or fragment,
# no empty, "." or ".." segment, no percent-encoding.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]+"
_URL = re.compile(rf"https://(?=[^/]{{1,253}}/){_LABEL}(?:\.{_LABEL})*(?::[1-9][0-9]{{0,4}})?(?:/{_SEGMENT})+")

_PEM = re.compile(r"\s*-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\s*", re.ASCII)

# What the X.509 library raises on bytes that it cannot or will not read.
_UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class MalformedCertificate(ValueError):
    """The certificate is not one that the trust framework could have issued to a member."""


class UntrustedChain(ValueError):
    """No valid chain leads from the certificate to the root at the time asked about."""


@dataclass(frozen=True)
class MemberCertificate:
    """What a member certificate says. `application` is the OAuth client_id; the common name counts for nothing.

    `roles` is empty when the certificate carries no role extension: such a holder is known, and may do nothing.
    `fingerprint` is the SHA-256 of the DER in hex; `not_before` and `not_after` are instants, both inclusive.
    """

    application: str
    member: str
    roles: frozenset[str]
    serial: int
    fingerprint: str
    not_before: int
    not_after: int
    der: bytes = field(repr=False)


def parse(der: bytes) -> MemberCertificate:
    """Read one member certificate; MalformedCertificate, and nothing else, for anything but one in the IB1 profile.

    Dates, chain, revocation, Directory host and roles needed are the caller's to judge.
    """
    try:
        certificate = _load(der)
        extensions = certificate.extensions
        _require_policy(certificate, extensions)
        _require_leaf(extensions)
        return MemberCertificate(
            application=_application(extensions),
            member=decode_member(_contents(extensions, OID_MEMBER)),
            roles=_roles(extensions),
            serial=_serial(certificate),
            fingerprint=hashlib.sha256(der).hexdigest(),
            not_before=int(certificate.not_valid_before_utc.timestamp()),
            not_after=int(certificate.not_valid_after_utc.timestamp()),
            der=der,
        )
    except MalformedCertificate:
        raise
    except _UNREADABLE as error:
        raise MalformedCertificate("the certificate cannot be read") from error


def one_pem(text: str | bytes) -> bytes:
    """The DER of a text that is one PEM certificate and nothing else, else MalformedCertificate (CVE-2023-2422)."""
    if len(text) > 2 * MAX_CERTIFICATE_BYTES:
        raise MalformedCertificate("the certificate is too long")
    try:
        characters = text.decode("ascii") if isinstance(text, bytes) else text
        match = _PEM.fullmatch(characters)
        if match is None:
            raise MalformedCertificate("not exactly one PEM certificate")
        body = "".join(match[1].split())
        der = base64.b64decode(body, validate=True)
    except (UnicodeDecodeError, binascii.Error) as error:
        raise MalformedCertificate("the PEM certificate is not Base64") from error
    # Stray bits at the end would give one certificate two spellings.
    if not der or base64.b64encode(der).decode() != body:
        raise MalformedCertificate("the PEM certificate is empty or not canonical Base64")
    return der


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Every certificate of a PEM file of our own (roots, chains), at least one; MalformedCertificate otherwise."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except _UNREADABLE as error:
        raise MalformedCertificate("the file holds no certificate that can be read") from error


def build_chain(
    leaf_der: bytes, intermediates: Sequence[bytes], root: x509.Certificate, at: int
) -> tuple[x509.Certificate, ...]:
    """The chain from the leaf to the root that is valid at the instant `at`; UntrustedChain when there is none.

    `intermediates` (DER) come from the other side, so they are candidates in any order and may include useless ones;
    the root comes from our configuration alone. Every certificate must follow the algorithm policy and be within its
    dates; every issuer must be a CA, may sign certificates, and allows the path's length (RFC 5280 §6.1). Key identifiers
    may be absent; those that are there must agree.
    """
    if len(intermediates) > MAX_INTERMEDIATES:
        raise UntrustedChain("too many intermediate certificates")
    try:
        leaf = _load(leaf_der)
        extensions = leaf.extensions
        _require_policy(leaf, extensions)
        _require_leaf(extensions)
        _require_valid(leaf, at)
        _require_issuer(root, at)
    except MalformedCertificate as error:
        raise UntrustedChain(str(error)) from error
    except UntrustedChain:
        raise
    except _UNREADABLE as error:
        raise UntrustedChain("the certificate cannot be read") from error
    issuers, passed_over = _possible_issuers(intermediates, root, at)
    path = _search(leaf, issuers, root)
    if path is None:
        raise UntrustedChain("; ".join(["no valid chain leads to the root", *sorted(passed_over)]))
    return path


def encode_roles(roles: Iterable[str]) -> bytes:
    """The contents of the role extension: DER SEQUENCE OF UTF8String, in the order given."""
    return _encode(_SEQUENCE, b"".join(_encode(_UTF8_STRING, role.encode()) for role in roles))


def encode_member(member: str) -> bytes:
    """The contents of the member extension: one DER UTF8String."""
    return _encode(_UTF8_STRING, member.encode())


def decode_roles(contents: bytes) -> frozenset[str]:
    """Role names of a role extension: 1 to 64 non-empty strings, strict DER; MalformedCertificate otherwise.

    The names are not looked at further: a name that nobody knows is a role that opens nothing.
    """
    strings, end = _element(contents, 0, _SEQUENCE)
    if end != len(contents):
        raise MalformedCertificate("bytes follow the roles")
    roles: list[str] = []
    position = 0
    while position < len(strings):
        if len(roles) == MAX_ROLES:
            raise MalformedCertificate("too many roles")
        value, position = _element(strings, position, _UTF8_STRING)
        roles.append(_string(value))
    if not roles:
        raise MalformedCertificate("the list of roles is empty")
    return frozenset(roles)


def decode_member(contents: bytes) -> str:
    """The member URL of a member extension, strict DER; MalformedCertificate otherwise."""
    value, end = _element(contents, 0, _UTF8_STRING)
    if end != len(contents):
        raise MalformedCertificate("bytes follow the member")
    return _url(_string(value))


# Reading the profile


def _load(der: bytes) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise MalformedCertificate("the certificate is too long")
    certificate = x509.load_der_x509_certificate(der)
    # One certificate, one spelling. The library passes over unused bits declared in the signature's BIT STRING, which
    # no signature covers, and verifies its own encoding of the rest.
    if certificate.public_bytes(Encoding.DER) != der or not der.endswith(b"\0" + certificate.signature):
        raise MalformedCertificate("the certificate is not canonical DER")
    return certificate


def _application(extensions: x509.Extensions) -> str:
    """The one URI, and nothing beside it: a DNS name or a second URI would make the identity a matter of taste."""
    try:
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound as error:
        raise MalformedCertificate("there is no subject alternative name") from error
    # IB1 OAuth with Member Identity Certificates: a single URI, the application's URL in the Directory.
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise MalformedCertificate("the subject alternative name is not exactly one URI")
    return _url(names[0].value)


def _roles(extensions: x509.Extensions) -> frozenset[str]:
    if any(extension.oid == OID_ROLES for extension in extensions):
        return decode_roles(_contents(extensions, OID_ROLES))
    return frozenset()


def _contents(extensions: x509.Extensions, oid: x509.ObjectIdentifier) -> bytes:
    for extension in extensions:  # the library has refused doubled extensions already
        if extension.oid == oid and isinstance(extension.value, x509.UnrecognizedExtension):
            return extension.value.value
    raise MalformedCertificate("an IB1 extension is missing")


def _serial(certificate: x509.Certificate) -> int:
    serial = certificate.serial_number
    # RFC 5280 §4.1.2.2: positive, at most 20 octets
    if not 0 < serial < 1 << 159:
        raise MalformedCertificate("the serial number is out of range")
    return serial


def _url(value: str) -> str:
    if _URL.fullmatch(value) is None:
        raise MalformedCertificate("an identity is not a plain https URL")
    return value


def _string(value: bytes) -> str:
    if not value:
        raise MalformedCertificate("a string is empty")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedCertificate("a string is not UTF-8") from error


# DER, as much as two extensions need (X.690 §8.1, §10.1)


def _element(data: bytes, position: int, tag: int) -> tuple[bytes, int]:
    """The contents of the element at `position`, which must have this tag, and the position after it."""
    if data[position : position + 1] != bytes([tag]):
        raise MalformedCertificate("an extension holds another type than it should")
    length, start = _length(data, position + 1)
    end = start + length
    if end > len(data):
        raise MalformedCertificate("an extension ends early")
    return data[start:end], end


def _length(data: bytes, position: int) -> tuple[int, int]:
    """A definite length in its shortest form, and the position after it."""
    if position >= len(data):
        raise MalformedCertificate("an extension ends early")
    first = data[position]
    if first < 0x80:
        return first, position + 1
    end = position + 1 + (first & 0x7F)
    octets = data[position + 1 : end]
    # X.690 §10.1: definite (not 0x80) and shortest. Three octets are more than any certificate that is read here.
    if not 1 <= first & 0x7F <= 3 or end > len(data) or octets[0] == 0 or (len(octets) == 1 and octets[0] < 0x80):
        raise MalformedCertificate("a length is not DER")
    return int.from_bytes(octets), end


def _encode(tag: int, contents: bytes) -> bytes:
    length = len(contents)
    if length < 0x80:
        return bytes([tag, length]) + contents
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + contents


# Rules for one certificate. They raise MalformedCertificate or what the library raises; UntrustedChain for dates.


def _require_policy(certificate: x509.Certificate, extensions: x509.Extensions) -> None:
    """Baseline TLS: version 3, ECDSA on P-256 or P-384, SHA-2, and no critical extension that is not understood."""
    if certificate.version is not x509.Version.v3:
        raise MalformedCertificate("not version 3")
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise MalformedCertificate("the key is not on P-256 or P-384")
    if certificate.signature_algorithm_oid not in _SIGNATURES:
        raise MalformedCertificate("the signature is not ECDSA with SHA-2")
    if any(extension.critical and extension.oid not in _PROCESSED for extension in extensions):
        raise MalformedCertificate("a critical extension is not understood")


def _require_leaf(extensions: x509.Extensions) -> None:
    constraints = _basic_constraints(extensions)
    if constraints is not None and constraints.ca:
        raise MalformedCertificate("a CA's certificate is not a member's")
    usage = _key_usage(extensions)
    if usage is not None and not usage.digital_signature:
        raise MalformedCertificate("the key may not sign")


def _require_issuer(certificate: x509.Certificate, at: int) -> None:
    extensions = certificate.extensions
    _require_policy(certificate, extensions)
    constraints = _basic_constraints(extensions)
    # RFC 5280 §6.1.4 (k)
    if constraints is None or not constraints.ca:
        raise MalformedCertificate("an issuer is not a CA")
    usage = _key_usage(extensions)
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


def _basic_constraints(extensions: x509.Extensions) -> x509.BasicConstraints | None:
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def _key_usage(extensions: x509.Extensions) -> x509.KeyUsage | None:
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _authority_key(extensions: x509.Extensions) -> x509.AuthorityKeyIdentifier | None:
    try:
        return extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return None


def _subject_key(extensions: x509.Extensions) -> bytes | None:
    try:
        return extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None


# The path


def _possible_issuers(
    ders: Iterable[bytes], root: x509.Certificate, at: int
) -> tuple[list[x509.Certificate], set[str]]:
    """The candidates that could be an issuer, and why others were passed over: a stranger may send anything."""
    issuers: list[x509.Certificate] = []
    passed_over: set[str] = set()
    for der in dict.fromkeys(ders):
        try:
            certificate = _load(der)
            _require_issuer(certificate, at)
        except (MalformedCertificate, UntrustedChain) as error:
            passed_over.add(str(error))
        except _UNREADABLE:
            passed_over.add("a certificate cannot be read")
        else:
            if certificate != root:
                issuers.append(certificate)
    return issuers, passed_over


def _search(
    leaf: x509.Certificate, issuers: list[x509.Certificate], root: x509.Certificate
) -> tuple[x509.Certificate, ...] | None:
    """The shortest chain, breadth first. A certificate is reached once, at its least depth, where path lengths allow
    most: so nothing is missed, and the work is bounded by the square of the candidates however they sign each other.
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
    """Whether the issuer may stand above this path and has signed its top."""
    constraints = _basic_constraints(issuer.extensions)
    # RFC 5280 §6.1.4 (l), (m); self-issued certificates are counted as well, since no profile here has any
    if constraints is not None and constraints.path_length is not None and len(path) - 1 > constraints.path_length:
        return False
    if not _identified(path[-1], issuer):
        return False
    try:
        path[-1].verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True


def _identified(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether what the certificate says of its issuer's key is said of this issuer. What is not said cannot disagree:
    the Directory's command-line tool makes certificates without these extensions.
    """
    authority = _authority_key(certificate.extensions)
    if authority is None:
        return True
    key = _subject_key(issuer.extensions)
    # RFC 5280 §4.2.1.1, §4.2.1.2: the authority's key identifier is the subject key identifier of the issuer
    if authority.key_identifier is not None and key is not None and authority.key_identifier != key:
        return False
    names, serial = authority.authority_cert_issuer, authority.authority_cert_serial_number
    if names is None:  # the library has refused a name without a number, and a number without a name
        return True
    # RFC 5280 §4.2.1.1: the issuer's certificate, by the name of who issued that and by its serial number
    return x509.DirectoryName(issuer.issuer) in names and serial == issuer.serial_number
