"""Handles: random values, of which only the SHA-256 digest is stored."""

import hashlib
import secrets


def digest(handle: str) -> str:
    """Return the SHA-256 of a handle, in hex: all that the database keeps of it."""
    return hashlib.sha256(handle.encode()).hexdigest()


def new_id() -> str:
    """Return an identifier of 128 random bits: not a secret, but not guessable."""
    return secrets.token_urlsafe(16)


def new_secret() -> str:
    """Return a handle of 256 random bits, for what grants access to its bearer."""
    return secrets.token_urlsafe(32)
