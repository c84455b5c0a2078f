"""What a bank verifies in a report's PDF before it uses a figure of it.

`verify()` needs nothing but the file and what its caller trusts: the Directory's signing root, and the URL of the trust
framework. Each check has a name, and a file that does not hold is refused with it. The text of the pages is the text that
programs extract; a maker that signs a font which draws other characters than it says, or paints over the text, is
not found out, so the data count.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from cryptography import x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation.generic_cms import validate_sig_integrity
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.status import SignatureCoverageLevel
from pypdf import PdfReader
from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, NameObject

from consent_server.documents import data, pdf, words
from consent_server.documents.data import ReportData
from consent_server.pki import crl, member_certificate
from consent_server.pki.chain import UntrustedChain, build_chain
from consent_server.pki.member_certificate import MalformedCertificate, MemberCertificate
from consent_server.scheme import instant, roles
from consent_server.scheme.provenance import container, steps
from consent_server.scheme.provenance.chain import faults
from consent_server.scheme.provenance.container import CLOCK_SKEW, ProvenanceError, VerifiedStep
from consent_server.scheme.provenance.duties import ExpectedTransfer, receipt_check

#: Bytes of a file. A year of half-hourly meters with monthly records stays far below it.
LARGEST: Final = 20 * 1024 * 1024
MOST_OBJECTS: Final = 50_000
MOST_PAGES: Final = 200
#: Entries and types of action by which a PDF does something (ISO 32000-1, 12.6). No report has any.
_ACTIVE: Final = frozenset(
    {
        "/JS",
        "/JavaScript",
        "/OpenAction",
        "/AA",
        "/XFA",
        "/Launch",
        "/SubmitForm",
        "/ImportData",
        "/GoToR",
        "/GoToE",
        "/URI",
    }
)
_IMAGE: Final = "an image is on it, and nobody can verify what that says"
_TRUST_FRAMEWORK_PATH: Final = "/trust-framework"


class NotGenuine(ValueError):
    """A file that is not a report as its maker signed it. `check` is the name of what does not hold."""

    def __init__(self, check: str, why: str) -> None:
        super().__init__(f"{check}: {why}")
        self.check, self.why = check, why


@dataclass(frozen=True)
class Trusted:
    """What a bank verifies against. `lists` are revocation lists of the Directory, in DER or PEM; `recipient` is the bank's
    own member URL, None to accept a report to any bank."""

    root: x509.Certificate
    trust_framework: str
    lists: Sequence[bytes] = ()
    recipient: str | None = None

    @property
    def registry(self) -> str:
        return self.trust_framework.removesuffix(_TRUST_FRAMEWORK_PATH)


@dataclass(frozen=True)
class VerifiedReport:
    """A report that holds: its data, the member and application that signed it, and when. `steps` is how many steps its record
    has; `revocation_known` tells whether each certificate of the signer's chain was looked up in a list of its issuer."""

    data: ReportData
    member: str
    application: str
    signed_at: int
    steps: int
    revocation_known: bool


def verify(file: bytes, trusted: Trusted, at: int) -> VerifiedReport:
    """Return the report that a PDF is, at the instant `at`. Raise NotGenuine, and nothing else.

    Use `bounded.verify_apart()` for a file of a stranger's: this one is bounded in what it reads, not in time or memory.
    """
    if len(file) > LARGEST:
        raise NotGenuine("size", f"more than {LARGEST} bytes")
    with _named("file", "cannot be read"):
        signature = _signature(file)
    with _named("signature", "cannot be read"):
        signed_at = _covers(file, signature)
        leaf, chain = _signer(signature, trusted, signed_at, at)
        known = _not_revoked(chain, trusted, signed_at, at)
    with _named("file", "cannot be read"):
        reader = PdfReader(io.BytesIO(file), strict=True)
        _require_quiet(reader)
        if len(reader.pages) > MOST_PAGES:
            raise NotGenuine("size", f"more than {MOST_PAGES} pages")
        told, record, table = _attachments(reader)
    with _named("data", f"{words.DATA_FILE} is not the data of a report"):
        report = _data(told, table, leaf, signed_at, trusted)
    with _named("record", "cannot be read"):
        verified = _record(record, report, leaf, trusted, signed_at)
    with _named("page", "cannot be read"):
        _require_no_notes(reader)
        _require_printed(reader, report, verified)
    return VerifiedReport(report, leaf.member, leaf.application, signed_at, len(verified), known)


class _named:
    """Turns whatever the libraries raise on a hostile file into a refusal with the name of a check."""

    def __init__(self, check: str, why: str) -> None:
        self._check, self._why = check, why

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, NotGenuine):
            raise NotGenuine(self._check, f"{self._why} ({type(error).__name__})") from error


# The signature


def _signature(file: bytes) -> EmbeddedPdfSignature:
    reader = PdfFileReader(io.BytesIO(file), strict=True)
    if reader.encrypted:
        raise NotGenuine("encryption", "a report is not encrypted")
    found: list[EmbeddedPdfSignature] = reader.embedded_signatures
    if len(found) != 1 or found[0].sig_object_type != "/Sig":
        raise NotGenuine("signature", "a report has exactly one")
    return found[0]


def _covers(file: bytes, signature: EmbeddedPdfSignature) -> int:
    """Return the instant at which the signer says to have signed; the signature is whole, and covers the whole file."""
    if signature.evaluate_signature_coverage() != SignatureCoverageLevel.ENTIRE_FILE:
        raise NotGenuine("coverage", "something was added after the signature")
    _, first, second, rest = (int(each) for each in signature.byte_range)
    between = file[first:second]
    # ISO 32000-1, 12.8.1: what is not signed is the signature itself and nothing else
    if first + len(between) != second or second + rest != len(file) or between[:1] + between[-1:] != b"<>":
        raise NotGenuine("coverage", "the signature leaves a part of the file out")
    if bytes.fromhex(between[1:-1].decode("ascii")) != bytes(signature.pkcs7_content):
        raise NotGenuine("coverage", "the signature leaves a part of the file out")
    if signature.md_algorithm not in ("sha256", "sha384", "sha512"):
        raise NotGenuine("signature", "its digest is not SHA-2")
    intact, valid = validate_sig_integrity(
        signature.signer_info, signature.signer_cert, "data", signature.compute_digest()
    )
    if not intact:
        raise NotGenuine("signature", "the file is not as it was signed")
    if not valid:
        raise NotGenuine("signature", "it is not its signer's")
    said = signature.self_reported_timestamp
    if said is None or said.tzinfo is None:
        raise NotGenuine("signature", "does not say when it was made")
    return int(said.timestamp())


def _signer(
    signature: EmbeddedPdfSignature, trusted: Trusted, signed_at: int, at: int
) -> tuple[MemberCertificate, tuple[x509.Certificate, ...]]:
    """Return the signer, and the chain that led to the root when the signature was made."""
    if signed_at > at + CLOCK_SKEW:
        raise NotGenuine("signature", "made in the future")
    der = signature.signer_cert.dump()
    others = [each.dump() for each in signature.other_embedded_certs]
    try:
        chain = build_chain(der, others, trusted.root, signed_at)
        return member_certificate.parse(der), chain
    except (UntrustedChain, MalformedCertificate) as error:
        raise NotGenuine("certificate", str(error)) from None


def _not_revoked(chain: tuple[x509.Certificate, ...], trusted: Trusted, signed_at: int, at: int) -> bool:
    """Return whether every certificate of the chain was looked up in a list of its issuer. None may be revoked today: when a
    key was lost is seldom known, and a signature may be dated back."""
    issuers = list(chain[1:-1])
    try:
        lists = [crl.read_revocation_list(each, issuers, trusted.root, at) for each in trusted.lists]
    except crl.NotTrusted as error:
        raise NotGenuine("revocation", f"a list cannot be trusted: {error}") from None
    serials = crl.issued_serials(chain)
    for issued in serials:
        if any(each.speaks_of(issued) and issued.serial in each.serials for each in lists):
            raise NotGenuine("revocation", "a certificate of the signer's chain is revoked")
    return all(
        any(each.speaks_of(issued) and each.issued >= signed_at and each.next_update > at for each in lists)
        for issued in serials
    )


# What is in the file


def _require_quiet(reader: PdfReader) -> None:
    """Refuse a file that does something when it is opened (a script, a form, a program), and one with images."""
    seen: set[int] = set()
    waiting: list[Any] = [reader.trailer]
    count = 0
    while waiting:
        each = waiting.pop()
        count += 1
        if count > 20 * MOST_OBJECTS or len(seen) > MOST_OBJECTS:
            raise NotGenuine("size", "too many objects")
        if isinstance(each, IndirectObject):
            if each.idnum not in seen:
                seen.add(each.idnum)
                waiting.append(each.get_object())
        elif isinstance(each, DictionaryObject):
            if not _ACTIVE.isdisjoint(each) or any(isinstance(v, NameObject) and v in _ACTIVE for v in each.values()):
                raise NotGenuine("active content", "a report does nothing when it is opened")
            if each.get("/Subtype") == "/Image":
                raise NotGenuine("page", _IMAGE)
            waiting.extend(dict.values(each))
        elif isinstance(each, ArrayObject):
            waiting.extend(list.__iter__(each))


def _attachments(reader: PdfReader) -> tuple[bytes, bytes, bytes]:
    """Return data, record and table, as they are attached."""
    files = [(each.name, each.content) for each in reader.attachment_list]
    expected = [words.DATA_FILE, words.RECORD_FILE, words.TABLE_FILE]
    if sorted(name for name, _ in files) != sorted(expected):
        raise NotGenuine("attachments", f"must be {', '.join(expected)}")
    by_name = dict(files)
    told, record, table = (by_name[name] for name in expected)
    return told, record, table


def _data(told: bytes, table: bytes, leaf: MemberCertificate, signed_at: int, trusted: Trusted) -> ReportData:
    report = data.read(told)
    contradictions = list(data.faults(report))
    if contradictions:
        raise NotGenuine("data", contradictions[0])
    if data.as_csv(report) != table:
        raise NotGenuine("data", f"{words.TABLE_FILE} has other figures than {words.DATA_FILE}")
    if (report.by.url, report.by.application) != (leaf.member, leaf.application):
        raise NotGenuine("signer", "the file is signed by another than it says that it is by")
    if trusted.recipient is not None and report.to.url != trusted.recipient:
        raise NotGenuine("recipient", "the report is made out to another bank")
    made = instant.parse(report.at)
    if not made - CLOCK_SKEW <= signed_at <= made + instant.DAY:
        raise NotGenuine("signature", "made at another time than the report")
    return report


def _record(
    record: bytes, report: ReportData, leaf: MemberCertificate, trusted: Trusted, signed_at: int
) -> list[VerifiedStep]:
    """Return the steps of the record, which fulfils a receiver's duties and is that of this report."""
    expected = ExpectedTransfer(
        recipients={report.to.url},
        signer_member=leaf.member,
        signer_application=leaf.application,
        signer_role=roles.url(trusted.registry, roles.CAP),
        scheme=steps.scheme_url(trusted.registry),
        standard=steps.emissions_standard(trusted.registry),
        license=report.permission.license,
        service=report.by.service,
        path=steps.EMISSIONS_PATH,
        parameters={"from": report.start, "to": report.end},
        at=signed_at,
    )
    try:
        found = container.verify(_loaded(record), trusted.trust_framework, trusted.root)
        receipt_check(found, expected)
        wrong = faults(found)
    except ProvenanceError as error:
        raise NotGenuine("record", str(error)) from None
    if wrong:
        raise NotGenuine("record", wrong[0])
    for said, stated in _statements(found, report, trusted.registry):
        if said != stated:
            raise NotGenuine("record", "is that of another report")
    return found


def _loaded(record: bytes) -> object:
    try:
        return orjson.loads(record)
    except orjson.JSONDecodeError:
        raise ProvenanceError("is not JSON") from None


def _statements(found: Sequence[VerifiedStep], report: ReportData, registry: str) -> Iterator[tuple[object, object]]:
    """Yield what the record says beside what the report says."""
    own = [step for step in found if not step["_signature"]["includedBy"]]
    made = [step["process"] for step in own if step["type"] == "process"]
    yield made, [steps.process_url(registry, each.fuel) for each in report.totals]
    yield (
        [(s["perseus:scheme"].get("postcode", ""), s["origin"], _period(s)) for s in own if s["type"] == "origin"],
        [(each.site, each.source, (each.start, each.end)) for each in report.factors],
    )
    permission = [(s["account"], s["timestamp"], s["expires"]) for s in own if s["type"] == "permission"]
    given = report.permission
    yield permission, [(given.account, given.granted, given.expires)]


def _period(origin: VerifiedStep) -> tuple[object, object]:
    period = origin["perseus:scheme"]["meteringPeriod"]
    return period["from"], period["to"]


def _require_no_notes(reader: PdfReader) -> None:
    """Refuse annotations, which are seen on a page and are no text of it, but for that of a signature that is not seen."""
    for page in reader.pages:
        for each in page.get("/Annots") or ():
            if not _is_unseen_signature(each.get_object()):
                raise NotGenuine("page", "something lies on it")


def _is_unseen_signature(note: DictionaryObject) -> bool:
    place: Any = note["/Rect"]
    left, lower, right, upper = place
    is_signature = (note.get("/Subtype"), note.get("/FT")) == ("/Widget", "/Sig")
    return is_signature and "/AP" not in note and (left, lower) == (right, upper)


def _require_printed(reader: PdfReader, report: ReportData, found: Sequence[VerifiedStep]) -> None:
    """Require the text of the pages to be that which the data and the record make, nothing less and nothing more."""
    document = words.document(report, found)
    expected = _close("".join(pdf.printed(document)))
    foot = pdf.foot(document)
    count = len(reader.pages)
    read = []
    for number, page in enumerate(reader.pages, 1):
        text = _close(page.extract_text(visitor_operand_before=_no_inline_image))
        end = _close(f"{foot}Page {number} of {count}")
        if not text.endswith(end):
            raise NotGenuine("page", f"the foot of page {number} is another one")
        read.append(text.removesuffix(end))
    if "".join(read) != expected:
        raise NotGenuine("page", "what is printed is not what the data say")


def _no_inline_image(operator: bytes, *_: object) -> None:
    if operator in (b"INLINE IMAGE", b"BI"):
        raise NotGenuine("page", _IMAGE)


def _close(text: str) -> str:
    """Return text without white space, which extraction cannot tell."""
    return "".join(text.split())
