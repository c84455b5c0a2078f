"""Member certificates: the identity and roles that a certificate states.

`parse` reads one certificate strictly and checks its contents only. `pki.chain` verifies its chain to the root,
`caller.trust` its Directory, its roles and its revocation.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from consent_server.pki.reading import UNREADABLE, extension_of

OID_ROLES = x509.ObjectIdentifier("1.3.6.1.4.1.62329.1.1")
OID_MEMBER = x509.ObjectIdentifier("1.3.6.1.4.1.62329.1.3")

MAX_CERTIFICATE_BYTES = 16 * 1024
MAX_ROLES = 64

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


class MalformedCertificate(ValueError):
    """The certificate is not one that the trust framework could have issued to a member."""


@dataclass(frozen=True)
class MemberCertificate:
    """The contents of a member certificate. `application` is the OAuth client_id; the common name is ignored.

    `roles` is empty when the certificate has no role extension: its holder is authenticated but may do nothing.
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
    """Return the contents of one certificate in the IB1 profile. Raise MalformedCertificate, and nothing else.

    Its dates, chain, revocation, Directory host and roles are not judged here.
    """
    try:
        certificate = load(der)
        extensions = certificate.extensions
        require_policy(certificate, extensions)
        require_leaf(extensions)
        serial = certificate.serial_number
        # RFC 5280 §4.1.2.2: positive, at most 20 octets
        if not 0 < serial < 1 << 159:
            raise MalformedCertificate("the serial number is out of range")
        return MemberCertificate(
            application=_application(extensions),
            member=decode_member(_contents(extensions, OID_MEMBER)),
            roles=_roles(extensions),
            serial=serial,
            fingerprint=hashlib.sha256(der).hexdigest(),
            not_before=int(certificate.not_valid_before_utc.timestamp()),
            not_after=int(certificate.not_valid_after_utc.timestamp()),
            der=der,
        )
    except MalformedCertificate:
        raise
    except UNREADABLE as error:
        raise MalformedCertificate("the certificate cannot be read") from error


def one_pem(text: str | bytes) -> bytes:
    """Return the DER of a text that is exactly one PEM certificate (CVE-2023-2422). Raise MalformedCertificate."""
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
    """Return the certificates, at least one, of our own PEM file (roots, chains). Raise MalformedCertificate."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except UNREADABLE as error:
        raise MalformedCertificate("the file holds no certificate that can be read") from error


def encode_roles(roles: Iterable[str]) -> bytes:
    """Return the contents of the role extension: DER SEQUENCE OF UTF8String, in the order given."""
    return _encode(_SEQUENCE, b"".join(_encode(_UTF8_STRING, role.encode()) for role in roles))


def encode_member(member: str) -> bytes:
    """Return the contents of the member extension: one DER UTF8String."""
    return _encode(_UTF8_STRING, member.encode())


def decode_roles(contents: bytes) -> frozenset[str]:
    """Return the roles in a role extension: 1 to 64 non-empty strings in strict DER. Raise MalformedCertificate.

    The names are not checked: an unknown role permits nothing.
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
    """Return the member URL in a member extension in strict DER. Raise MalformedCertificate."""
    value, end = _element(contents, 0, _UTF8_STRING)
    if end != len(contents):
        raise MalformedCertificate("bytes follow the member")
    return _url(_string(value))


# Reading the profile


def load(der: bytes) -> x509.Certificate:
    """Return the certificate of canonical DER. Raise MalformedCertificate, or what the library raises (UNREADABLE)."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise MalformedCertificate("the certificate is too long")
    certificate = x509.load_der_x509_certificate(der)
    # One certificate, one spelling. The library ignores unused bits declared in the signature's BIT STRING, which
    # no signature covers, and verifies its own encoding of the rest.
    if certificate.public_bytes(Encoding.DER) != der or not der.endswith(b"\0" + certificate.signature):
        raise MalformedCertificate("the certificate is not canonical DER")
    return certificate


def _application(extensions: x509.Extensions) -> str:
    """Return the only URI: with a DNS name or a second URI beside it, readers could differ about the identity."""
    names = list(extension_of(extensions, x509.SubjectAlternativeName) or ())
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
    """Return the contents of the element at `position`, which must have this tag, and the position after it."""
    if data[position : position + 1] != bytes([tag]):
        raise MalformedCertificate("an extension holds another type than it should")
    length, start = _length(data, position + 1)
    end = start + length
    if end > len(data):
        raise MalformedCertificate("an extension ends early")
    return data[start:end], end


def _length(data: bytes, position: int) -> tuple[int, int]:
    """Return a definite length in its shortest form, and the position after it."""
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


# Rules for one certificate. They raise MalformedCertificate or what the library raises.


def require_policy(certificate: x509.Certificate, extensions: x509.Extensions) -> None:
    """Require Baseline TLS: version 3, ECDSA on P-256 or P-384, SHA-2, no critical extension that is not understood."""
    if certificate.version is not x509.Version.v3:
        raise MalformedCertificate("not version 3")
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise MalformedCertificate("the key is not on P-256 or P-384")
    if certificate.signature_algorithm_oid not in _SIGNATURES:
        raise MalformedCertificate("the signature is not ECDSA with SHA-2")
    if any(extension.critical and extension.oid not in _PROCESSED for extension in extensions):
        raise MalformedCertificate("a critical extension is not understood")


def require_leaf(extensions: x509.Extensions) -> None:
    """Refuse a CA's certificate, and one whose key may not sign."""
    constraints = extension_of(extensions, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise MalformedCertificate("a CA's certificate is not a member's")
    usage = extension_of(extensions, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise MalformedCertificate("the key may not sign")
