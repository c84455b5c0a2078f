"""Day blocks as they are kept: packed by themselves, so that a year of them is one gzip body without being unpacked.

A packed block is a gzip file (RFC 1952) whose compressed part ends on a whole byte and refers to nothing before it. Such parts
follow one another in one stream of RFC 1951. The CRC-32 of the whole follows from theirs: it is a remainder of polynomials, and
what comes after a text multiplies its remainder by a power of x. A second CRC-32, in the header, is of the packed bytes
themselves, so that damage is found without unpacking them: half a microsecond for a day.

A block that is not packed begins with a brace. One may be wherever a packed one may be: release 0.1.0 kept them.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final

import orjson

from consent_server.scheme import instant
from consent_server.scheme.readings import ReadingError

# RFC 1952 section 2.3: gzip, deflate, no flags, no time, nothing said of the effort, no system; CRC and length at the end.
_OPENING: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_TRAILER: Final = struct.Struct("<II")
#: How a packed block begins, before its digest. Section 2.3.1.1: the flag of an extra field, its length, and its one part.
HEADER: Final = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x08\x00CR\x04\x00"
_DIGEST: Final = struct.Struct("<I")
_BODY: Final = len(HEADER) + _DIGEST.size
#: RFC 1951 section 3.2: the last block, which is empty; and the beginning of a block that is stored as it is.
_LAST: Final = b"\x03\x00"
_STORED: Final = struct.Struct("<BHH")
_SHORT: Final = 8
_DEFLATED: Final = slice(_BODY, -len(_LAST) - _TRAILER.size)
#: A day of 10 kB takes 1,050 bytes, in 22 µs. Level 6 makes 920 in 37 µs, and most days are loaded and never asked for.
_LEVEL: Final = 2
#: Bytes that a day takes at most, as a rule: more are found room for as they come.
_ROOM: Final = 1 << 14
#: RFC 1952 section 8: the polynomial, and x to the power of 0 and of 8, lowest power in the highest bit.
_POLYNOMIAL: Final = 0xEDB88320
_ONE: Final = 1 << 31
_X8: Final = 1 << 23


class DamagedBlock(ReadingError):
    """A day block that cannot be read. `whose` names its meter, masked, and measure, where they are known."""

    def __init__(self, day: int, whose: str = "") -> None:
        self.day = day
        super().__init__(f"{whose}the day block of {instant.date(day)} is damaged")


def pack(block: bytes) -> bytes:
    """Return a day block as it is kept; one without half-hours stays empty."""
    if not block or is_packed(block):
        return block
    body = b"".join((_deflated(block, _LEVEL), _LAST, _TRAILER.pack(zlib.crc32(block), len(block))))
    return b"".join((HEADER, _digest(body), body))


def is_packed(piece: bytes) -> bool:
    return piece.startswith(HEADER)


def unpack(block: bytes, day: int) -> bytes:
    """Return the block of a day, which may be packed or not, as JSON. Raise DamagedBlock."""
    if block and not block.startswith((HEADER, b"{")):
        raise DamagedBlock(day)
    try:
        return zlib.decompress(block, wbits=31, bufsize=_ROOM) if is_packed(block) else block
    except zlib.error:
        raise DamagedBlock(day) from None


def require_whole(block: bytes, day: int) -> None:
    """Raise DamagedBlock for what is no block, or is packed and not as it was packed; it is not unpacked for that."""
    if is_packed(block):
        whole = block[len(HEADER) : _BODY] == _digest(memoryview(block)[_BODY:])
    else:
        whole = not block or block.startswith(b"{")
    if not whole:
        raise DamagedBlock(day)


def require_json(block: bytes, day: int) -> None:
    """Raise DamagedBlock for a block that is not packed, and so has no digest, and is no JSON."""
    if block and not is_packed(block):
        try:
            orjson.loads(b"[%b]" % block)
        except orjson.JSONDecodeError:
            raise DamagedBlock(day) from None


def plain(pieces: Sequence[bytes]) -> bytes:
    """Return pieces, of which some may be packed, as one text. What is packed has been checked with `require_whole`.

    They are unpacked as one stream, without a buffer and a CRC for each: that takes half the time.
    """
    if not any(map(is_packed, pieces)):
        return b"".join(pieces)
    size = sum(
        _TRAILER.unpack_from(piece, len(piece) - _TRAILER.size)[1] if is_packed(piece) else len(piece)
        for piece in pieces
    )
    stream = b"".join((*(piece[_DEFLATED] if is_packed(piece) else _stored(piece) for piece in pieces), _LAST))
    return zlib.decompress(stream, wbits=-zlib.MAX_WBITS, bufsize=size)


def gzip(pieces: Iterable[bytes]) -> bytes:
    """Return pieces, of which some may be packed, as one gzip file of a single member, which every client reads.

    What is packed is not unpacked, and has been checked with `require_whole`.
    """
    stream, crc, size = [_OPENING], 0, 0
    for packed, run in groupby(pieces, is_packed):
        if packed:
            for piece in run:
                its_crc, length = _TRAILER.unpack_from(piece, len(piece) - _TRAILER.size)
                stream.append(piece[_DEFLATED])
                crc, size = _product(_power(length), crc) ^ its_crc, size + length
        else:
            text = b"".join(run)
            stream.append(_stored(text) if len(text) <= _SHORT else _deflated(text, 1))
            crc, size = zlib.crc32(text, crc), size + len(text)
    return b"".join((*stream, _LAST, _TRAILER.pack(crc, size & 0xFFFFFFFF)))


def _digest(body: bytes | memoryview) -> bytes:
    return _DIGEST.pack(zlib.crc32(body))


def _deflated(text: bytes, level: int) -> bytes:
    """Return what is compressed by itself, up to a whole byte."""
    deflate = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return deflate.compress(text) + deflate.flush(zlib.Z_FULL_FLUSH)


def _stored(text: bytes) -> bytes:
    """Return a text as blocks that are stored as they are, each of 65,535 bytes at most."""
    parts = (text[begin : begin + 0xFFFF] for begin in range(0, len(text), 0xFFFF))
    return b"".join(_STORED.pack(0, len(part), len(part) ^ 0xFFFF) + part for part in parts)


@lru_cache(maxsize=4096)
def _power(length: int) -> int:
    """Return what a text of this length multiplies the remainder of the text before it by."""
    power, square = _ONE, _X8
    while length:
        if length & 1:
            power = _product(power, square)
        square, length = _product(square, square), length >> 1
    return power


def _product(one: int, other: int) -> int:
    """Return the remainder of a product of polynomials over the field of two elements."""
    product = 0
    while one:
        if one & _ONE:
            product ^= other
        one = one << 1 & 0xFFFFFFFF
        other = other >> 1 ^ _POLYNOMIAL if other & 1 else other >> 1
    return product
