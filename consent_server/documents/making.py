"""A report's signed PDF, made in a process of its own (documents/apart.py): its pages take processor time that others need.

The key stays here. The process makes the file, and asks for the one signature.
"""

from base64 import b64decode, b64encode
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.documents import apart, pdf, signing
from consent_server.documents.data import ReportData, as_json, read
from consent_server.documents.signing import FileSigner
from consent_server.pki.member_certificate import load_certificates
from consent_server.scheme import instant
from consent_server.scheme.provenance import container
from consent_server.scheme.provenance.container import SignedRecord

#: What serves requests comes first.
_NICE: Final = 10


def made_apart(
    data: ReportData, record: SignedRecord, signer: FileSigner, *, root: x509.Certificate, trust_framework: str
) -> bytes:
    """Return the PDF of a report, signed. Raise OutOfBounds: when that takes too much, or when the record does not hold."""
    question = {
        "data": as_json(data).decode(),
        "record": record,
        "root": root.public_bytes(Encoding.PEM).decode(),
        "trust_framework": trust_framework,
        "member": signer.member,
        "chain": [b64encode(each).decode() for each in signer.chain],
    }
    return b64decode(apart.run(__name__, question, {"sign": signer.sign}))


class _SignerElsewhere:
    """Signs by asking whoever has the key."""

    def __init__(self, question: dict[str, Any], ask: apart.Ask) -> None:
        self.member: str = question["member"]
        self.chain = tuple(b64decode(each) for each in question["chain"])
        self._ask = ask

    def sign(self, data: bytes) -> bytes:
        return self._ask("sign", data)


def _file(question: dict[str, Any], ask: apart.Ask) -> str:
    data, record = read(question["data"].encode()), question["record"]
    root = load_certificates(question["root"].encode())[0]
    # Verified as any receiver will: what does not hold is not handed over.
    steps = container.verify(record, question["trust_framework"], root)
    unsigned = pdf.unsigned(data, record, steps)
    file = signing.signed(unsigned, _SignerElsewhere(question, ask), instant.parse(data.at))
    return b64encode(file).decode()


if __name__ == "__main__":
    apart.work(_file, nice=_NICE)
