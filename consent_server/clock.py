"""The clock: no other module reads the time.

An instant is a whole number of seconds since 1970-01-01T00:00Z, everywhere: in columns, arguments and claims.
"""

import mmap
import struct
import time
from collections.abc import Callable
from pathlib import Path

_OFFSET = struct.Struct("<q")
_offset: Callable[[], int] = int


def now() -> int:
    """Return the present instant, in whole seconds since 1970-01-01T00:00Z."""
    return int(time.time()) + _offset()


def ticks() -> float:
    """Return the seconds of a clock that never goes back: the difference of two is how long something took."""
    return time.monotonic()


def step_by(offset: Callable[[], int]) -> None:
    """Add `offset` (seconds) to the time from now on. For the sandbox and the tests alone."""
    global _offset
    _offset = offset


def follow(path: Path) -> None:
    """Take the offset from a file that several processes map, so that one write steps them all (sandbox)."""
    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)
    step_by(lambda: int(_OFFSET.unpack_from(shared)[0]))


def write_offset(path: Path, seconds: int) -> None:
    """Set the offset that every process following `path` sees. The file keeps its inode, because it is mapped elsewhere."""
    if not path.exists():
        path.write_bytes(_OFFSET.pack(seconds))
        return
    with path.open("r+b") as file, mmap.mmap(file.fileno(), _OFFSET.size) as shared:
        _OFFSET.pack_into(shared, 0, seconds)
