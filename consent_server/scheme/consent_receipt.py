"""A consent receipt for machines: ISO/IEC TS 27560:2023 in the terms of the Data Privacy Vocabulary (JSON-LD), signed.

The form is the flattened JSON of JWS (RFC 7515 section 7.2.2), with the signer's chain in `x5c`. The key is that of our
signing certificate from the Directory, and not one of those that sign tokens: those are published for as long as they are
used, while a receipt has to verify for years, without asking us, and the certificate says which member signed it.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from consent_server.pki import member_certificate
from consent_server.pki.chain import MAX_INTERMEDIATES, UntrustedChain, build_chain
from consent_server.pki.member_certificate import MalformedCertificate
from consent_server.scheme import instant
from consent_server.scheme.permission import State
from consent_server.scheme.provenance.container import CLOCK_SKEW, Signer

TYPE: Final = "consent-receipt+jws"
LONGEST: Final = 1024 * 1024
_SCHEMA: Final = "https://w3id.org/dpv/schema/dpv-27560"
_CONTEXT: Final = {
    "dpv": "https://w3id.org/dpv#",
    "dct": "http://purl.org/dc/terms/",
    "schema": "https://schema.org/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
_STATUS: Final = {
    State.GRANTED: "dpv:ConsentGiven",
    State.WITHDRAWN: "dpv:ConsentWithdrawn",
    State.SUPERSEDED: "dpv:ConsentExpired",  # "temporal or contextual validity": a newer one took its place
    State.EXPIRED: "dpv:ConsentExpired",
}
_COORDINATE: Final = 32


@dataclass(frozen=True)
class Consent:
    """What a receipt says. Members are by their Directory URLs and names; `publisher` is the one that signs.

    `controller` asked for the consent, `source` holds the data. `text` is the permission text as shown. `state` and `ended`
    are as of the receipt's making.
    """

    identifier: str
    publisher: str
    business: str
    controller: str
    controller_name: str
    source: str
    data: str
    meters: tuple[str, ...]
    license: str
    text: str
    text_sha256: str
    granted: int
    expires: int
    state: State
    ended: int | None
    how: str


class ReceiptFault(ValueError):
    """A receipt that does not hold. `part` names what does not: form, certificate, signature, publisher, text or time."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"{part}: {why}")
        self.part = part


def document(consent: Consent, at: int) -> dict[str, Any]:
    """Return the receipt as JSON-LD, made at an instant."""
    given = {
        "@type": [_STATUS[State.GRANTED], "dpv:ExplicitlyExpressedConsent"],
        "dpv:isIndicatedAtTime": _time(consent.granted),
        "dpv:isIndicatedBy": "dpv:DataSubject",
        "dpv:hasIndicationMethod": consent.how,
    }
    status = [given]
    if consent.ended is not None:
        status.append({"@type": [_STATUS[consent.state]], "dpv:isIndicatedAtTime": _time(consent.ended)})
    record = {
        "@type": "dpv:ConsentRecord",
        "dct:identifier": consent.identifier,
        "dct:conformsTo": f"{_SCHEMA}#record",
        "dpv:hasDataSubject": {"@type": "dpv:DataSubject", "dpv:hasName": consent.business},
        "dpv:hasDataController": {"@id": consent.controller, "dpv:hasName": consent.controller_name},
        "dpv:hasLegalBasis": "dpv:Consent",
        "dpv:hasProcess": {
            "@type": "dpv:Process",
            "dpv:hasPurpose": {"@type": "dpv:Purpose", "dct:source": {"@id": consent.license}},
            "dpv:hasPersonalData": {"dct:description": consent.data, "schema:about": list(consent.meters)},
            "dpv:hasDataSource": {"@id": consent.source},
            "dpv:hasRecipient": {"@id": consent.controller},
        },
        "dpv:hasNotice": {
            "@type": "dpv:ConsentNotice",
            "dct:source": {"@id": consent.license},
            "schema:text": consent.text,
            "schema:sha256": consent.text_sha256,
        },
        "dpv:hasConsentStatus": status,
        "dpv:hasDuration": {"@type": "dpv:UntilTimeDuration", "dct:valid": _time(consent.expires)},
    }
    return {
        "@context": _CONTEXT,
        "@type": "dpv:ConsentReceipt",
        "dct:conformsTo": f"{_SCHEMA}#receipt",
        "dct:created": _time(at),
        "dct:publisher": {"@id": consent.publisher},
        "schema:recipient": "dpv:DataSubject",
        "dpv:hasRecordOfActivity": record,
    }


def sign(receipt: Mapping[str, Any], signer: Signer) -> dict[str, str]:
    """Return the receipt signed with ES256."""
    _, *issuers = signer.certificates[signer.serial]
    pems = [signer.certificates[serial][0] for serial in (signer.serial, *issuers)]
    chain = [base64.b64encode(member_certificate.one_pem(pem)).decode() for pem in pems]
    protected = _encoded({"alg": "ES256", "typ": TYPE, "cty": "application/ld+json", "x5c": chain})
    payload = _encoded(receipt)
    r, s = utils.decode_dss_signature(signer.sign(f"{protected}.{payload}".encode()))
    signature = r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")
    return {"payload": payload, "protected": protected, "signature": _base64url(signature)}


def verify(text: bytes, root: x509.Certificate, now: int) -> dict[str, Any]:
    """Return the receipt that a signed one holds, whose signer's chain led to `root` when it was made. Raise ReceiptFault.

    `now` is the verifier's instant in POSIX seconds: what says that it was made later was not made when it says.
    """
    if len(text) > LONGEST:
        raise ReceiptFault("form", "it is too long")
    signed = _object(text)
    parts = [signed.get(name) for name in ("protected", "payload", "signature")]
    if signed.keys() != {"protected", "payload", "signature"} or not all(isinstance(part, str) for part in parts):
        raise ReceiptFault("form", "it is no flattened JWS (RFC 7515 section 7.2.2)")
    protected, payload, signature = (_octets(part) for part in parts)
    header, receipt = _object(protected), _object(payload)
    # RFC 8725 section 3.1 and 3.10: one algorithm, and nothing else that the sender chooses
    if header.keys() != {"alg", "typ", "cty", "x5c"} or header["alg"] != "ES256" or header["typ"] != TYPE:
        raise ReceiptFault("form", "its header is not that of a consent receipt")
    at = _instant(receipt.get("dct:created"))
    if at > now + CLOCK_SKEW:
        raise ReceiptFault("time", "it says that it was made in the future")
    key, member = _signer(header["x5c"], root, at)
    if not _is_signature(key, signature, f"{parts[0]}.{parts[1]}".encode()):
        raise ReceiptFault("signature", "it does not fit what it signs")
    _require_contents(receipt, member, at)
    return receipt


def _require_contents(receipt: dict[str, Any], member: str, at: int) -> None:
    try:
        record = receipt["dpv:hasRecordOfActivity"]
        notice = record["dpv:hasNotice"]
        publisher, shown = receipt["dct:publisher"]["@id"], notice["schema:text"]
        given = record["dpv:hasConsentStatus"][0]["dpv:isIndicatedAtTime"]
        digest = hashlib.sha256(shown.encode()).hexdigest()
        fits = notice["schema:sha256"] == digest
    except (KeyError, TypeError, IndexError, AttributeError, UnicodeEncodeError):
        raise ReceiptFault("form", "it lacks what a consent receipt says") from None
    if receipt.get("@type") != "dpv:ConsentReceipt" or receipt.get("@context") != _CONTEXT:
        raise ReceiptFault("form", "it is no consent receipt in the terms of DPV")
    if publisher != member:
        raise ReceiptFault("publisher", "another member signed it than the one that it names")
    if not fits:
        raise ReceiptFault("text", "the permission text is not the one whose digest it names")
    if _instant(given) > at:
        raise ReceiptFault("time", "it was made before the consent that it is about")


def _signer(x5c: object, root: x509.Certificate, at: int) -> tuple[ec.EllipticCurvePublicKey, str]:
    """Return the key and the member URL of the signing certificate."""
    if not isinstance(x5c, list) or not 1 <= len(x5c) <= MAX_INTERMEDIATES + 1:
        raise ReceiptFault("certificate", "x5c is no chain")
    try:
        ders = [base64.b64decode(each, validate=True) for each in x5c]
        leaf = member_certificate.parse(ders[0])
        key = build_chain(ders[0], ders[1:], root, at)[0].public_key()
    except (TypeError, ValueError, binascii.Error, MalformedCertificate, UntrustedChain) as error:
        raise ReceiptFault("certificate", f"at the time of signing: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ReceiptFault("certificate", "the key must be on P-256")
    return key, leaf.member


def _is_signature(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    if len(signature) != 2 * _COORDINATE:
        return False
    r, s = (int.from_bytes(half, "big") for half in (signature[:_COORDINATE], signature[_COORDINATE:]))
    try:
        key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _time(at: int) -> dict[str, str]:
    return {"@type": "xsd:dateTime", "@value": instant.text(at)}


def _instant(value: object) -> int:
    try:
        return instant.parse(value["@value"] if isinstance(value, dict) else None)
    except (KeyError, ValueError):
        raise ReceiptFault("form", "a time is missing or malformed") from None


def _encoded(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _octets(text: Any) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise ReceiptFault("form", "not base64url") from None
    if _base64url(data) != text:
        raise ReceiptFault("form", "not canonical base64url")
    return data


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode(), object_pairs_hook=_once_each)
    except (ValueError, RecursionError):
        raise ReceiptFault("form", "not JSON, or a member appears twice") from None
    if not isinstance(value, dict):
        raise ReceiptFault("form", "not a JSON object")
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found
