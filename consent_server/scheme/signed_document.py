"""A JSON document that a member signed so that it can be verified for years, without asking the member.

The form is the flattened JSON of JWS (RFC 7515 section 7.2.2), with the signer's chain in `x5c`. The key is that of a signing
certificate from the Directory, and not one that signs tokens: token keys are published only while they are in use, while a
document must verify for years; and the certificate says which member signed it.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from consent_server.pki import member_certificate
from consent_server.pki.chain import MAX_INTERMEDIATES, UntrustedChain, build_chain
from consent_server.pki.member_certificate import MalformedCertificate
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import CLOCK_SKEW, Signer
from consent_server.signing.jws import ALGORITHM, Unacceptable, base64url, is_signature, members, octets, raw_signature

LONGEST: Final = 1024 * 1024


class DocumentFault(ValueError):
    """A document that does not hold. `part` names what does not: form, certificate, signature, publisher, text or time."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"{part}: {why}")
        self.part = part


def _time(document: dict[str, Any]) -> int:
    try:
        return instant.parse(document.get("time"))
    except ValueError:
        raise DocumentFault("form", "its time is missing or malformed") from None


def _member(document: dict[str, Any]) -> object:
    return document.get("member")


@dataclass(frozen=True)
class DocumentKind:
    """A kind of signed document: the `typ` and `cty` of its header, and where it says when it was made and by which member.

    `made` returns POSIX seconds; it and `publisher` raise DocumentFault.
    """

    type: str
    content_type: str
    made: Callable[[dict[str, Any]], int] = _time
    publisher: Callable[[dict[str, Any]], object] = _member


def sign(document: Mapping[str, Any], kind: DocumentKind, signer: Signer) -> dict[str, str]:
    """Return the document signed with ES256."""
    _, *issuers = signer.certificates[signer.serial]
    pems = [signer.certificates[serial][0] for serial in (signer.serial, *issuers)]
    chain = [base64.b64encode(member_certificate.one_pem(pem)).decode() for pem in pems]
    protected = _encoded({"alg": ALGORITHM, "typ": kind.type, "cty": kind.content_type, "x5c": chain})
    payload = _encoded(document)
    signature = raw_signature(signer.sign(f"{protected}.{payload}".encode()))
    return {"payload": payload, "protected": protected, "signature": base64url(signature)}


def verify(text: bytes, kind: DocumentKind, root: x509.Certificate, now: int) -> dict[str, Any]:
    """Return the document that a signed one holds, which the member that it names has signed.

    Its signer's chain must have led to `root` when it was made. `now` is the verifier's instant in POSIX seconds: what says
    that it was made later was not made when it says. Raise DocumentFault.
    """
    if len(text) > LONGEST:
        raise DocumentFault("form", "it is too long")
    header, document, signature, signed = _parts(text)
    # RFC 8725 section 3.1 and 3.10: one algorithm, and nothing else that the sender chooses
    fixed = {"alg": ALGORITHM, "typ": kind.type, "cty": kind.content_type}
    if header.keys() != {*fixed, "x5c"} or {name: header[name] for name in fixed} != fixed:
        raise DocumentFault("form", f"its header is not that of {kind.type}")
    at = kind.made(document)
    if at > now + CLOCK_SKEW:
        raise DocumentFault("time", "it says that it was made in the future")
    key, member = _signer(header["x5c"], root, at)
    if not is_signature(key, signature, signed):
        raise DocumentFault("signature", "it does not fit what it signs")
    if kind.publisher(document) != member:
        raise DocumentFault("publisher", "another member signed it than the one that it names")
    return document


def _parts(text: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Return the header, the document, the signature and what it signs. Raise DocumentFault."""
    try:
        whole = members(text)
        if whole.keys() != {"protected", "payload", "signature"} or not all(
            isinstance(part, str) for part in whole.values()
        ):
            raise Unacceptable("it is no flattened JWS (RFC 7515 section 7.2.2)")
        protected, payload = whole["protected"], whole["payload"]
        header, document = members(octets(protected)), members(octets(payload))
        return header, document, octets(whole["signature"]), f"{protected}.{payload}".encode()
    except Unacceptable as error:
        raise DocumentFault("form", str(error)) from None


def _signer(x5c: object, root: x509.Certificate, at: int) -> tuple[ec.EllipticCurvePublicKey, str]:
    """Return the key and the member URL of the signing certificate."""
    if not isinstance(x5c, list) or not 1 <= len(x5c) <= MAX_INTERMEDIATES + 1:
        raise DocumentFault("certificate", "x5c is no chain")
    try:
        ders = [base64.b64decode(each, validate=True) for each in x5c]
        leaf = member_certificate.parse(ders[0])
        key = build_chain(ders[0], ders[1:], root, at)[0].public_key()
    except (TypeError, ValueError, binascii.Error, MalformedCertificate, UntrustedChain) as error:
        raise DocumentFault("certificate", f"at the time of signing: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise DocumentFault("certificate", "the key must be on P-256")
    return key, leaf.member


def _encoded(value: Mapping[str, Any]) -> str:
    return base64url(json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode())
