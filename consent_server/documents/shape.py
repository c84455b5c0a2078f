"""What a report's PDF is made of, and nothing else: it has no other place in which anything is shown, read out or done.

A maker signs what it likes, so a signature alone does not keep a file from saying one thing to a program and another to whoever
looks at it. Everything here is a list of what `pdf.py` and `signing.py` write, and what is on none of them is refused.
"""

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.xref import ObjStreamRef
from pypdf import PdfReader
from pypdf.generic import (
    ArrayObject,
    ContentStream,
    DictionaryObject,
    IndirectObject,
    NameObject,
    create_string_object,
)

from consent_server.documents import pdf, signing
from consent_server.documents.words import Document, Heading, Picture

MOST_OBJECTS: Final = 50_000

#: Entries of an action that does something (ISO 32000-1, 12.6), and what a viewer does by itself.
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
_CATALOG: Final = frozenset(
    {
        *("/Type", "/Version", "/Extensions", "/Pages", "/Metadata", "/OutputIntents", "/Lang", "/StructTreeRoot"),
        *("/MarkInfo", "/ViewerPreferences", "/Outlines", "/Names", "/AF", "/AcroForm", "/Perms"),
    }
)
_PAGES: Final = frozenset({"/Type", "/Kids", "/Count", "/Parent"})
_PAGE: Final = frozenset(
    {"/Type", "/Parent", "/Resources", "/MediaBox", "/Contents", "/StructParents", "/Tabs", "/Annots"}
)
_RESOURCES: Final = frozenset({"/ProcSet", "/ColorSpace", "/Pattern", "/Font"})
_OUTLINE: Final = frozenset({"/Type", "/Title", "/Dest", "/Parent", "/Prev", "/Next", "/First", "/Last", "/Count"})
#: A4 in points, upright and across.
_SIZES: Final = ((595.2756, 841.8898), (841.8898, 595.2756))
_DRAWING: Final = frozenset(
    b"q Q cm w J j M d m l c v y h re S s f f* B B* b b* n W W* CS cs SC SCN sc scn G g RG rg".split()
)
#: Without XObjects, images, shadings and states of graphics, and without the operators that move on while they show text.
_WRITING: Final = _DRAWING | frozenset(b"BT ET Tc Tw Tz TL Tf Tr Ts Td TD Tm T* Tj TJ BMC BDC EMC".split())
#: Entries whose words stand for what is on a page, or add to it (ISO 32000-1, 14.9 and 12.8.1).
_WORDS: Final = ("/Alt", "/ActualText", "/E", "/T", "/TU", "/Reason", "/Location", "/ContactInfo")


class TooManyObjects(ValueError):
    """A file with more objects than any report."""


class Misfit(NamedTuple):
    """What a report's PDF does not have: the name of the check that it fails, and why."""

    check: str
    why: str


def objects(reader: PdfReader) -> Iterator[DictionaryObject]:
    """Yield each dictionary of a file once. Raise TooManyObjects."""
    seen: set[tuple[int, int]] = set()
    waiting: list[Any] = [reader.trailer]
    count = 0
    while waiting:
        each = waiting.pop()
        count += 1
        if count > 20 * MOST_OBJECTS or len(seen) > MOST_OBJECTS:
            raise TooManyObjects(f"more than {MOST_OBJECTS} objects")
        if isinstance(each, IndirectObject):
            named = (each.idnum, each.generation)
            if named not in seen:
                seen.add(named)
                waiting.append(each.get_object())
        elif isinstance(each, DictionaryObject):
            yield each
            waiting.extend(dict.values(each))
        elif isinstance(each, ArrayObject):
            waiting.extend(list.__iter__(each))


def is_read_alike(reader: PdfReader, other: PdfFileReader) -> bool:
    """Return whether two programs find each object of a file in the same place. `reader` has read them all.

    pypdf looks through the whole file for an object that no table of it has, and finds one that was freed: what it reads then
    is on no page that a viewer shows. Other objects it does not find, and a viewer does.
    """
    free = reader.xref_free_entry
    ours: dict[tuple[int, int], object] = {
        (number, generation): place
        for generation, held in reader.xref.items()
        for number, place in held.items()
        if not free.get(generation, {}).get(number)
    }
    ours |= {(number, 0): place for number, place in reader.xref_objStm.items()}
    tables = other.xrefs
    named = {each for revision in range(tables.total_revisions) for each in tables.explicit_refs_in_revision(revision)}
    places = {(each.idnum, each.generation): tables[each] for each in named}
    return ours == {
        each: (place.obj_stream_id, place.ix_in_stream) if isinstance(place, ObjStreamRef) else place
        for each, place in places.items()
        if place is not None
    }


def misfits(reader: PdfReader) -> Iterator[Misfit]:
    """Yield what a file has that no report has, whatever its data say. Raise TooManyObjects."""
    files = 0
    for each in objects(reader):
        if not _ACTIVE.isdisjoint(each) or any(isinstance(v, NameObject) and v in _ACTIVE for v in each.values()):
            yield Misfit("active content", "a report does nothing when it is opened")
        if "/S" in each and each.get("/Type") not in ("/StructElem", "/OutputIntent"):
            yield Misfit("active content", "a report has no action")  # ISO 32000-1, 12.6.2: its type is under /S
        if each.get("/Subtype") in ("/Image", "/Form"):
            yield Misfit("page", "an image is on it, and nobody can verify what that says")
        if "/EF" in each:
            files += 1
            yield from _file(each)
    if files != len(pdf.ATTACHMENTS):
        yield Misfit("attachments", "there are others than those that are listed")
    catalog: Any = reader.root_object
    if not _CATALOG.issuperset(catalog) or catalog["/Names"].keys() != {"/EmbeddedFiles"}:
        yield Misfit("page", "the file has entries that no report has")
    for page in reader.pages:
        yield from _page(page)


def _file(each: DictionaryObject) -> Iterator[Misfit]:
    held: Any = each["/EF"]
    one = len({getattr(dict.get(held, name), "idnum", None) for name in held}) == 1
    told = (each.get("/F"), each.get("/UF"), each.get("/Desc"))
    if not (held.keys() == {"/F", "/UF"} and one):
        yield Misfit("attachments", "one is another file to some programs")
    if told not in {(name, name, says) for name, _, _, says in pdf.ATTACHMENTS}:
        yield Misfit("attachments", "one has another name, or is described in other words")


def _page(page: Any) -> Iterator[Misfit]:
    above = page.get("/Parent")
    while above is not None:
        if not _PAGES.issuperset(above.get_object()):
            yield Misfit("page", "pages have entries that no report has")
        above = above.get_object().get("/Parent")
    resources = page.get("/Resources", DictionaryObject()).get_object()
    if not _PAGE.issuperset(page) or not _RESOURCES.issuperset(resources):
        yield Misfit("page", "a page has entries that no report has")
    box = [float(each) for each in page["/MediaBox"]]
    if not any(all(math.isclose(a, b, abs_tol=1) for a, b in zip(box, (0, 0, *each), strict=True)) for each in _SIZES):
        yield Misfit("page", "a page has another size, and may cut off what is on it")
    for pattern in resources.get("/Pattern", DictionaryObject()).get_object().values():
        if not _DRAWING.issuperset(operator for _, operator in ContentStream(pattern.get_object(), None).operations):
            yield Misfit("page", "a pattern does more than to draw")


class Contents:
    """Notes what the contents of pages do besides showing their text: a visitor of pypdf's `extract_text()`."""

    def __init__(self) -> None:
        self.misfit: Misfit | None = None
        #: The entries that replace a part of a page for a reader, each with its text.
        self.said: set[tuple[str, str]] = set()

    def __call__(self, operator: bytes, operands: Any, *_: object) -> None:
        if operator not in _WRITING or (operator == b"Tr" and operands != [0]):
            self.misfit = Misfit("page", "something else than text and lines is on it")
        elif operator == b"BDC" and isinstance(operands[1], DictionaryObject):
            self.said |= _words_of(operands[1])


def other_words(reader: PdfReader, document: Document, contents: Contents) -> Iterator[Misfit]:
    """Yield where a file says something beside its pages that is not in its document: to a screen reader, in its title, in
    its outline."""
    headings = {pdf.printable(each.text) for each in document.blocks if isinstance(each, Heading)}
    shown = {pdf.printable(each.shows) for each in document.blocks if isinstance(each, Picture)}
    titles = {("/T", each) for each in (*headings, signing.FIELD)}
    said = contents.said.union(*(_words_of(each) for each in objects(reader)))
    if said - {("/Alt", each) for each in shown} - titles - {("/TU", signing.FIELD_SAYS)}:
        yield Misfit("page", "a screen reader reads out what is not on it")
    if not _outlined(reader) <= headings:
        yield Misfit("page", "the outline has what is not on it")
    title, author = pdf.printable(document.title), pdf.printable(document.author)
    info, xmp = reader.metadata, reader.xmp_metadata
    named = info and (info.title, info.author, info.subject)
    described = xmp and ([*(xmp.dc_title or {}).values()], xmp.dc_creator)
    if named != (title, author, pdf.SUBJECT) or described != ([title], [author]):
        yield Misfit("page", "the title of the file is another one")


def _words_of(each: DictionaryObject) -> set[tuple[str, str]]:
    return {(name, _text(each[name])) for name in _WORDS if name in each}


def _text(value: object) -> str:
    """Return a value as text, which in the contents of pages pypdf leaves as bytes: its `str()` of these takes an even number
    of them for UTF-16."""
    return str(create_string_object(value) if isinstance(value, bytes) else value)


def _outlined(reader: PdfReader) -> set[str]:
    """Return the titles of the outline; in place of one, an entry that is more than a place in the file."""
    return {
        str(each["/Title"]) if _OUTLINE.issuperset(each) else str(each)
        for each in objects(reader)
        if "/Title" in each and "/Parent" in each
    }
