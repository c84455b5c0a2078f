"""The one check of a picture that our pages show: ours, which a setting names, and other members', which we fetch.

The content alone decides the format, never a file name or a media type. A PNG is decoded, so that no browser can show it as
broken; an SVG may contain only shapes, text and gradients, so that it is only ever a picture.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

LARGEST: Final = 64 * 1024
#: Pixels of each side of a PNG: it is shown 28 pixels high, on screens of up to four times as many.
MOST_PIXELS: Final = 1024
_MOST_ELEMENTS: Final = 500
_DEEPEST: Final = 20

PNG: Final = "image/png"
SVG: Final = "image/svg+xml"

_SVG_NAMESPACE: Final = "http://www.w3.org/2000/svg"
_ELEMENTS: Final = frozenset(
    (
        *(
            "svg",
            "g",
            "defs",
            "title",
            "desc",
            "style",
            "path",
            "rect",
            "circle",
            "ellipse",
            "line",
            "polyline",
            "polygon",
        ),
        *("text", "tspan", "linearGradient", "radialGradient", "stop", "clipPath"),
    )
)
_ATTRIBUTES_WITH_NAMESPACE: Final = frozenset(
    (
        "http://www.w3.org/1999/xlink href",
        "http://www.w3.org/XML/1998/namespace space",
        "http://www.w3.org/XML/1998/namespace lang",
    )
)
#: In a style or an attribute: an escape, which could hide the rest; a rule but @media; a function that leads elsewhere.
_LEADS_ELSEWHERE: Final = re.compile(
    r"\\|@(?!media\b)|\b(?:url|src|image|image-set|-webkit-image-set|element|cross-fade)\(\s*(?![\"']?#)", re.IGNORECASE
)

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: Colour type -> (samples of a pixel, bit depths): PNG, third edition, 11.2.1.
_COLOUR_TYPES: Final = {
    0: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    3: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}
_FILTERS: Final = 5


class NoLogo(ValueError):
    """This is no picture that we show; the message says why, and quotes nothing of it."""


@dataclass(frozen=True)
class Logo:
    """A picture that was checked."""

    content: bytes = field(repr=False)
    media_type: str


def checked(content: bytes) -> Logo:
    """Return a picture as it is. Raise NoLogo."""
    if not content or len(content) > LARGEST:
        raise NoLogo(f"it has {len(content)} bytes, and may have from 1 to {LARGEST}")
    if content.startswith(_PNG_SIGNATURE):
        media_type = PNG
        _check_png(content)
    else:
        media_type = SVG
        _check_svg(content)
    return Logo(content, media_type)


def _check_svg(content: bytes) -> None:
    try:
        content.decode()
    except UnicodeDecodeError:
        raise NoLogo("it is neither PNG nor text in UTF-8") from None
    try:
        _Svg().read(content)
    except expat.ExpatError as error:
        raise NoLogo(f"it is neither PNG nor well-formed XML (line {error.lineno})") from None


class _Svg:
    """One reading of an SVG. The parser replaces no entity: a document that declares any is refused before."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        self._parser.XmlDeclHandler = self._declaration
        self._parser.StartDoctypeDeclHandler = self._refuse("a document type, which could declare entities")
        self._parser.ProcessingInstructionHandler = self._refuse("a processing instruction")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.buffer_text = True
        self._open: list[str] = []
        self._elements = 0
        self._style: list[str] = []

    def read(self, content: bytes) -> None:
        """Raise NoLogo, or ExpatError for what is no XML."""
        self._parser.Parse(content, True)

    def _refuse(self, what: str) -> Callable[..., None]:
        def refuse(*_: object) -> None:
            raise NoLogo(f"its SVG has {what}")

        return refuse

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":
            raise NoLogo("its SVG is not in UTF-8")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if namespace != _SVG_NAMESPACE or local not in _ELEMENTS:
            raise NoLogo("its SVG has an element other than " + ", ".join(sorted(_ELEMENTS)))
        if (local == "svg") != (not self._open):
            raise NoLogo("its root is not the one element svg")
        self._open.append(local)
        self._elements += 1
        if self._elements > _MOST_ELEMENTS or len(self._open) > _DEEPEST:
            raise NoLogo(f"its SVG has more than {_MOST_ELEMENTS} elements, or more than {_DEEPEST} within each other")
        if local == "svg" and not ("viewBox" in attributes or {"width", "height"} <= attributes.keys()):
            raise NoLogo("its SVG has no size: a viewBox, or width and height")
        for each, value in attributes.items():
            self._check_attribute(each, value)

    def _check_attribute(self, name: str, value: str) -> None:
        namespace, _, local = name.rpartition(" ")
        if namespace and name not in _ATTRIBUTES_WITH_NAMESPACE:
            raise NoLogo("its SVG has an attribute of another namespace")
        if local.lower().startswith("on"):
            raise NoLogo("its SVG has an event")
        if local.lower() in {"href", "src"} and not value.strip().startswith("#"):
            raise NoLogo("its SVG refers to something outside of itself")
        if _LEADS_ELSEWHERE.search(value):
            raise NoLogo("its SVG has a style that may lead outside of itself")

    def _characters(self, text: str) -> None:
        if self._open[-1] == "style":
            self._style.append(text)

    def _end(self, _name: str) -> None:
        if self._open.pop() == "style":
            if _LEADS_ELSEWHERE.search("".join(self._style)):
                raise NoLogo("its SVG has a style that may lead outside of itself")
            self._style.clear()


def _check_png(content: bytes) -> None:
    """Raise NoLogo unless this is one whole picture that can be decoded (PNG, third edition)."""
    chunks = _png_chunks(content)
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or kinds[-1] != b"IEND" or len(chunks[0][1]) != 13 or kinds.count(b"IHDR") != 1:
        raise NoLogo("its PNG does not begin and end as it must")
    if b"acTL" in kinds:
        raise NoLogo("its PNG moves")
    header = chunks[0][1]
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    depth, colour_type, compression, filters, interlace = header[8:]
    samples, depths = _COLOUR_TYPES.get(colour_type, (0, ()))
    if not (0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS):
        raise NoLogo(f"its PNG is {width} by {height} pixels, and may be {MOST_PIXELS} by {MOST_PIXELS}")
    if depth not in depths or (compression, filters, interlace) != (0, 0, 0):
        raise NoLogo("its PNG is interlaced, or of a kind that does not exist")
    if colour_type == 3 and b"PLTE" not in kinds:
        raise NoLogo("its PNG has no palette")
    row = (width * samples * depth + 7) // 8 + 1
    pixels = _inflated(b"".join(data for kind, data in chunks if kind == b"IDAT"), row * height)
    if any(each >= _FILTERS for each in pixels[::row]):
        raise NoLogo("its PNG cannot be decoded")


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], len(_PNG_SIGNATURE)
    while at < len(content):
        length = int.from_bytes(content[at : at + 4])
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        check = content[at + 8 + length : at + 12 + length]
        if len(check) != 4 or int.from_bytes(check) != zlib.crc32(kind + data):
            raise NoLogo("its PNG is damaged")
        found.append((kind, data))
        at += 12 + length
    if not found:
        raise NoLogo("its PNG is damaged")
    return found


def _inflated(compressed: bytes, length: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        pixels = inflate.decompress(compressed, length + 1)
    except zlib.error:
        raise NoLogo("its PNG cannot be decoded") from None
    if len(pixels) != length or not inflate.eof:
        raise NoLogo("its PNG cannot be decoded")
    return pixels
