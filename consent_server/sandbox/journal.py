"""Files of the sandbox that several of its processes write and read at once."""

import json
import os
from pathlib import Path
from typing import Any

from consent_server import clock


def write_whole(path: Path, content: bytes) -> None:
    """Write a file anew: whoever reads it meanwhile has the whole of the old content or of the new."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


class Journal:
    """A list in a file, one JSON object a line. Every entry has `at`, the instant at which it was added."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, entry: dict[str, Any]) -> None:
        line = json.dumps({"at": clock.now(), **entry}, ensure_ascii=True) + "\n"
        # One write to a file opened for appending: lines of two requests never mix.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode("ascii"))
        finally:
            os.close(descriptor)

    def entries(self) -> list[dict[str, Any]]:
        """Return every entry, the oldest first."""
        try:
            lines = self._path.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]
