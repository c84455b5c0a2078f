"""The journal of withdrawals: a file outside the database, so that a restored back-up does not revive what was withdrawn.

Each line is a JSON object, appended and flushed to the disk before the withdrawal is committed. A crash between the two
leaves a line for a withdrawal that did not happen; replaying it ends a permission whose end was asked for. In the other order
a crash would leave a withdrawal that no replay would repeat.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.engine import Connection

from consent_server.aside import aside
from consent_server.store.faults import StoreUnavailable

#: Seconds for which a withdrawal waits for the journal's disk.
DISK_S: Final = 5.0


@dataclass(frozen=True)
class JournalEntry:
    """One withdrawal: `fell` are the ids of the permissions and connections that ended, the one that was withdrawn first."""

    at: int
    fell: Sequence[str]
    by: str
    where: str
    why: str
    already_told: str
    correlation_id: str


def write(path: Path, entry: JournalEntry) -> None:
    """Append an entry, and return once it is on the disk. Raise StoreUnavailable."""
    line = json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n"
    try:
        made = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            # What a full disk or a crash cut off must not swallow the line behind it.
            whole = line if not size or os.pread(descriptor, 1, size - 1) == b"\n" else b"\n" + line
            if os.write(descriptor, whole) < len(whole):
                raise OSError("written in part")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if made:
            _on_disk(path.parent)
    except OSError as error:
        raise StoreUnavailable(f"the journal of withdrawals: {error.strerror or error}") from error


def keep(c: Connection, path: Path, entry: JournalEntry) -> None:
    """Append an entry in the transaction of its withdrawal, and return once it is on the disk. Raise StoreUnavailable.

    A thread waits for the disk, so that no other request of a worker does. Not so on SQLite: its own disk is waited for in C,
    and in a transaction that writes to it nothing may switch (see `database`). An entry that is refused because the disk does
    not answer in time may be written later.
    """
    if c.dialect.name == "sqlite":
        write(path, entry)
        return
    try:
        aside(lambda: write(path, entry), DISK_S, "journal")
    except TimeoutError:
        raise StoreUnavailable("the journal of withdrawals: its disk does not answer") from None


def is_writable(path: Path) -> bool:
    """Return whether this process may append to the file, or make it."""
    return os.access(path if path.exists() else path.parent, os.W_OK)


def read(path: Path) -> Iterator[JournalEntry | int]:
    """Yield the entries of a journal, and the number of each line that is none. Raise OSError."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _entry(line) or number


def _entry(line: bytes) -> JournalEntry | None:
    try:
        entry = JournalEntry(**json.loads(line))
    except (ValueError, TypeError):
        return None
    texts = (*entry.fell, entry.by, entry.where, entry.why, entry.already_told, entry.correlation_id)
    return entry if entry.fell and isinstance(entry.at, int) and all(isinstance(text, str) for text in texts) else None


def _on_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
