"""What the bank holds: applications under way and permissions, one JSON file each, shared by both of its doors."""

import fcntl
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")

Entry = dict[str, Any]


class Book:
    """The entries in a folder, by name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    def get(self, name: str) -> Entry | None:
        """Return an entry, or None where there is none of that name."""
        if not _NAME.fullmatch(name):
            return None
        try:
            found: Entry = json.loads(self._file(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def all(self, kind: str) -> list[tuple[str, Entry]]:
        """Return name and entry of each of a kind, the newest first."""
        found = [(path.stem, self.get(path.stem)) for path in self._folder.glob(f"{kind}-*.json")]
        return sorted(((name, entry) for name, entry in found if entry), key=lambda each: each[1]["at"], reverse=True)

    def put(self, name: str, entry: Entry) -> None:
        """Keep an entry in the place of an earlier one."""
        self.change(name, lambda _: entry)

    def change(self, name: str, edit: Callable[[Entry], Entry]) -> None:
        """Replace an entry by what `edit` returns for it ({} when there is none), one change at a time over both doors."""
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            unfinished = self._folder / f"{name}.unfinished"
            unfinished.write_text(json.dumps(edit(self.get(name) or {})), encoding="utf-8")
            unfinished.replace(self._file(name))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"
