"""Lists that several requests add to and people look at: one JSON object a line, in a file that lives with the sandbox."""

import json
import os
from pathlib import Path
from typing import Any

from consent_server import clock


class Journal:
    """The list in one file. Every entry has `at`, the instant at which it was added."""

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
