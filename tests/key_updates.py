"""TLS 1.3 records of our own making: key updates one after another, which Python's ssl module does not send."""

import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_HANDSHAKE, _DATA = b"\x16", b"\x17"
_KEY_UPDATE = b"\x18\x00\x00\x01\x00"  # RFC 8446 section 4.6.3, update_not_requested


class Records:
    """What one side of a connection of TLS_AES_256_GCM_SHA384 sends (RFC 8446 section 5.2), which has sent nothing yet.

    `keylog` is the file that its context names, `side` CLIENT or SERVER.
    """

    def __init__(self, keylog: Path, side: str) -> None:
        lines = keylog.read_text(encoding="ascii").splitlines()
        newest = [line for line in lines if line.startswith(f"{side}_TRAFFIC_SECRET_0 ")][-1]
        self._use(bytes.fromhex(newest.split()[2]))

    def _use(self, secret: bytes) -> None:
        self._secret, self._number = secret, 0
        self._key, self._iv = AESGCM(_expanded(secret, b"key", 32)), int.from_bytes(_expanded(secret, b"iv", 12))

    def data(self, data: bytes) -> bytes:
        return self._record(data + _DATA)

    def key_updates(self, count: int) -> bytes:
        made = []
        for _ in range(count):
            made.append(self._record(_KEY_UPDATE + _HANDSHAKE))
            self._use(_expanded(self._secret, b"traffic upd", 48))
        return b"".join(made)

    def _record(self, content: bytes) -> bytes:
        head = struct.pack("!BHH", 23, 0x0303, len(content) + 16)
        nonce = (self._iv ^ self._number).to_bytes(12)
        self._number += 1
        return head + self._key.encrypt(nonce, content, head)


def _expanded(secret: bytes, label: bytes, length: int) -> bytes:
    """Return HKDF-Expand-Label with an empty context (RFC 8446 section 7.1)."""
    label = b"tls13 " + label
    info = struct.pack("!HB", length, len(label)) + label + b"\0"
    return HKDFExpand(SHA384(), length, info).derive(secret)
