"""Day blocks that are packed leave as JSON and as gzip, the same as if they had been joined first."""

import gzip
import zlib

import pytest

from consent_server.scheme import packed
from consent_server.scheme.instant import DAY
from consent_server.scheme.readings import ReadingError, day_block

DAYS = [
    day_block("electricity", number * DAY, [number, 1.5, None, *[3] * (45 - number)] + [None] * number, 7)
    for number in range(45)
]
PACKED = [packed.pack(block) for block in DAYS]


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b""],
        [b'{"data":[', b"],", b'"rest":1}'],
        PACKED[:1],
        [b'{"data":[', *(piece for block in PACKED for piece in (b",", block)), b"],", b'"rest":"and more"}'],
        [DAYS[0], PACKED[1], DAYS[2], PACKED[3], PACKED[4]],
        [b"{}" * 100_000, PACKED[0], b"", b"{}"],
    ],
    ids=["none", "empty", "plain", "one", "many", "mixed", "long"],
)
def test_pieces_are_one_text_and_one_gzip_file(pieces: list[bytes]) -> None:
    joined = b"".join(DAYS[PACKED.index(piece)] if piece in PACKED else piece for piece in pieces)
    assert packed.plain(pieces) == joined
    whole = packed.gzip(pieces)
    one = zlib.decompressobj(wbits=31)
    assert (one.decompress(whole), one.eof, one.unused_data) == (joined, True, b""), "a single member"
    assert gzip.decompress(whole) == joined


def test_a_packed_block_is_itself_a_gzip_file_and_packed_once() -> None:
    assert [gzip.decompress(block) for block in PACKED] == [packed.unpack(block, 0) for block in PACKED] == DAYS
    assert [packed.pack(block) for block in PACKED] == PACKED
    assert [packed.unpack(block, 0) for block in DAYS] == DAYS
    assert max(map(len, PACKED)) < len(DAYS[0]) / 5
    assert packed.pack(b"") == packed.unpack(b"", 0) == b""


@pytest.mark.parametrize(
    "damaged",
    [
        PACKED[0][:-9],
        PACKED[0][:-1],
        PACKED[0][:12],
        PACKED[0][:18],
        PACKED[0] + b"\0",
        PACKED[0][:40] + b"\x55" + PACKED[0][41:],
        PACKED[0][:-8] + b"\0" * 8,
        b"\0" + PACKED[0][1:],
        b"\0" + DAYS[0][1:],
    ],
)
def test_a_damaged_block_is_said_to_be_one(damaged: bytes) -> None:
    """Also where it is not unpacked; what follows its end would not be read at all."""
    for read in (packed.require_whole, packed.unpack)[: 1 if damaged.startswith(PACKED[0]) else 2]:
        with pytest.raises(ReadingError, match="the day block of 1970-01-02 is damaged"):
            read(damaged, DAY)


def test_each_bit_of_a_packed_block_counts() -> None:
    for bit in range(8 * len(PACKED[3])):
        octets = bytearray(PACKED[3])
        octets[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ReadingError):
            packed.require_whole(bytes(octets), DAY)
    for block in (PACKED[3], DAYS[3], b""):
        packed.require_whole(block, DAY)
