"""Refresh tokens: `version.id.HMAC(key[version], id)`, made and recognised, never stored.

The permission's row holds the version and the id; the text is recomputed when it is needed (the withdrawal message
contains it). Neither the database alone nor the keys alone yield a token. There is one token per grant, which is not rotated
(FAPI 2.0 section 5.3.2.1 item 9).
"""

import base64
import hashlib
import hmac
import re
import secrets
from itertools import pairwise
from pathlib import Path
from typing import Final

from consent_server import clock
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.signing.jws import base64url
from consent_server.tokens.keys import (
    PUBLISHED_BEFORE_USE,
    KeyFiles,
    KeysUnusable,
    mark_changed,
    write_key_file,
)

#: A key version is kept 25 months after the next one came into use: a permission's year and the 13 months after it.
KEPT_FOR: Final = 25 * 31 * DAY

_KEY_BYTES: Final = 32
_ID_BYTES: Final = 24
_FORM: Final = re.compile(r"([1-9][0-9]{0,5})\.([A-Za-z0-9_-]{32})\.([A-Za-z0-9_-]{43})")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{32}")


class RefreshKeys:
    """The versions of the HMAC key: files `<version>.<instant of first use>.key`, base64 of 32 random bytes.

    Raise KeysUnusable at once when there are none.
    """

    def __init__(self, directory: Path) -> None:
        self._files = KeyFiles(directory, ("key",), _load)

    def current(self) -> int:
        """Return the version for new tokens."""
        return int(self._files.current(clock.now())[0])

    def in_order(self) -> list[tuple[int, str]]:
        """Return (instant of first use, version) of every key, in the order of use."""
        return sorted(self._files.in_order(), key=lambda entry: int(entry[1]))

    def fingerprints(self) -> list[tuple[int, str]]:
        """Return (instant of first use, version and a digest of the key) of every key, in the order of use."""
        keys = self._files.all()
        digests = {name: base64url(hmac.digest(keys[name][1], b"known by", hashlib.sha256))[:12] for name in keys}
        return [(used_from, f"{name} {digests[name]}") for used_from, name in self.in_order()]

    def mac(self, version: int, refresh_id: str) -> str:
        """Return the MAC of an id. Raise KeyError for a version that was removed."""
        key = self._files.all()[str(version)][1]
        return base64url(hmac.digest(key, refresh_id.encode("ascii"), hashlib.sha256))


def make(keys: RefreshKeys) -> tuple[str, int]:
    """Return (refresh_id, version) of a new token: 192 random bits, and the current key version."""
    return secrets.token_urlsafe(_ID_BYTES), keys.current()


def text(keys: RefreshKeys, version: int, refresh_id: str) -> str:
    """Return the token as the client holds it. Raise KeyError when the version's key was removed."""
    if not _ID.fullmatch(refresh_id):
        raise ValueError("not a refresh id of ours")
    return f"{version}.{refresh_id}.{keys.mac(version, refresh_id)}"


def recognise(keys: RefreshKeys, token_text: str) -> str | None:
    """Return the refresh id of a token that we made, or None. A wrong MAC takes as long as a right one."""
    parts = _FORM.fullmatch(token_text)
    if parts is None:
        return None
    version, refresh_id, mac = parts.groups()
    try:
        expected = keys.mac(int(version), refresh_id)
    except KeyError:
        return None
    return refresh_id if hmac.compare_digest(expected, mac) else None


def rotate(directory: Path, at: int) -> int:
    """Make the next version (the first, in an empty directory) and remove those past their time. Return the version.

    The first is used at once, a later one PUBLISHED_BEFORE_USE seconds after `at`, so that every machine that shares
    the directory by copying has it by then.
    """
    if not directory.is_dir() or not any(directory.glob("*.key")):
        _write(directory, 1, at)
        return 1
    used_from, newest = RefreshKeys(directory).in_order()[-1]
    _write(directory, int(newest) + 1, max(at + PUBLISHED_BEFORE_USE, used_from))
    for version, until in kept_until(RefreshKeys(directory)).items():
        if until <= at:
            _remove(directory, version)
    return int(newest) + 1


def retire(directory: Path, version: str, at: int) -> None:
    """Remove a version past its time. Raise KeysUnusable as `require_retirable` does."""
    require_retirable(directory, version, at)
    _remove(directory, version)


def require_retirable(directory: Path, version: str, at: int) -> None:
    """Raise KeysUnusable for a version that is unknown, in use, or still to be kept."""
    keys = RefreshKeys(directory)
    if version not in {name for _, name in keys.in_order()}:
        raise KeysUnusable(f"{directory}: no such version")
    until = kept_until(keys).get(version)
    if until is None:
        raise KeysUnusable(f"version {version} is the newest; rotate first")
    if at < until:
        raise KeysUnusable(f"version {version} is kept until {instant.text(until)}: refresh tokens may still quote it")


def kept_until(keys: RefreshKeys) -> dict[str, int]:
    """Return version -> the instant until which its tokens may be presented; the newest version has none."""
    order = keys.in_order()
    return {version: follows + KEPT_FOR for (_, version), (follows, _) in pairwise(order)}


def _remove(directory: Path, version: str) -> None:
    before = directory.stat()
    for path in directory.glob(f"{version}.*.key"):
        path.unlink()
    mark_changed(directory, before)


def _write(directory: Path, version: int, used_from: int) -> None:
    write_key_file(directory, f"{version}.{used_from}.key", base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")


def _load(first: str, second: str, content: bytes) -> tuple[str, int, bytes]:
    key = base64.b64decode(content.strip(), validate=True)
    # An empty or short HMAC key would verify what anybody can make (CVE-2026-49852 of another library).
    if len(key) != _KEY_BYTES or str(int(first)) != first or str(int(second)) != second:
        raise ValueError("not a refresh key of ours")
    return first, int(second), key
