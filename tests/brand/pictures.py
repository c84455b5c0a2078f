"""Pictures for tests, good ones and hostile ones."""

import zlib

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">%s</svg>'


def svg(inside: str = '<path d="M1 1h7"/>') -> bytes:
    return SVG % inside.encode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def png(
    width: int = 2,
    height: int = 2,
    *,
    kind: bytes = bytes([8, 6, 0, 0, 0]),
    pixels: bytes | None = None,
    between: bytes = b"",
) -> bytes:
    rows = (b"\0" + b"\x40" * width * 4) * height if pixels is None else pixels
    header = width.to_bytes(4) + height.to_bytes(4) + kind
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + between
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


#: What it is -> the file, and words of the refusal.
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "0 bytes"),
    "too large": (svg("<!--" + "x" * 65536 + "-->"), "65613 bytes|bytes, and may"),
    "HTML": (b"<!doctype html><script>alert(1)</script>", "document type|well-formed"),
    "HTML that is well-formed": (b"<html><body/></html>", "element other than"),
    "HTML as PNG": (b"\x89PNG\r\n\x1a\n<html><script>alert(1)</script></html>", "damaged"),
    "a GIF": (b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff", "neither PNG nor"),
    "a JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "neither PNG nor text"),
    "no namespace": (b'<svg viewBox="0 0 1 1"/>', "element other than"),
    "a script": (svg("<script>alert(1)</script>"), "element other than"),
    "a script of XHTML": (svg('<s:script xmlns:s="http://www.w3.org/1999/xhtml">x</s:script>'), "element other than"),
    "an event": (svg('<path onload="alert(1)"/>'), "event"),
    "an event in capitals": (svg('<path ONLOAD="alert(1)"/>'), "event"),
    "an animation": (svg('<set attributeName="href" to="javascript:alert(1)"/>'), "element other than"),
    "a link": (svg('<a href="javascript:alert(1)"><path d=""/></a>'), "element other than"),
    "foreignObject": (svg("<foreignObject/>"), "element other than"),
    "an image": (svg('<image href="https://evil.example/x.png"/>'), "element other than"),
    "a use, which may multiply": (svg('<use href="#a"/>'), "element other than"),
    "an external gradient": (svg('<linearGradient href="https://evil.example/#a"/>'), "outside of itself"),
    "an external xlink": (
        svg('<linearGradient xmlns:x="http://www.w3.org/1999/xlink" x:href="//evil.example"/>'),
        "outside of itself",
    ),
    "another base": (svg('<g xml:base="https://evil.example/"/>'), "another namespace"),
    "an external fill": (svg('<path fill="url(https://evil.example/#a)"/>'), "may lead outside"),
    "an external fill in quotes": (svg("<path fill='url( \"//evil.example/#a\")'/>"), "may lead outside"),
    "an import": (svg("<style>@import 'https://evil.example/x.css';</style>"), "may lead outside"),
    "a font": (svg("<style>@font-face { src: url(https://evil.example/x) }</style>"), "may lead outside"),
    "an escape in a style": (svg(r"<style>path { fill: \75rl(https://evil.example) }</style>"), "may lead outside"),
    "a style in pieces": (svg("<style>@im<![CDATA[port 'https://evil.example']]></style>"), "may lead outside"),
    "a style attribute": (svg("<path style=\"background: image-set('//evil.example' 1x)\"/>"), "may lead outside"),
    "an entity from a file": (
        b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + svg("<text>&x;</text>"),
        "document type",
    ),
    "a billion laughs": (
        b'<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + svg("<text>&b;</text>"),
        "document type",
    ),
    "a stylesheet": (b'<?xml-stylesheet href="https://evil.example/x.css"?>' + svg(), "processing instruction"),
    "another encoding": (b'<?xml version="1.0" encoding="ISO-2022-JP"?>' + svg(), "not in UTF-8"),
    "UTF-16": (svg().decode().encode("utf-16"), "neither PNG nor"),
    "too many elements": (svg("<g/>" * 500), "more than 500"),
    "too deep": (svg("<g>" * 30 + "</g>" * 30), "more than 500 elements, or more than 20"),
    "an svg within": (svg('<svg viewBox="0 0 1 1"/>'), "root is not"),
    "no size": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "no size"),
    "not closed": (svg()[:-6], "well-formed"),
    "a bomb": (png(1024, 1024, pixels=b"\0" * (1024 * 4097 + 4097)), "cannot be decoded"),
    "a PNG too wide": (png(1025, 1), "1025 by 1 pixels"),
    "a PNG of no size": (png(0, 1), "0 by 1 pixels"),
    "a PNG cut short": (png()[:-5], "damaged"),
    "a PNG with a wrong sum": (png().replace(b"IDAT", b"IDAt"), "damaged"),
    "a PNG with more after its end": (png() + b"<script>", "damaged|begin and end"),
    "a PNG that moves": (png(between=chunk(b"acTL", bytes(8))), "moves"),
    "a PNG that is interlaced": (png(kind=bytes([8, 6, 0, 0, 1])), "interlaced"),
    "a PNG without its palette": (png(kind=bytes([8, 3, 0, 0, 0])), "no palette"),
    "a PNG of no colour type": (png(kind=bytes([8, 5, 0, 0, 0])), "interlaced, or of a kind"),
    "a PNG with too few rows": (png(pixels=b"\0" + b"\x40" * 8), "cannot be decoded"),
    "a PNG with an unknown filter": (png(pixels=(b"\x05" + b"\x40" * 8) * 2), "cannot be decoded"),
    "a signature alone": (b"\x89PNG\r\n\x1a\n", "damaged"),
}
GOOD = {
    "SVG": (svg(), "image/svg+xml"),
    "SVG with a declaration": (b'<?xml version="1.0" encoding="UTF-8"?>\n<!-- drawn -->' + svg(), "image/svg+xml"),
    "SVG with a gradient and a style": (
        svg(
            '<style>@media (prefers-color-scheme: dark) { path { fill: #fff } }</style><defs><linearGradient id="a"/></defs>'
            '<path style="fill: url(#a)" fill="url(\'#a\')"/>'
        ),
        "image/svg+xml",
    ),
    "PNG": (png(), "image/png"),
    "PNG of 16 bits": (png(pixels=(b"\x04" + b"\x40" * 16) * 2, kind=bytes([16, 6, 0, 0, 0])), "image/png"),
}
