"""Tokens that we hold as a client: sealed with AES-GCM, and found by a keyed digest."""

import hashlib
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class BadSealingKey(Exception):
    """The sealing key is missing or not 32 bytes; the message says what to do."""


class Sealer:
    """Seals text under one 32-byte key. The key of the digests is derived from it, so that neither use weakens the other."""

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise BadSealingKey("the sealing key must be 32 bytes: make one with `consent-server keys make`")
        self._key = key
        self._aead = AESGCM(key)
        self._finding = hmac.digest(key, b"find", hashlib.sha256)

    @classmethod
    def from_file(cls, path: Path) -> "Sealer":
        """Return the sealer of a key file. Raise BadSealingKey when it does not exist or has another length."""
        try:
            return cls(path.read_bytes())
        except FileNotFoundError:
            how = "a party makes it with `consent-server keys make`, a bank as docs/bank.md says"
            raise BadSealingKey(f"{path} does not exist: {how}") from None

    @staticmethod
    def make(path: Path) -> None:
        """Write a new key, readable by its owner alone. An existing file is left as it is."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(32))

    def for_use(self, use: str) -> "Sealer":
        """Return a sealer with a key derived for one use: what strangers can have sealed uses up no nonces of the first."""
        return Sealer(hmac.digest(self._key, b"for " + use.encode(), hashlib.sha256))

    def seal(self, text: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, text.encode(), None)

    def unseal(self, sealed: bytes) -> str:
        """Return the text. Raise BadSealingKey when another key sealed it, or when it was changed."""
        try:
            return self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], None).decode()
        except InvalidTag:
            raise BadSealingKey(
                "this sealing key did not seal what the database holds: restore the right key"
            ) from None

    def fingerprint(self) -> str:
        """Return a digest of the key, which shows whether two keys are the same."""
        return self.mac("known by")[:12]

    def mac(self, text: str) -> str:
        """Return the keyed digest, in hex, by which a sealed text is found."""
        return hmac.digest(self._finding, text.encode(), hashlib.sha256).hex()
