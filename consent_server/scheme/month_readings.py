"""One meter's half-hours of one month, packed for storage while they are needed."""

import math
import sys
import zlib
from array import array
from hashlib import sha256
from itertools import compress

from consent_server.scheme.emissions import Amounts
from consent_server.scheme.instant import HALF_HOUR


def packed(start: int, end: int, readings: Amounts) -> bytes:
    """Return readings of [start, end) as one double for each half-hour, NaN where there is none, compressed."""
    slots = range(start, end, HALF_HOUR)
    if list(readings.start) == list(slots):
        values = array("d", readings.value)
    else:
        values = array("d", [math.nan]) * len(slots)
        for at, value in zip(*readings, strict=True):
            values[(at - start) // HALF_HOUR] = value
    if sys.byteorder == "big":
        values.byteswap()
    return zlib.compress(values.tobytes(), 1)


def unpacked(start: int, body: bytes) -> Amounts:
    """Return the readings of a month that begins at `start`, without those that are missing."""
    values = array("d", zlib.decompress(body))
    if sys.byteorder == "big":
        values.byteswap()
    slots = range(start, start + len(values) * HALF_HOUR, HALF_HOUR)
    if not math.isnan(sum(values)):  # which it is as soon as one of them is
        return Amounts(slots, values)
    there = [not math.isnan(value) for value in values]
    return Amounts(list(compress(slots, there)), list(compress(values, there)))


def digest_of(body: bytes) -> str:
    """Return what equal readings have in common, however they were compressed: a SHA-256 in hex."""
    return sha256(zlib.decompress(body)).hexdigest()
