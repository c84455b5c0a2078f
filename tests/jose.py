"""base64url, segments of a JWS and the challenge of PKCE, written apart from the product: tests compare it with these."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any


def encoded(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def segment(value: Any) -> str:
    """Octets, or JSON of anything else, as a segment of a JWS."""
    return encoded(value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode())


def unsegment(text: str) -> Any:
    return json.loads(decoded(text))


def header_of(token: str) -> Any:
    return unsegment(token.split(".")[0])


def claims_of(token: str) -> Any:
    return unsegment(token.split(".")[1])


def s256(verifier: str) -> str:
    """The code_challenge of a verifier (RFC 7636 section 4.2)."""
    return encoded(hashlib.sha256(verifier.encode()).digest())
