"""One meter's half-hours of one month, packed for storage while they are needed."""

import math
import sys
import zlib
from array import array
from collections.abc import Iterable
from hashlib import sha256

from consent_server.scheme.instant import HALF_HOUR


def packed(start: int, end: int, readings: Iterable[tuple[int, float]]) -> bytes:
    """Return readings (start of the half-hour, value) of [start, end) as one double for each half-hour, NaN where there is
    none, compressed."""
    values = array("d", [math.nan]) * ((end - start) // HALF_HOUR)
    for at, value in readings:
        values[(at - start) // HALF_HOUR] = value
    if sys.byteorder == "big":
        values.byteswap()
    return zlib.compress(values.tobytes(), 1)


def unpacked(start: int, body: bytes) -> list[tuple[int, float]]:
    """Return the readings of a month that begins at `start`, in order, without those that are missing."""
    values = array("d", zlib.decompress(body))
    if sys.byteorder == "big":
        values.byteswap()
    return [(start + slot * HALF_HOUR, value) for slot, value in enumerate(values) if not math.isnan(value)]


def digest_of(body: bytes) -> str:
    """Return what equal readings have in common, however they were compressed: a SHA-256 in hex."""
    return sha256(zlib.decompress(body)).hexdigest()
