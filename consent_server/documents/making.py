"""Making a report for a bank in a separate process (documents/apart.py), since it takes processor time that requests need.

The key stays in this process. The other one makes the file, and asks for the one signature.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.documents import apart, words
from consent_server.documents.data import ReportData, TimestampState, as_json, read
from consent_server.pki.member_certificate import load_certificates
from consent_server.scheme import instant
from consent_server.scheme.provenance import container
from consent_server.scheme.provenance.container import SignedRecord

if TYPE_CHECKING:
    from consent_server.documents.signing import FileSigner

#: What serves requests comes first.
_NICE: Final = 5


@dataclass(frozen=True)
class GivenReport:
    """A report and its record, and what the record is verified with, as any receiver will."""

    data: ReportData
    record: SignedRecord
    root: x509.Certificate
    trust_framework: str


def pdf_of(
    given: GivenReport, signer: "FileSigner", stamp: Callable[[bytes], bytes], roots: Sequence[x509.Certificate] = ()
) -> bytes:
    """Return the PDF of a report, signed. Raise OutOfBounds: when that takes too much, or when the record does not hold.

    Where the data say that a timestamp is asked for, `stamp` returns the authority's response to a request, empty where it
    has none; it holds when its chain leads to one of `roots`. The PDF says what came of it.
    """
    by = {"member": signer.member, "chain": [b64encode(each).decode() for each in signer.chain]}
    question = {**_question(given), "signer": by, "roots": [_pem(each) for each in roots]}
    return b64decode(apart.run(__name__, question, {"sign": signer.sign, "stamp": stamp}))


def page_of(given: GivenReport) -> dict[str, Any]:
    """Return the words of a report, which are those of its PDF, as `words.as_json()` has them. Raise OutOfBounds."""
    found: dict[str, Any] = apart.run(__name__, {**_question(given), "signer": None})
    return found


def _question(given: GivenReport) -> dict[str, Any]:
    return {
        "data": as_json(given.data).decode(),
        "record": given.record,
        "root": _pem(given.root),
        "trust_framework": given.trust_framework,
    }


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


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
    from consent_server.documents import pdf, signing, timestamps  # which nobody else needs, and which take their time

    signer, at = _SignerElsewhere(question["signer"], ask), instant.parse(data.at)

    def signed(state: TimestampState, stamper: timestamps.Stamper | None = None) -> str:
        said = data.model_copy(update={"timestamp": data.timestamp.model_copy(update={"state": state})})
        return b64encode(signing.signed(pdf.unsigned(said, record, steps), signer, at, stamper)).decode()

    if data.timestamp.state is TimestampState.NONE:
        return signed(TimestampState.NONE)
    roots = [load_certificates(each.encode())[0] for each in question["roots"]]
    try:
        return signed(TimestampState.GIVEN, timestamps.Stamper(partial(ask, "stamp"), roots, at))
    except timestamps.NotStamped:
        return signed(TimestampState.MISSING)


if __name__ == "__main__":
    apart.work(_made, nice=_NICE)
