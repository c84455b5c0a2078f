"""A consent receipt for machines: ISO/IEC TS 27560:2023 in the terms of the Data Privacy Vocabulary (JSON-LD), signed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509

from consent_server.scheme import instant, signed_document
from consent_server.scheme.permission import State
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.provenance.step import as_object
from consent_server.scheme.signed_document import DocumentFault, DocumentKind

_SCHEMA: Final = "https://w3id.org/dpv/schema/dpv-27560"
_CONTEXT: Final = {
    "dpv": "https://w3id.org/dpv#",
    "dct": "http://purl.org/dc/terms/",
    "schema": "https://schema.org/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
#: The scheme is Great Britain's, and its texts are in English.
_JURISDICTION: Final = "https://w3id.org/dpv/loc#GB"
_LANGUAGE: Final = "en"
_STATUS: Final = {
    State.GRANTED: "dpv:ConsentGiven",
    State.WITHDRAWN: "dpv:ConsentWithdrawn",
    State.SUPERSEDED: "dpv:ConsentExpired",  # "temporal or contextual validity": a newer one took its place
    State.EXPIRED: "dpv:ConsentExpired",
}


@dataclass(frozen=True)
class Consent:
    """What a receipt says. Members are by their Directory URLs and names; `publisher` is the one that signs.

    `controller` asked for the consent, `source` holds the data. `text` is the permission text as shown. `withdrawal` is the
    address of the page on which the business withdraws after it has shown who it is. `state` and `ended` are as of the
    receipt's making.
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
    withdrawal: str


def document(consent: Consent, at: int) -> dict[str, Any]:
    """Return the receipt as JSON-LD, made at an instant.

    It has what TS 27560 requires of a receipt (its own id, the schema), and of a record what the publisher knows: where the
    controller stores the data and for how long is in the controller's own privacy notice.
    """
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
            "dpv:hasConsentControl": {"@type": "dpv:WithdrawConsent", "dpv:isExercisedAt": {"@id": consent.withdrawal}},
            "dpv:hasJurisdiction": {"@id": _JURISDICTION},
        },
        "dpv:hasNotice": {
            "@type": "dpv:ConsentNotice",
            "dct:source": {"@id": consent.license},
            "dct:language": _LANGUAGE,
            "schema:text": consent.text,
            "schema:sha256": consent.text_sha256,
        },
        "dpv:hasConsentStatus": status,
        "dpv:hasDuration": {"@type": "dpv:UntilTimeDuration", "dct:valid": _time(consent.expires)},
    }
    return {
        "@context": _CONTEXT,
        "@type": "dpv:ConsentReceipt",
        "dct:identifier": f"{consent.identifier}/{instant.text(at)}",
        "dct:conformsTo": f"{_SCHEMA}#receipt",
        "dct:created": _time(at),
        "dct:publisher": {"@id": consent.publisher},
        "schema:recipient": "dpv:DataSubject",
        "dpv:hasRecordOfActivity": record,
    }


def sign(receipt: Mapping[str, Any], signer: Signer) -> dict[str, str]:
    """Return the receipt signed with ES256."""
    return signed_document.sign(receipt, KIND, signer)


def verify(text: bytes, root: x509.Certificate, now: int) -> dict[str, Any]:
    """Return the receipt that a signed one holds, whose signer's chain led to `root` when it was made. Raise DocumentFault.

    `now` is the verifier's instant in POSIX seconds.
    """
    receipt = signed_document.verify(text, KIND, root, now)
    _require_contents(receipt)
    return receipt


def _require_contents(receipt: dict[str, Any]) -> None:
    try:
        record = receipt["dpv:hasRecordOfActivity"]
        notice = record["dpv:hasNotice"]
        shown = notice["schema:text"]
        given = record["dpv:hasConsentStatus"][0]["dpv:isIndicatedAtTime"]
        digest = hashlib.sha256(shown.encode()).hexdigest()
        fits = notice["schema:sha256"] == digest
    except (KeyError, TypeError, IndexError, AttributeError, UnicodeEncodeError):
        raise DocumentFault("form", "it lacks what a consent receipt says") from None
    if receipt.get("@type") != "dpv:ConsentReceipt" or receipt.get("@context") != _CONTEXT:
        raise DocumentFault("form", "it is no consent receipt in the terms of DPV")
    if not fits:
        raise DocumentFault("text", "the permission text is not the one whose digest it names")
    if _instant(given) > _made(receipt):
        raise DocumentFault("time", "it was made before the consent that it is about")


def _time(at: int) -> dict[str, str]:
    return {"@type": "xsd:dateTime", "@value": instant.text(at)}


def _instant(value: object) -> int:
    try:
        return instant.parse(value["@value"] if isinstance(value, dict) else None)
    except (KeyError, ValueError):
        raise DocumentFault("form", "a time is missing or malformed") from None


def _made(receipt: dict[str, Any]) -> int:
    return _instant(receipt.get("dct:created"))


def _publisher(receipt: dict[str, Any]) -> object:
    return as_object(receipt.get("dct:publisher")).get("@id")


KIND: Final = DocumentKind("consent-receipt+jws", "application/ld+json", _made, _publisher)
