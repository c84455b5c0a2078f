"""How handles are made and kept: at random, and as SHA-256 digests."""

import hashlib
import secrets


def digest(handle: str) -> str:
    """The SHA-256 of a handle, in hex: all that the database keeps of it."""
    return hashlib.sha256(handle.encode()).hexdigest()


def new_id() -> str:
    """An identifier of 128 random bits. Not a secret, but not to be guessed either."""
    return secrets.token_urlsafe(16)


def new_secret() -> str:
    """A handle of 256 random bits, for whatever opens something to its bearer."""
    return secrets.token_urlsafe(32)
