"""A report's PDF as a bank verifies it, and what was done to a file that is refused, by the name of what does not hold."""

import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.writer import PageObject
from pyhanko.sign.fields import SigFieldSpec
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    PdfObject,
    RectangleObject,
    StreamObject,
    TextStringObject,
)

from consent_server.documents import apart, bounded, chart, data, making, pdf, signing, verify, words
from consent_server.documents.making import GivenReport
from consent_server.documents.verify import LARGEST, NotGenuine
from consent_server.scheme.provenance import steps
from consent_server.scheme.provenance.container import verify as verify_record
from tests.documents import sample
from tests.documents.sample import NOW, trusted
from tests.scheme.signing import CAP_ROLE, FSP_ROLE, SigningAuthority, member_signer, signing_authority

CAP = member_signer("cap", CAP_ROLE)
BY_A_BANK = signing_authority().signer("cap", FSP_ROLE)


@cache
def good() -> bytes:
    return sample.signed()


def signed_again(change: Callable[[PdfWriter], object]) -> bytes:
    """The report changed and then signed by its maker: only what it says can be wrong."""
    writer = PdfWriter(clone_from=io.BytesIO(sample.plain()))
    change(writer)
    out = io.BytesIO()
    writer.write(out)
    return signing.signed(out.getvalue() + b"\n", CAP, NOW)


def of_another_object(append: Callable[[bytes, int], bytes], text: bytes | None = None) -> bytes:
    """The first page has its contents, or more of them, in an object that some programs do not find."""
    writer = PdfWriter(clone_from=io.BytesIO(sample.unsigned()))
    page, stream = writer.pages[0], StreamObject()
    contents = page.get_contents()
    assert contents is not None
    stream.set_data(contents.get_data() if text is None else text)
    named = writer._add_object(stream)
    page[NameObject("/Contents")] = named if text is None else ArrayObject([page.raw_get("/Contents"), named])
    out = io.BytesIO()
    writer.write(out)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(signing, "IncrementalPdfFileWriter", partial(IncrementalPdfFileWriter, strict=False))
        return signing.signed(append(out.getvalue(), named.idnum) + b"\n", CAP, NOW)


def without(file: bytes, number: int) -> bytes:
    """The table, which has each object in order, does not have this one."""
    head, mark, table = file.rpartition(b"\nxref\n0 ")
    lines = table.split(b"\n")
    lines[number + 1] = b"0000000000 00000 f "
    return head + mark + b"\n".join(lines)


def in_no_table(file: bytes, number: int) -> bytes:
    """The object has a number of as many digits that no table has."""
    file, other = without(file, number), b"9" * len(str(number))
    return file.replace(b"\n%d 0 obj" % number, b"\n%b 0 obj" % other).replace(b" %d 0 R" % number, b" %b 0 R" % other)


def freed(file: bytes, number: int) -> bytes:
    """A later table says that there is no such object any more."""
    size, root, last = (
        re.findall(pattern, file)[-1] for pattern in (rb"/Size (\d+)", rb"/Root (\d+ 0 R)", rb"startxref\n(\d+)")
    )
    table = b"xref\n%d 1\n0000000000 00001 f \n" % number
    trailer = b"trailer\n<< /Size %b /Root %b /Prev %b >>" % (size, root, last)
    return b"%b\n%b%b\nstartxref\n%d\n%%%%EOF" % (file, table, trailer, len(file) + 1)


def in_two_tables(file: bytes, number: int) -> bytes:
    """A table for programs of once says that there is no such object, and one for those of today where it is (7.5.8.4)."""
    at, size = file.index(b"\n%d 0 obj" % number) + 1, int(re.findall(rb"/Size (\d+)", file)[-1])
    entries = f"<< /Type /XRef /Size {size} /W [1 4 2] /Index [{number} 1] /Length 7 >>".encode()
    of_today = b"%d 0 obj\n%b\nstream\n\x01%b\0\0\nendstream\nendobj\n" % (size, entries, at.to_bytes(4))
    body, table, rest = without(file, number).rpartition(b"xref\n0 ")
    rest = rest.replace(b"trailer\n<<", b"trailer\n<<\n/XRefStm %d" % len(body))
    return body + of_today + table + rest.replace(b"startxref\n%d" % len(body), b"startxref\n%d" % len(body + of_today))


def attached(name: str, change: Callable[[bytes], bytes]) -> Callable[[PdfWriter], object]:
    def replace(writer: PdfWriter) -> None:
        (file,) = (each for each in writer.attachment_list if each.name == name)
        file.content = change(file.content)

    return replace


def with_another_page(file: bytes) -> bytes:
    """A page added after the signature, by an incremental update."""
    writer = IncrementalPdfFileWriter(io.BytesIO(file))
    writer.insert_page(
        PageObject(contents=writer.add_object(generic.StreamObject(stream_data=b"")), media_box=(0, 0, 9, 9))
    )
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def flipped(file: bytes, at: int) -> bytes:
    return file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]


def end_of_signature(file: bytes) -> int:
    """Where the last digit of the signature is that is even, so that it stays one."""
    end = re.search(rb"<(30[0-9a-fA-F]{500,}?)0*>", file)
    assert end is not None
    return next(at for at in range(end.end(1) - 1, 0, -1) if file[at] in b"02468")


def with_bytes_behind_the_signature(file: bytes) -> bytes:
    """The place of the signature is larger than it, and nobody has signed the rest."""
    hole = re.search(rb"<30[0-9a-fA-F]{500,}?0{40}", file)
    assert hole is not None
    return file[: hole.end() - 2] + b"ff" + file[hole.end() :]


def with_script(writer: PdfWriter) -> None:
    script = {NameObject("/S"): NameObject("/JavaScript"), NameObject("/JS"): TextStringObject("app.alert(1)")}
    writer.root_object[NameObject("/Names")][NameObject("/JavaScript")] = DictionaryObject(script)


def with_note(writer: PdfWriter) -> None:
    """Text that lies on a page and is not in it."""
    note = {
        NameObject("/Subtype"): NameObject("/FreeText"),
        NameObject("/Contents"): TextStringObject("Total: 1 kg"),
        NameObject("/Rect"): ArrayObject(map(NumberObject, (0, 0, 300, 300))),
    }
    writer.pages[0][NameObject("/Annots")] = ArrayObject([DictionaryObject(note)])


def with_visible_signature() -> bytes:
    """A signature that is drawn over the page, where its maker may have it say anything."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(signing, "SigFieldSpec", lambda name, **_: SigFieldSpec(name, box=(50, 50, 500, 800)))
        return sample.signed()


def with_image(writer: PdfWriter) -> None:
    image = StreamObject()
    image.set_data(bytes(3))
    image.update({NameObject("/Subtype"): NameObject("/Image"), NameObject("/ColorSpace"): NameObject("/DeviceRGB")})
    image.update({NameObject(f"/{name}"): NumberObject(1) for name in ("Width", "Height")})
    image[NameObject("/BitsPerComponent")] = NumberObject(8)
    resources = writer.pages[0]["/Resources"].get_object()
    resources.setdefault(NameObject("/XObject"), DictionaryObject())[NameObject("/lie")] = image


def with_page(**entries: PdfObject) -> Callable[[PdfWriter], object]:
    """Entries of the first page by which a viewer shows something else of it."""
    return lambda writer: writer.pages[0].update({NameObject(f"/{name}"): value for name, value in entries.items()})


def drawn(before: bytes = b"", after: bytes = b"") -> Callable[[PdfWriter], object]:
    """More in the first page's contents."""

    def change(writer: PdfWriter) -> None:
        contents = writer.pages[0].get_contents()
        assert contents is not None
        contents.set_data(before + contents.get_data() + after)
        writer.pages[0].replace_contents(contents)

    return change


def with_drawing(writer: PdfWriter) -> None:
    """Text in a drawing of its own, which programs do not extract with that of the page."""
    form = StreamObject()
    form.set_data(b"BT (Total: 1 kg) Tj ET")
    form.update({NameObject("/Subtype"): NameObject("/Form"), NameObject("/BBox"): RectangleObject((0, 0, 100, 100))})
    resources = writer.pages[0]["/Resources"].get_object()
    resources[NameObject("/XObject")] = DictionaryObject({NameObject("/lie"): form})
    drawn(after=b"\n/lie Do")(writer)


def with_action(writer: PdfWriter) -> None:
    item = writer.add_outline_item(title="Total", page_number=0).get_object()
    item[NameObject("/A")] = DictionaryObject(
        {NameObject("/S"): NameObject("/Named"), NameObject("/N"): NameObject("/Print")}
    )


def with_outline(writer: PdfWriter) -> None:
    first = writer.root_object["/Outlines"].get_object()["/First"].get_object()
    first[NameObject("/Title")] = TextStringObject("Total: 1 kg")


def read_out(writer: PdfWriter) -> None:
    """What a screen reader says in place of the whole report."""
    (whole, *_) = writer.root_object["/StructTreeRoot"].get_object()["/K"]
    whole.get_object()[NameObject("/ActualText")] = TextStringObject("Total: 1 kg")


def of_file(writer: PdfWriter) -> DictionaryObject:
    names = writer.root_object["/Names"]["/EmbeddedFiles"]["/Names"]
    found: DictionaryObject = names[names.index(words.DATA_FILE) + 1].get_object()
    return found


def another_file_to_some(writer: PdfWriter) -> None:
    """Programs that read /F find other data than those that read /UF (ISO 32000-1, 7.11.3)."""
    other = StreamObject()
    other.set_data(b'{"kilograms": 1}')
    of_file(writer)["/EF"].get_object()[NameObject("/F")] = writer._add_object(other)


def beside_the_list(writer: PdfWriter) -> None:
    """A file that the page is associated with, and that the list of attachments does not have."""
    other = StreamObject()
    other.set_data(b"fuel,kilograms\n")
    file = DictionaryObject(of_file(writer))
    file[NameObject("/EF")] = DictionaryObject(dict.fromkeys(map(NameObject, ("/F", "/UF")), writer._add_object(other)))
    files: Any = writer.root_object["/AF"]
    files.append(writer._add_object(file))


def other_figures() -> bytes:
    """The data say other figures than the pages."""
    told = sample.report_data()
    months = (told.months[0].model_copy(update={"kilograms": told.months[0].kilograms / 2}), *told.months[1:])
    changed = data.as_json(told.model_copy(update={"months": months}))
    return signed_again(attached(words.DATA_FILE, lambda _: changed))


def with_smaller_figures() -> bytes:
    """Data, table and pages agree on figures for gas that no published factor gives."""
    told = sample.report_data()
    factors = tuple(
        each.model_copy(update={"value": each.value * 0.9, "digest": "ab"}) if each.fuel == "gas" else each
        for each in told.factors
    )
    return sample.signed(told.model_copy(update={"factors": factors}))


def other_name() -> bytes:
    changed = data.as_json(sample.report_data(sample.reported(name="Somebody Else Ltd")))
    return signed_again(attached(words.DATA_FILE, lambda _: changed))


def recorded(**changes: Any) -> Callable[[], bytes]:
    """The report with the signed record of another: only the two together are wrong."""
    return lambda: signing.signed(sample.unsigned(signed=sample.record(**changes)), CAP, NOW)


def factor_told(**changes: object) -> Callable[[], bytes]:
    """The record says something else of the first factor than the report."""

    def file() -> bytes:
        told = sample.report_data()
        factors = (told.factors[0].model_copy(update=changes), *told.factors[1:])
        return sample.signed(told.model_copy(update={"factors": factors}))

    return file


def totals_in_another_order() -> bytes:
    told = sample.report_data()
    return sample.signed(told.model_copy(update={"totals": told.totals[::-1]}))


def of_readings(**changes: object) -> Callable[[], bytes]:
    """Everything is signed and allowed, and what the CAP says to have received is no meter's readings by a provider."""
    return lambda: signed_again(
        attached(words.RECORD_FILE, lambda _: pdf.record_as_json(sample.record(readings=changes)).encode())
    )


def with_a_better_score() -> bytes:
    told = sample.report_data()
    quality = tuple(each.model_copy(update={"score": 2, "reason": "metered"}) for each in told.quality)
    return sample.signed(told.model_copy(update={"quality": quality}))


def with_a_bare_origin() -> bytes:
    """A record whose signatures hold, with origins that say nothing of the scheme."""
    sample.record()  # what the CAP received is made once, and is as it must be
    with pytest.MonkeyPatch.context() as patched:
        whole = steps.origin_step
        patched.setattr(steps, "origin_step", lambda **values: whole(**values) | {"perseus:scheme": 1})
        bare = orjson.dumps(sample.record())
    return signed_again(attached(words.RECORD_FILE, lambda _: bare))


def with_a_formula() -> bytes:
    """Data and table that agree on why a month is left out, in words that a spreadsheet computes."""

    def changed(text: bytes) -> bytes:
        return text.replace(sample.report_data().gaps[0].reason.encode(), b"=cmd|' /C calc'!A0")

    def change(writer: PdfWriter) -> None:
        for name in (words.DATA_FILE, words.TABLE_FILE):
            attached(name, changed)(writer)

    return signed_again(change)


def made_on_no_day() -> bytes:
    changed = data.as_json(sample.report_data().model_copy(update={"at": "2026-13-01T00:00:00Z"}))
    return signed_again(attached(words.DATA_FILE, lambda _: changed))


def encrypted() -> bytes:
    writer = PdfWriter(clone_from=io.BytesIO(good()))
    writer.encrypt("", "owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def elsewhere() -> SigningAuthority:
    return SigningAuthority("Elsewhere")


REFUSED = {
    "a byte of a page": (lambda: flipped(good(), 3000), "signature"),
    "a byte of an attachment": (lambda: flipped(good(), len(good()) // 2), "signature"),
    "a byte of the signature": (lambda: flipped(good(), end_of_signature(good())), "signature"),
    "changed after it was signed": (lambda: with_another_page(good()), "coverage"),
    "bytes behind the signature": (lambda: with_bytes_behind_the_signature(good()), "coverage"),
    "bytes after the end": (lambda: good() + b"\n%more", "coverage"),
    "signed by another member": (
        lambda: signing.signed(sample.plain(), member_signer("other", CAP_ROLE), NOW),
        "signer",
    ),
    "signed by the same application without the role": (
        lambda: signing.signed(sample.unsigned(signed=sample.record(BY_A_BANK)), BY_A_BANK, NOW),
        "record",
    ),
    "signed under another root": (
        lambda: signing.signed(sample.plain(), elsewhere().signer("cap", CAP_ROLE), NOW),
        "certificate",
    ),
    "signed after the certificate had expired": (
        lambda: signing.signed(sample.plain(), signing_authority().signer("cap", CAP_ROLE, valid=(-30, -1)), NOW),
        "certificate",
    ),
    "signed in the future": (lambda: signing.signed(sample.plain(), CAP, NOW + 7200), "signature"),
    "signed another day": (lambda: signing.signed(sample.plain(), CAP, NOW - 2 * 86400), "signature"),
    "not signed": (sample.plain, "signature"),
    "other figures attached": (other_figures, "data"),
    "figures that the factors do not give": (with_smaller_figures, "data"),
    "another business attached": (other_name, "page"),
    "another table attached": (
        lambda: signed_again(attached(words.TABLE_FILE, lambda text: text.replace(b"398.97", b"398.98"))),
        "data",
    ),
    "a formula in the table": (with_a_formula, "data"),
    "made on a day that does not exist": (made_on_no_day, "data"),
    "no JSON": (lambda: signed_again(attached(words.DATA_FILE, lambda _: b"[" * 100_000)), "data"),
    "a record that is none": (lambda: signed_again(attached(words.RECORD_FILE, lambda _: b"{}")), "record"),
    "a record with an origin that says nothing": (with_a_bare_origin, "record"),
    "readings signed by a bank": (of_readings(role=FSP_ROLE), "record"),
    "readings of no meter": (of_readings(source_type="GridCarbonIntensity"), "record"),
    "readings that end before the months do": (of_readings(end=sample.END - 86400), "record"),
    "estimates that the score does not count": (of_readings(missing=steps.SUBSTITUTED), "record"),
    "a better score than its record's": (with_a_better_score, "record"),
    "the record of other months": (recorded(start=sample.START + 31 * 86400), "record"),
    "the record of another account": (recorded(grant=replace(sample.GRANT, account="other")), "record"),
    "the record of an earlier permission": (recorded(grant=replace(sample.GRANT, granted=NOW - 120)), "record"),
    "the record of a longer permission": (recorded(grant=replace(sample.GRANT, expires=NOW + 2 * 86400)), "record"),
    "a region that stands in and is told as the outcode's": (factor_told(stands_in=True), "record"),
    "a factor of another site": (factor_told(site="SW9"), "record"),
    "a factor of another source": (factor_told(source="https://other.example/"), "record"),
    "a factor of another period": (factor_told(start="2025-04-01T00:00:00Z"), "record"),
    "totals in another order": (totals_in_another_order, "record"),
    "the record of another recipient": (recorded(to=f"{sample.DIRECTORY}/m/other"), "record"),
    "made out to another bank": (
        lambda: sample.signed(
            sample.report_data().model_copy(
                update={"to": sample.report_data().to.model_copy(update={"url": f"{sample.DIRECTORY}/m/other"})}
            )
        ),
        "recipient",
    ),
    "a script": (lambda: signed_again(with_script), "active content"),
    "text that lies on a page": (lambda: signed_again(with_note), "page"),
    "a signature that is seen": (with_visible_signature, "page"),
    "an image on a page": (lambda: signed_again(with_image), "page"),
    "an image in a page's own text": (
        lambda: signed_again(drawn(after=b"\nBI /W 1 /H 1 /CS /RGB /BPC 8 ID abc EI\n")),
        "page",
    ),
    "a drawing with text": (lambda: signed_again(with_drawing), "page"),
    "text that is not seen": (lambda: signed_again(drawn(before=b"3 Tr\n")), "page"),
    "other words for a screen reader": (lambda: signed_again(read_out), "page"),
    "other words for a part of a page": (
        lambda: signed_again(drawn(b"/Span <</ActualText (Total: 1 kg)>> BDC\n", b"\nEMC")),
        "page",
    ),
    "another outline": (lambda: signed_again(with_outline), "page"),
    "another title": (lambda: signed_again(lambda writer: writer.add_metadata({"/Title": "Total: 1 kg"})), "page"),
    "a page cut off": (lambda: signed_again(with_page(CropBox=RectangleObject((0, 0, 595, 300)))), "page"),
    "a smaller page": (lambda: signed_again(with_page(MediaBox=RectangleObject((0, 0, 595, 300)))), "page"),
    "layers": (
        lambda: signed_again(lambda w: w.root_object.update({NameObject("/OCProperties"): DictionaryObject()})),
        "page",
    ),
    "an action": (lambda: signed_again(with_action), "active content"),
    "a file that is two": (lambda: signed_again(another_file_to_some), "attachments"),
    "a file beside the list": (lambda: signed_again(beside_the_list), "attachments"),
    "a file of another name to some": (
        lambda: signed_again(lambda w: of_file(w).update({NameObject("/UF"): TextStringObject("invoice.pdf")})),
        "attachments",
    ),
    "a name twice": (lambda: signed_again(lambda w: w.add_attachment(words.DATA_FILE, b"{}")), "attachments"),
    "a member twice in the record": (
        lambda: signed_again(attached(words.RECORD_FILE, lambda text: b'{"steps":[],' + text[1:])),
        "record",
    ),
    "a member twice in the data": (
        lambda: signed_again(attached(words.DATA_FILE, lambda text: text.replace(b'"at":', b'"at": "", "at":', 1))),
        "data",
    ),
    "a page that some programs show empty": (lambda: of_another_object(in_no_table), "file"),
    "a page whose contents were freed": (lambda: of_another_object(freed), "file"),
    "text that some programs do not find": (
        lambda: of_another_object(in_two_tables, b"BT (Total: 1 kg) Tj ET"),
        "file",
    ),
    "a page more": (lambda: signed_again(PdfWriter.add_blank_page), "page"),
    "a file more": (lambda: signed_again(lambda writer: writer.add_attachment("more", b"")), "attachments"),
    "encrypted": (encrypted, "encryption"),
    "cut": (lambda: good()[:-4000], "file"),
    "nothing": (lambda: b"", "file"),
    "no PDF": (lambda: b"<html>" * 1000, "file"),
    "100 MB": (lambda: bytes(100_000_000), "size"),
}


@pytest.mark.parametrize(("file", "check"), REFUSED.values(), ids=list(REFUSED))
def test_a_file_that_does_not_hold_is_refused_by_name(file: Callable[[], bytes], check: str) -> None:
    with pytest.raises(NotGenuine) as refused:
        verify.verify(file(), trusted(), NOW + 60)
    assert refused.value.faults[0].check == check, refused.value


def test_each_check_that_does_not_hold_is_named() -> None:
    file = signing.signed(sample.plain(), elsewhere().signer("cap", CAP_ROLE), NOW)
    with pytest.raises(NotGenuine) as refused:
        verify.verify(file, trusted(recipient=f"{sample.DIRECTORY}/m/other"), NOW + 60)
    assert [each.check for each in refused.value.faults] == ["certificate", "recipient"]
    file = other_name()
    with pytest.raises(NotGenuine) as refused:
        verify.verify(flipped(file, end_of_signature(file)), trusted(), NOW + 60)
    assert [each.check for each in refused.value.faults] == ["signature", "page"]


def test_a_report_under_another_permission_of_the_bank() -> None:
    """As a business would hand over that of another one, which has taken its name."""
    with pytest.raises(NotGenuine) as refused:
        verify.verify(good(), trusted(account="another"), NOW + 60)
    assert [each.check for each in refused.value.faults] == ["permission"]


def test_a_report_holds() -> None:
    found = verify.verify(good(), trusted(account=sample.GRANT.account), NOW + 60)
    assert (found.data, found.member, found.signed_at) == (sample.report_data(), CAP.member, NOW)
    assert found.steps == 21
    assert not found.revocation_known


def test_a_report_under_the_combined_license() -> None:
    """The record has the energy data providers' permissions, which name the bank as well, and no other."""
    permission = sample.report_data().permission.model_copy(update={"license": sample.COMBINED})
    told = sample.report_data().model_copy(update={"permission": permission})
    record = sample.record(grant=None, license=sample.COMBINED, readings={"license_": sample.COMBINED})
    file = signing.signed(sample.unsigned(told, record), CAP, NOW)
    assert verify.verify(file, trusted(), NOW + 60).data == told
    unnamed = sample.record(grant=None, license=sample.COMBINED)  # a permission that names no bank
    with pytest.raises(NotGenuine) as refused:
        verify.verify(signing.signed(sample.unsigned(told, unnamed), CAP, NOW), trusted(), NOW + 60)
    assert [each.check for each in refused.value.faults] == ["record"]


@pytest.mark.parametrize(("gas", "odd"), [(1, 1), (5.2, 0)], ids=["odd", "even"])
def test_what_the_chart_shows_may_have_any_number_of_letters(gas: float, odd: int) -> None:
    """An even number of bytes can be taken for UTF-16."""
    found = sample.reported(gas=gas)
    told = sample.report_data(found)
    assert len(chart.describe(words.bars_of(told))) % 2 == odd
    file = signing.signed(sample.unsigned(told, sample.record(found=found)), CAP, NOW)
    assert verify.verify(file, trusted(), NOW + 60).data == told


HOSTILE = (
    'Acme #read("/etc/passwd") $x$ *b* _i_ `c` <l> @r \\ // /* ]#panic() {1..}',
    "</text></svg><script>alert(1)</script>&lt;&amp;",
    "\u202eevil \u0645\u0631\u062d\u0628\u0627 \U0001f600\x00\n\tname fi ffi AV\u0301",
    "=cmd|' /C calc'!A0",
    "",
    "x" * 1500,
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_and_nothing_else(name: str) -> None:
    told = sample.report_data(sample.reported(name=name, bank=name))
    found = verify.verify(sample.signed(told), trusted(), NOW + 60)
    assert found.data.about.name == name
    assert name not in data.as_csv(told).decode() or not name


def test_a_report_without_a_month_and_one_of_a_single_fuel() -> None:
    told = sample.report_data()
    alone = told.model_copy(
        update={
            "months": told.of("gas"),
            "sites": tuple(each for each in told.sites if each.fuel == "gas"),
            "totals": told.totals[1:],
            "whole": told.whole.model_copy(update={"kilograms": told.totals[1].kilograms}),
        }
    )
    assert list(data.faults(alone)) == []
    empty = told.model_copy(update={"months": (), "totals": (), "sites": (), "gaps": (), "factors": (), "quality": ()})
    steps = verify_record(sample.record(), sample.FRAMEWORK, signing_authority().root)
    for each in (alone, empty):
        text = PdfReader(io.BytesIO(pdf.unsigned(each, sample.record(), steps))).pages[0].extract_text()
        assert "Electricity by month" not in text


def test_a_site_that_used_nothing_has_no_mean_intensity() -> None:
    steps = verify_record(sample.record(), sample.FRAMEWORK, signing_authority().root)
    told = sample.report_data()
    idle = told.factors[0].model_copy(update={"amount": 0.0, "value": 0.0})
    tables = [
        each
        for each in words.document(told.model_copy(update={"factors": (idle, *told.factors[1:])}), steps).blocks
        if isinstance(each, words.Table) and each.head[0] == "Factor"
    ]
    assert [row[-1] for row in tables[0].rows][:2] == ["–", "120.00 gCO2/kWh"]


def test_a_total_that_lacks_months_says_so_beside_it() -> None:
    steps = verify_record(sample.record(), sample.FRAMEWORK, signing_authority().root)
    told = sample.report_data()
    for data_, lacks in ((told, ["gas lacks 1 of 12 months"]), (told.model_copy(update={"gaps": ()}), [])):
        said = [each.text for each in words.document(data_, steps).blocks if isinstance(each, words.Paragraph)]
        assert [
            re.findall(r"gas lacks [^;]*", each)[0] for each in said if "short of what was emitted" in each
        ] == lacks


def test_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # the folder where a stranger's files were saved
    for name in ("resource", "orjson", "consent_server"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)")
    assert bounded.verify_apart(good(), trusted(), NOW + 60) == verify.verify(good(), trusted(), NOW + 60)
    with pytest.raises(NotGenuine) as refused:
        bounded.verify_apart(flipped(good(), 3000), trusted(), NOW + 60)
    assert refused.value.faults[0].check == "signature"
    with pytest.raises(NotGenuine) as refused:
        bounded.verify_apart(bytes(LARGEST + 1), trusted(), NOW + 60)
    assert refused.value.faults[0].check == "size"


def test_a_bound_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "SECONDS", 0)
    with pytest.raises(NotGenuine) as refused:
        bounded.verify_apart(good(), trusted(), NOW + 60)
    assert refused.value.faults[0].check == "time"


def test_made_in_a_process_of_its_own() -> None:
    given = GivenReport(sample.report_data(), sample.record(), signing_authority().root, sample.FRAMEWORK)
    assert verify.verify(making.pdf_of(given, CAP, lambda _: b""), trusted(), NOW + 60).member == CAP.member
    told = words.document(given.data, verify_record(given.record, given.trust_framework, given.root))
    assert making.page_of(given) == orjson.loads(orjson.dumps(words.as_json(told)))
    with pytest.raises(apart.OutOfBounds):  # what does not hold is not handed over
        making.page_of(replace(given, root=elsewhere().root))


def test_a_process_asks_for_nothing_that_it_is_not_given_and_has_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "played.py").write_text(
        "import os\nfrom consent_server.documents import apart\n"
        "apart.work(lambda question, ask: sorted(os.environ) if question['ask'] is None else ask(question['ask'], b'') and 1)"
    )
    monkeypatch.setenv("DATABASE_URL", "secret")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert "DATABASE_URL" not in apart.run("played", {"ask": None})
    assert apart.run("played", {"ask": "sign"}, {"sign": lambda _: b"signature"}) == 1
    with pytest.raises(apart.OutOfBounds):
        apart.run("played", {"ask": "key"}, {"sign": lambda _: b"signature"})


def revocation_list(*serials: int, by: str = "issuer") -> bytes:
    authority = signing_authority()
    issuer, key = (authority.root, authority._root_key) if by == "root" else (authority.issuer, authority._issuer_key)
    made = datetime.fromtimestamp(NOW, UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(made)
        .next_update(made + timedelta(days=7))
    )
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(made).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("lists", "known"),
    [
        ([revocation_list(), revocation_list(by="root")], True),
        ([revocation_list(1), revocation_list(int(CAP.serial), by="root")], True),
        ([revocation_list()], False),
        ([revocation_list(int(CAP.serial))], None),
        ([revocation_list(signing_authority().issuer.serial_number, by="root")], None),
        ([b"no list"], None),
    ],
    ids=["nobody", "others, and that number of another issuer", "half known", "the signer", "its issuer", "no list"],
)
def test_revocation(lists: list[bytes], known: bool | None) -> None:
    if known is not None:
        assert verify.verify(good(), trusted(lists=lists), NOW + 60).revocation_known is known
        return
    with pytest.raises(NotGenuine) as refused:
        verify.verify(good(), trusted(lists=lists), NOW + 60)
    assert refused.value.faults[0].check == "revocation"
