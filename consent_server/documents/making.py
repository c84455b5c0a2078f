"""A report that is handed over, made in a process of its own (documents/apart.py): it takes processor time that others need.

The key stays here. The process makes the file, and asks for the one signature.
"""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.documents import apart, words
from consent_server.documents.data import ReportData, as_json, read
from consent_server.pki.member_certificate import load_certificates
from consent_server.scheme import instant
from consent_server.scheme.provenance import container
from consent_server.scheme.provenance.container import SignedRecord

if TYPE_CHECKING:
    from consent_server.documents.signing import FileSigner

#: What serves requests comes first.
_NICE: Final = 10


@dataclass(frozen=True)
class GivenReport:
    """A report and its record, and what the record is verified with, as any receiver will."""

    data: ReportData
    record: SignedRecord
    root: x509.Certificate
    trust_framework: str


def pdf_of(given: GivenReport, signer: "FileSigner") -> bytes:
    """Return the PDF of a report, signed. Raise OutOfBounds: when that takes too much, or when the record does not hold."""
    by = {"member": signer.member, "chain": [b64encode(each).decode() for each in signer.chain]}
    return b64decode(apart.run(__name__, {**_question(given), "signer": by}, {"sign": signer.sign}))


def page_of(given: GivenReport) -> dict[str, Any]:
    """Return the words of a report, which are those of its PDF, as `words.as_json()` has them. Raise OutOfBounds."""
    found: dict[str, Any] = apart.run(__name__, {**_question(given), "signer": None})
    return found


def _question(given: GivenReport) -> dict[str, Any]:
    return {
        "data": as_json(given.data).decode(),
        "record": given.record,
        "root": given.root.public_bytes(Encoding.PEM).decode(),
        "trust_framework": given.trust_framework,
    }


class _SignerElsewhere:
    """Signs by asking whoever has the key."""

    def __init__(self, signer: dict[str, Any], ask: apart.Ask) -> None:
        self.member: str = signer["member"]
        self.chain = tuple(b64decode(each) for each in signer["chain"])
        self._ask = ask

    def sign(self, data: bytes) -> bytes:
        return self._ask("sign", data)


def _made(question: dict[str, Any], ask: apart.Ask) -> object:
    data, record = read(question["data"].encode()), question["record"]
    # What does not hold is not handed over.
    steps = container.verify(record, question["trust_framework"], load_certificates(question["root"].encode())[0])
    if question["signer"] is None:
        return words.as_json(words.document(data, steps))
    from consent_server.documents import pdf, signing  # which nobody else needs, and which take their time

    signer = _SignerElsewhere(question["signer"], ask)
    return b64encode(signing.signed(pdf.unsigned(data, record, steps), signer, instant.parse(data.at))).decode()


if __name__ == "__main__":
    apart.work(_made, nice=_NICE)
