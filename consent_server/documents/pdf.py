"""The PDF of a report: PDF/A-3a and PDF/UA-1, with the data and the provenance record attached.

Typst lays out report.typ, which is ours, and takes everything else as JSON, so that no name of a business is markup. It reads
no file, no system font and no network.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import typst

from consent_server.documents import words
from consent_server.documents.data import ReportData, as_csv, as_json
from consent_server.documents.words import Document, Facts, Heading, Paragraph, Picture, Table
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import SignedRecord, VerifiedStep

STANDARDS: Final[Any] = ["a-3a", "ua-1"]
SUBJECT: Final = "An emissions report with its data and their provenance record"
_TEMPLATE: Final = Path(__file__).with_name("report.typ")
#: Name, relationship to the page (ISO 19005-3, 6.8), media type and what it says.
ATTACHMENTS: Final = (
    (words.DATA_FILE, "data", "application/json", "The figures of the report, and everything else that its pages say"),
    (words.TABLE_FILE, "alternative", "text/csv", "The figures by month, as a table"),
    (words.RECORD_FILE, "source", "application/json", "The signed provenance record of the figures"),
)
#: What Libertinus Serif has a glyph for: all that a company's name may have in it (the Company, Limited Liability Partnership
#: and Business (Names and Trading Disclosures) Regulations 2015, schedule 1), and the Greek and Cyrillic letters.
_WITHOUT_GLYPH: Final = re.compile(
    "[^ -~\u00a1-\u00ac\u00ae-\u017f\u0391-\u03a1\u03a3-\u03a9\u03b1-\u03c9\u0410-\u044f"
    "\u2013\u2014\u2018-\u201a\u201c-\u201e\u2026\u20ac]"
)
_SVG_TEXT: Final = "{http://www.w3.org/2000/svg}text"


def unsigned(data: ReportData, record: SignedRecord, steps: Sequence[VerifiedStep]) -> bytes:
    """Return the PDF, not yet signed, of a report with its record. `steps` are the record's, verified."""
    files = {
        words.DATA_FILE: as_json(data).decode(),
        words.TABLE_FILE: as_csv(data).decode(),
        words.RECORD_FILE: record_as_json(record),
    }
    attached = [dict(zip(("name", "relationship", "mime", "says"), each, strict=True)) for each in ATTACHMENTS]
    inputs = {
        "document": json.dumps(_laid_out(words.document(data, steps))),
        "attached": json.dumps(attached),
        **{f"file-{name}": text for name, text in files.items()},
    }
    made: Any = typst.compile(
        _TEMPLATE.read_bytes(),
        format="pdf",
        pdf_standards=STANDARDS,
        ignore_system_fonts=True,
        sys_inputs=inputs,
        timestamp=instant.parse(data.at),
    )
    return bytes(made) + b"\n"  # the signature is an object after it, and begins a line (ISO 19005-3, 6.1.9)


def record_as_json(record: object) -> str:
    """Return a record in the one spelling in which it is attached."""
    return json.dumps(record, separators=(",", ":"))


def printable(text: str) -> str:
    """Return text in which each character has a glyph, as PDF/A requires (ISO 19005-3, 6.2.11.8)."""
    return _WITHOUT_GLYPH.sub("?", text)


def foot(document: Document) -> str:
    """Return the footer of each page, before its number."""
    return " – ".join(each for each in (document.mark, printable(document.title)) if each)


def printed(document: Document) -> Iterator[str]:
    """Yield the text of a document in the order in which its pages have it, without their feet."""
    yield printable(document.title)
    for block in document.blocks:
        match block:
            case Picture():
                pictured = ElementTree.fromstring(block.svg)  # noqa: S314  # our own
                yield from (printable("".join(each.itertext())) for each in pictured.iter(_SVG_TEXT))
            case Facts():
                yield from (printable(f"{term}:{what}") for term, what in block.rows)
            case Table():
                rows = (block.head, *block.rows, block.foot)
                yield from map(printable, (block.caption, *chain.from_iterable(rows)))
            case Heading() | Paragraph():
                yield printable(block.text)


def _laid_out(document: Document) -> Any:
    """Return a document as report.typ reads it."""
    told = words.as_json(document)
    for block in told["blocks"]:
        match block["kind"]:
            case "table":
                block["widths"] = _widths(block)
            case "picture":
                block["svg"] = block["svg"].replace("\n", " ")
    described = {"description": SUBJECT, "foot": foot(document)}
    return _all_printable(told | described)


def _all_printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {name: _all_printable(each) for name, each in value.items()}
    return [_all_printable(each) for each in value] if isinstance(value, list | tuple) else value


def _widths(table: dict[str, Any]) -> list[int]:
    """Return the share of the free width that each column has by its longest cell; 0 for numbers, which take what they need."""
    return [
        0 if numeric else _width((head, *(row[at] for row in table["rows"])))
        for at, (head, numeric) in enumerate(zip(table["head"], table["numeric"], strict=True))
    ]


def _width(cells: Sequence[str]) -> int:
    words = [word for cell in cells for word in re.split(r"[ /]", cell)]
    return max(6, min(36, 2 + max(map(len, cells))), min(40, 2 + max(map(len, words))))
