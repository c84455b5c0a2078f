"""What the bank holds: applications under way and permissions, one JSON file each, shared by both of its doors."""

import fcntl
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from consent_server.bank.held import HeldPermission, as_json, from_json
from consent_server.sandbox.journal import write_whole

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

    def all(self, kind: str) -> list[Entry]:
        """Return every entry of a kind."""
        found = [self.get(path.stem) for path in self._folder.glob(f"{kind}-*.json")]
        return [entry for entry in found if entry]

    def put(self, name: str, entry: Entry) -> None:
        """Keep an entry in the place of an earlier one."""
        self.change(name, lambda _: entry)

    def change(self, name: str, edit: Callable[[Entry], Entry]) -> Entry:
        """Replace an entry by what `edit` returns for it ({} when there is none), one change at a time over both doors, and
        return that."""
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entry = edit(self.get(name) or {})
            write_whole(self._file(name), json.dumps(entry).encode())
        return entry

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"


class PermissionBook:
    """The library's PermissionStore, in a book."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def put(self, held: HeldPermission) -> None:
        self._book.put(_name(held.id), _entry(held))

    def get(self, permission: str) -> HeldPermission | None:
        entry = self._book.get(_name(permission))
        return None if entry is None else _held(entry)

    def by_mac(self, mac: str) -> HeldPermission | None:
        return next((held for held in self.all() if mac in held.macs), None)

    def all(self) -> list[HeldPermission]:
        return sorted(map(_held, self._book.all("permission")), key=lambda held: held.granted, reverse=True)

    def change(self, permission: str, edit: Callable[[HeldPermission], HeldPermission]) -> HeldPermission:
        return _held(self._book.change(_name(permission), lambda entry: _entry(edit(_held(entry)))))


def _name(permission: str) -> str:
    return f"permission-{permission}"


def _entry(held: HeldPermission) -> Entry:
    found: Entry = json.loads(as_json(held))
    return found


def _held(entry: Entry) -> HeldPermission:
    return from_json(json.dumps(entry).encode())
