"""The parts of a JWS (RFC 7515) with ES256: base64url, JSON, and the signature.

Forms that a lenient parser would accept are refused: padded or non-canonical base64url, repeated member names, numbers that are
not integers, text that is not UTF-8. PyJWT verifies the signature and does nothing else.
"""

import base64
import json
from binascii import b2a_base64
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt import get_algorithm_by_name

ALGORITHM: Final = "ES256"
_INTEGER_OCTETS: Final = 32
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_es256: Final = get_algorithm_by_name(ALGORITHM)


class Unacceptable(ValueError):
    """Not a JWS that we accept. The message says why and quotes nothing of it."""


def base64url(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE, b"=").decode("ascii")


def octets(segment: str) -> bytes:
    """Return what canonical base64url without padding encodes. Raise Unacceptable."""
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:  # binascii.Error is one, and another is raised for what is not ASCII
        raise Unacceptable("not base64url") from None
    # RFC 4648 section 3.5: the unused bits of the last character are zero, else one text has several spellings.
    if base64url(data) != segment:
        raise Unacceptable("not canonical base64url")
    return data


def members(text: bytes) -> dict[str, Any]:
    """Return one JSON object in UTF-8, without repeated members and with whole numbers only. Raise Unacceptable."""
    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=_once_each, parse_float=_no_number, parse_constant=_no_number
        )
    except Unacceptable:
        raise
    except (ValueError, RecursionError):
        raise Unacceptable("not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise Unacceptable("not a JSON object")
    return value


def raw_signature(der: bytes) -> bytes:
    """Return an ES256 signature, 64 octets (RFC 7518 section 3.4), from its DER."""
    return b"".join([integer.to_bytes(_INTEGER_OCTETS, "big") for integer in decode_dss_signature(der)])


def is_signature(key: EllipticCurvePublicKey, octets: bytes, signed: bytes) -> bool:
    """Return whether these octets are the ES256 signature of `signed`. Callers have checked that the key is on P-256."""
    return bool(_es256.verify(signed, key, octets))


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unacceptable("a member appears twice")
    return found


def _no_number(_: str) -> Any:
    raise Unacceptable("a number is not a whole number")
