"""What a bank verifies in a report's PDF before it uses a figure of it.

`verify()` needs nothing but the file and what its caller trusts: the Directory's signing root, and the URL of the trust
framework. Each check has a name, with which a file that fails it is refused. The text of the pages is the text that
programs extract. A maker that signs a font which draws other characters, or paints over the text, is not detected, so use the
data and not the pages.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeVar

import orjson
from asn1crypto import parser
from cryptography import x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation.generic_cms import validate_sig_integrity
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.status import SignatureCoverageLevel
from pypdf import PdfReader
from pypdf.generic import DictionaryObject

from consent_server.documents import data, pdf, shape, timestamps, words
from consent_server.documents.data import ReportData, TimestampState
from consent_server.documents.timestamps import Stamp
from consent_server.pki import crl, member_certificate
from consent_server.pki.chain import UntrustedChain, build_chain
from consent_server.pki.member_certificate import MalformedCertificate, MemberCertificate
from consent_server.scheme import instant, pcaf, roles
from consent_server.scheme.provenance import container, steps
from consent_server.scheme.provenance.calculated import chains
from consent_server.scheme.provenance.chain import faults
from consent_server.scheme.provenance.container import CLOCK_SKEW, VerifiedStep
from consent_server.scheme.provenance.duties import ExpectedTransfer, receipt_check
from consent_server.scheme.provenance.step import ProvenanceError

#: Bytes of a file. A year of half-hourly meters with monthly records stays far below it.
LARGEST: Final = 20 * 1024 * 1024
MOST_PAGES: Final = 200
_ENCRYPTED: Final = "a report is not encrypted"
_TRUST_FRAMEWORK_PATH: Final = "/trust-framework"
_T = TypeVar("_T")


class ReportFault(NamedTuple):
    """What does not hold of a file: the name of the check, and why."""

    check: str
    why: str


class NotGenuine(ValueError):
    """A file that is not a report as its maker signed it. `faults` says what does not hold, each check once."""

    def __init__(self, *faults: ReportFault) -> None:
        super().__init__("; ".join(f"{check}: {why}" for check, why in faults))
        self.faults = faults


@dataclass(frozen=True)
class Trusted:
    """What a bank verifies against. `lists` are revocation lists of the Directory, in DER or PEM; `recipient` is the bank's
    own member URL, None to accept a report to any bank; `account` is the account that the record of the business's permission
    names (Permission Records), None to accept a report under any permission; a timestamp must lead to one of
    `timestamp_roots`, if there are any."""

    root: x509.Certificate
    trust_framework: str
    lists: Sequence[bytes] = ()
    recipient: str | None = None
    account: str | None = None
    timestamp_roots: Sequence[x509.Certificate] = ()

    @property
    def registry(self) -> str:
        return self.trust_framework.removesuffix(_TRUST_FRAMEWORK_PATH)


@dataclass(frozen=True)
class VerifiedReport:
    """A report that holds: its data, the member and application that signed it, and when. `steps` is how many steps its record
    has; `revocation_known` tells whether each certificate of the signer's chain was looked up in a list of its issuer.

    `stamped_at` is when an authority for time had seen the signature, None without a timestamp; `stamp_trusted` tells
    whether its chain led to a root of those that are trusted for it."""

    data: ReportData
    member: str
    application: str
    signed_at: int
    steps: int
    revocation_known: bool
    stamped_at: int | None
    stamp_trusted: bool


def verify(file: bytes, trusted: Trusted, at: int) -> VerifiedReport:
    """Return the report that a PDF is, at the instant `at`. Raise NotGenuine, and nothing else.

    Signature, contents, record and pages are judged one by one, so that each that does not hold is named. Use
    `bounded.verify_apart()` for a file of a stranger's: this one is bounded in what it reads, not in time or memory.
    """
    if len(file) > LARGEST:
        raise _not("size", f"more than {LARGEST} bytes")
    judged = _Judged()
    made = judged.by(lambda: _signed(file, trusted, at), "signature")
    said = judged.by(lambda: _contents(file, trusted), "file")
    found = judged.by(lambda: _steps(said.record, trusted), "record") if said is not None else None
    if made is not None and said is not None:
        judged.by(lambda: _agree(made, said, found, trusted), "record")
    if said is not None and found is not None:
        judged.by(lambda: _require_printed(said.reader, said.data, found), "page")
    if judged.faults or made is None or said is None or found is None:
        raise NotGenuine(*judged.faults.values())
    leaf, stamp = made.leaf, made.stamp
    return VerifiedReport(
        said.data,
        leaf.member,
        leaf.application,
        made.at,
        len(found),
        made.revocation_known,
        stamp.at if stamp else None,
        bool(stamp and stamp.is_trusted),
    )


class _Judged:
    """The faults that were found, the first of each check."""

    def __init__(self) -> None:
        self.faults: dict[str, ReportFault] = {}

    def by(self, look: Callable[[], _T], otherwise: str) -> _T | None:
        """Return what a look at the file finds, None where something does not hold. `otherwise` is the check that does not
        hold when a library fails on a hostile file."""
        try:
            with _named(otherwise, "cannot be read"):
                return look()
        except NotGenuine as error:
            for each in error.faults:
                self.faults.setdefault(each.check, each)
            return None


def _not(check: str, why: str) -> NotGenuine:
    return NotGenuine(ReportFault(check, why))


class _named:
    """Turns whatever the libraries raise on a hostile file into a refusal with the name of a check."""

    def __init__(self, check: str, why: str) -> None:
        self._check, self._why = check, why

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> Literal[False]:
        if isinstance(error, Exception) and not isinstance(error, NotGenuine | timestamps.NotStamped):
            raise _not(self._check, f"{self._why} ({type(error).__name__})") from error
        return False


class _Made(NamedTuple):
    """Who signed, and when; whether each certificate of the chain was looked up in a list; and the timestamp, if any."""

    leaf: MemberCertificate
    at: int
    revocation_known: bool
    stamp: Stamp | None


class _Contents(NamedTuple):
    """What is in the file."""

    reader: PdfReader
    data: ReportData
    record: bytes


# The signature


def _signed(file: bytes, trusted: Trusted, at: int) -> _Made:
    with _named("file", "cannot be read"):
        signature = _signature(file)
    signed_at = _covers(file, signature)
    leaf, chain = _signer(signature, trusted, signed_at, at)
    known = _not_revoked(chain, trusted, signed_at, at)
    try:
        with _named("timestamp", "cannot be read"):
            stamp = timestamps.of_signature(signature.signer_info, trusted.timestamp_roots, signed_at)
    except timestamps.NotStamped as error:
        raise _not("timestamp", str(error)) from None
    return _Made(leaf, signed_at, known, stamp)


def _signature(file: bytes) -> EmbeddedPdfSignature:
    reader = PdfFileReader(io.BytesIO(file), strict=True)
    if reader.encrypted:
        raise _not("encryption", _ENCRYPTED)
    found: list[EmbeddedPdfSignature] = reader.embedded_signatures
    if len(found) != 1 or found[0].sig_object_type != "/Sig":
        raise _not("signature", "a report has exactly one")
    return found[0]


def _covers(file: bytes, signature: EmbeddedPdfSignature) -> int:
    """Return the instant at which the signer says to have signed; the signature is whole, and covers the whole file."""
    if signature.evaluate_signature_coverage() != SignatureCoverageLevel.ENTIRE_FILE:
        raise _not("coverage", "something was added after the signature")
    _, first, second, rest = (int(each) for each in signature.byte_range)
    between = file[first:second]
    # ISO 32000-1, 12.8.1: what is not signed is the signature itself and nothing else
    if first + len(between) != second or second + rest != len(file) or between[:1] + between[-1:] != b"<>":
        raise _not("coverage", "the signature leaves a part of the file out")
    held = bytes.fromhex(between[1:-1].decode("ascii"))
    # Its place is larger than the signature, and nobody has signed what is behind it there.
    if held != bytes(signature.pkcs7_content) or any(held[parser.peek(held) :]):
        raise _not("coverage", "the signature leaves a part of the file out")
    if signature.md_algorithm not in ("sha256", "sha384", "sha512"):
        raise _not("signature", "its digest is not SHA-2")
    intact, valid = validate_sig_integrity(
        signature.signer_info, signature.signer_cert, "data", signature.compute_digest()
    )
    if not intact:
        raise _not("signature", "the file is not as it was signed")
    if not valid:
        raise _not("signature", "it is not its signer's")
    said = signature.self_reported_timestamp
    if said is None or said.tzinfo is None:
        raise _not("signature", "does not say when it was made")
    return int(said.timestamp())


def _signer(
    signature: EmbeddedPdfSignature, trusted: Trusted, signed_at: int, at: int
) -> tuple[MemberCertificate, tuple[x509.Certificate, ...]]:
    """Return the signer, and the chain that led to the root when the signature was made."""
    if signed_at > at + CLOCK_SKEW:
        raise _not("signature", "made in the future")
    der = signature.signer_cert.dump()
    others = [each.dump() for each in signature.other_embedded_certs]
    try:
        chain = build_chain(der, others, trusted.root, signed_at)
        return member_certificate.parse(der), chain
    except (UntrustedChain, MalformedCertificate) as error:
        raise _not("certificate", str(error)) from None


def _not_revoked(chain: tuple[x509.Certificate, ...], trusted: Trusted, signed_at: int, at: int) -> bool:
    """Return whether every certificate of the chain was looked up in a list of its issuer. None may be revoked today: when a
    key was lost is seldom known, and a signature may be dated back."""
    issuers = list(chain[1:-1])
    try:
        lists = [crl.read_revocation_list(each, issuers, trusted.root, at) for each in trusted.lists]
    except crl.NotTrusted as error:
        raise _not("revocation", f"a list cannot be trusted: {error}") from None
    serials = crl.issued_serials(chain)
    for issued in serials:
        if any(each.covers(issued) and issued.serial in each.serials for each in lists):
            raise _not("revocation", "a certificate of the signer's chain is revoked")
    return all(
        any(each.covers(issued) and each.issued >= signed_at and each.next_update > at for each in lists)
        for issued in serials
    )


# What is in the file


def _contents(file: bytes, trusted: Trusted) -> _Contents:
    reader = PdfReader(io.BytesIO(file), strict=True)
    if reader.is_encrypted:
        raise _not("encryption", _ENCRYPTED)
    if len(reader.pages) > MOST_PAGES:
        raise _not("size", f"more than {MOST_PAGES} pages")
    try:
        misfit = next(shape.misfits(reader), None)
    except shape.TooManyObjects as error:
        raise _not("size", str(error)) from None
    if misfit is not None:
        raise _not(*misfit)
    if not shape.is_read_alike(reader, PdfFileReader(io.BytesIO(file), strict=True)):
        raise _not("file", "some programs read other objects of it than others")
    figures, record, table = _attachments(reader)
    with _named("data", f"{words.DATA_FILE} is not the data of a report"):
        return _Contents(reader, _data(figures, table, trusted), record)


def _attachments(reader: PdfReader) -> tuple[bytes, bytes, bytes]:
    """Return data, record and table, as they are attached."""
    files = [(each.name, each.content) for each in reader.attachment_list]
    expected = [words.DATA_FILE, words.RECORD_FILE, words.TABLE_FILE]
    if sorted(name for name, _ in files) != sorted(expected):
        raise _not("attachments", f"must be {', '.join(expected)}")
    by_name = dict(files)
    figures, record, table = (by_name[name] for name in expected)
    return figures, record, table


def _data(figures: bytes, table: bytes, trusted: Trusted) -> ReportData:
    report = data.read(figures)
    contradictions = list(data.faults(report))
    if contradictions:
        raise _not("data", contradictions[0])
    if data.as_csv(report) != table:
        raise _not("data", f"{words.TABLE_FILE} has other figures than {words.DATA_FILE}")
    instant.parse(report.at)
    if trusted.recipient is not None and report.to.url != trusted.recipient:
        raise _not("recipient", "the report is made out to another bank")
    if trusted.account is not None and report.permission.account != trusted.account:
        # A business is named as it names itself: another's report may have its name on it.
        raise _not("permission", "the report is made under another permission")
    return report


# The record


def _steps(record: bytes, trusted: Trusted) -> list[VerifiedStep]:
    """Return the steps of the record, each of which holds by itself."""
    try:
        found = container.verify(_loaded(record), trusted.trust_framework, trusted.root)
        wrong = faults(found)
    except ProvenanceError as error:
        raise _not("record", str(error)) from None
    if wrong:
        raise _not("record", wrong[0])
    return found


def _agree(made: _Made, said: _Contents, found: list[VerifiedStep] | None, trusted: Trusted) -> None:
    """Require signer, data and record to be of one report; the record fulfils a receiver's duties."""
    report, leaf = said.data, made.leaf
    if (report.by.url, report.by.application) != (leaf.member, leaf.application):
        raise _not("signer", "the file is signed by another than it says that it is by")
    at = instant.parse(report.at)
    if not at - CLOCK_SKEW <= made.at <= at + instant.DAY:
        raise _not("signature", "made at another time than the report")
    without = (TimestampState.NONE, TimestampState.MISSING)
    if report.timestamp.state not in ((TimestampState.GIVEN,) if made.stamp else without):
        raise _not("timestamp", "the report says otherwise of it than the signature")
    if found is None:
        return
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
        at=made.at,
    )
    try:
        _require_path(found, receipt_check(found, expected), report, trusted.registry)
    except ProvenanceError as error:
        raise _not("record", str(error)) from None
    for told, stated in _statements(found, report, trusted.registry):
        if told != stated:
            raise _not("record", "is that of another report")


def _require_path(
    found: Sequence[VerifiedStep], transfers: Sequence[VerifiedStep], report: ReportData, registry: str
) -> None:
    """Require the figures to come from meters, by an energy data provider and a permitted calculation, and the scores to be
    those of such figures. Raise ProvenanceError."""
    by_fuel = chains(
        transfers,
        {step["id"]: step for step in found},
        registry=registry,
        provider=report.by.url,
        edp_roles=[roles.url(registry, roles.EDP)],
        consumption_standard=steps.consumption_standard(registry),
    )
    if {each.fuel for each in report.totals} != by_fuel.keys():
        raise ProvenanceError("transfer: one for the calculation of each fuel, and no other")
    for month in report.months:
        by_fuel[month.fuel].require_cover(month.fuel, instant.parse(month.start), instant.parse(month.end))
    scores = {each.fuel: each.score for each in report.quality if each.fuel}
    if scores != {fuel: pcaf.of_fuel(fuel, chain.missing_data).score for fuel, chain in by_fuel.items()}:
        raise ProvenanceError("assurance: another data-quality score follows from what it says")


def _loaded(record: bytes) -> object:
    try:
        found = orjson.loads(record)
    except orjson.JSONDecodeError:
        raise ProvenanceError("is not JSON") from None
    if pdf.record_as_json(found).encode() != record:  # a member that is there twice is another one to some programs
        raise ProvenanceError("is not spelled as it is handed over")
    return found


def _statements(found: Sequence[VerifiedStep], report: ReportData, registry: str) -> Iterator[tuple[object, object]]:
    """Yield what the record says beside what the report says."""
    own = [step for step in found if not step["_signature"]["includedBy"]]
    made = [step["process"] for step in own if step["type"] == "process"]
    yield made, [steps.process_url(registry, each.fuel) for each in report.totals]
    yield (
        [
            (s["perseus:scheme"].get("postcode", ""), s["origin"], _period(s), steps.worst_missing_data([s]))
            for s in own
            if s["type"] == "origin"
        ],
        [
            (e.site, e.source, (e.start, e.end), steps.SUBSTITUTED if e.stands_in else steps.COMPLETE)
            for e in report.factors
        ],
    )
    permission = [(s["account"], s["timestamp"], s["expires"]) for s in own if s["type"] == "permission"]
    given = report.permission
    if (
        permission
    ):  # under the combined license there are only those of energy data providers, and they allow the transfer
        yield permission, [(given.account, given.granted, given.expires)]


def _period(origin: VerifiedStep) -> tuple[object, object]:
    period = origin["perseus:scheme"]["meteringPeriod"]
    return period["from"], period["to"]


def _require_no_notes(reader: PdfReader) -> None:
    """Refuse annotations, which are seen on a page and are no text of it, but for that of a signature that is not seen."""
    for page in reader.pages:
        for each in page.get("/Annots") or ():
            if not _is_unseen_signature(each.get_object()):
                raise _not("page", "something lies on it")


def _is_unseen_signature(note: DictionaryObject) -> bool:
    place: Any = note["/Rect"]
    left, lower, right, upper = place
    is_signature = (note.get("/Subtype"), note.get("/FT")) == ("/Widget", "/Sig")
    return is_signature and "/AP" not in note and (left, lower) == (right, upper)


def _require_printed(reader: PdfReader, report: ReportData, found: Sequence[VerifiedStep]) -> None:
    """Require the text of the pages to be that which the data and the record make, nothing less and nothing more."""
    _require_no_notes(reader)
    document = words.document(report, found)
    expected = _close("".join(pdf.printed(document)))
    foot = pdf.foot(document)
    contents, count = shape.Contents(), len(reader.pages)
    read = []
    for number, page in enumerate(reader.pages, 1):
        text = _close(page.extract_text(visitor_operand_before=contents))
        end = _close(f"{foot}Page {number} of {count}")
        if not text.endswith(end):
            raise _not("page", f"the foot of page {number} is another one")
        read.append(text.removesuffix(end))
    misfit = contents.misfit or next(shape.other_words(reader, document, contents), None)
    if misfit is not None:
        raise _not(*misfit)
    if "".join(read) != expected:
        raise _not("page", "what is printed is not what the data say")


def _close(text: str) -> str:
    """Return text without white space, which extraction cannot tell."""
    return "".join(text.split())
