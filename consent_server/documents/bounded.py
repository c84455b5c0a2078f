"""Verification of an untrusted file in a separate process (documents/apart.py)."""

from base64 import b64decode, b64encode
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.documents import apart
from consent_server.documents.data import as_json, read
from consent_server.documents.verify import LARGEST, NotGenuine, ReportFault, Trusted, VerifiedReport, verify
from consent_server.pki.member_certificate import load_certificates


def verify_apart(file: bytes, trusted: Trusted, at: int) -> VerifiedReport:
    """Return the report that a PDF is, as `verify()` does, of whatever size. Raise NotGenuine."""
    if len(file) > LARGEST:
        raise NotGenuine(ReportFault("size", f"more than {LARGEST} bytes"))
    question = {
        "file": b64encode(file).decode(),
        "root": trusted.root.public_bytes(Encoding.PEM).decode(),
        "trust_framework": trusted.trust_framework,
        "lists": [b64encode(each).decode() for each in trusted.lists],
        "recipient": trusted.recipient,
        "account": trusted.account,
        "timestamp_roots": [each.public_bytes(Encoding.PEM).decode() for each in trusted.timestamp_roots],
        "at": at,
    }
    try:
        answer: dict[str, Any] = apart.run(__name__, question)
    except apart.OutOfBounds as error:
        raise NotGenuine(ReportFault("time", f"verification takes {error}")) from None
    if "faults" in answer:
        raise NotGenuine(*(ReportFault(*each) for each in answer["faults"]))
    return VerifiedReport(**answer | {"data": read(answer["data"].encode())})


def _answer(question: dict[str, Any], _: apart.Ask) -> dict[str, Any]:
    trusted = Trusted(
        root=load_certificates(question["root"].encode())[0],
        trust_framework=question["trust_framework"],
        lists=[b64decode(each) for each in question["lists"]],
        recipient=question["recipient"],
        account=question["account"],
        timestamp_roots=[load_certificates(each.encode())[0] for each in question["timestamp_roots"]],
    )
    try:
        found = verify(b64decode(question["file"]), trusted, question["at"])
    except NotGenuine as error:
        return {"faults": [[*each] for each in error.faults]}
    return {**vars(found), "data": as_json(found.data).decode()}


if __name__ == "__main__":
    apart.work(_answer)
