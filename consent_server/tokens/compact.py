"""The only form of JWT that we make and read: compact JWS, ES256, a header of exactly `alg`, `typ` and `kid`.

PyJWT verifies the signature and does nothing else. Forms that a lenient parser would accept are refused before a key is looked
up: other headers, padded or non-canonical base64url, repeated member names, numbers that are not integers, text that is not
UTF-8.
"""

import base64
import binascii
import json
import re
from functools import lru_cache
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt import get_algorithm_by_name

from consent_server.signing.key import SigningKey
from consent_server.tokens.keys import PublicKeySource, SigningKeys, base64url

ALGORITHM: Final = "ES256"
# RFC 7518 section 3.4: an ES256 signature is two integers of 32 octets each, which are 86 characters of base64url.
_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})")
_KID: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_INTEGER_OCTETS: Final = 32
_es256: Final = get_algorithm_by_name(ALGORITHM)


class Unacceptable(ValueError):
    """Not a JWT of ours. The message says why and quotes nothing of the token."""


def sign(keys: SigningKeys, typ: str, claims: dict[str, Any]) -> str:
    """Return the claims as a JWT signed with the current key. Raise Unavailable while its HSM cannot be reached."""
    kid, key = keys.current()
    signed = f"{_header(typ, kid)}.{base64url(orjson.dumps(claims))}"
    return f"{signed}.{base64url(signature(key, signed.encode('ascii')))}"


def signature(key: SigningKey, signed: bytes) -> bytes:
    """Return an ES256 signature, 64 octets (RFC 7518 section 3.4). Raise Unavailable."""
    return b"".join([integer.to_bytes(_INTEGER_OCTETS, "big") for integer in decode_dss_signature(key.sign(signed))])


@lru_cache(maxsize=16)
def _header(typ: str, kid: str) -> str:
    return base64url(orjson.dumps({"alg": ALGORITHM, "kid": kid, "typ": typ}))


def verify(
    text: str, keys: PublicKeySource, *, typ: str, limit: int
) -> tuple[str, EllipticCurvePublicKey, dict[str, Any]]:
    """Return (kid, the key that verified it, claims) of a token whose signature is good. The claims are not checked.

    `limit` is the longest text accepted, in characters. Raise Unacceptable.
    """
    if len(text) > limit:
        raise Unacceptable("longer than any token of ours")
    parts = _FORM.fullmatch(text)
    if parts is None:
        raise Unacceptable("not a compact JWS with an ES256 signature")
    header = _members(octets(parts[1]))
    held = octets(parts[3])
    # RFC 8725 section 3.10 and 3.11: nothing that the sender chooses (jwk, jku, x5u, crit, b64, zip) is used.
    if header.keys() != {"alg", "typ", "kid"}:
        raise Unacceptable("the header has other members than alg, typ and kid")
    # RFC 8725 section 3.1: one algorithm, ours, whatever the header says.
    if header["alg"] != ALGORITHM:
        raise Unacceptable("the algorithm is not ES256")
    if header["typ"] != typ:
        raise Unacceptable(f"the type is not {typ}")
    kid = header["kid"]
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise Unacceptable("the kid is not a key name")
    key = keys.public(kid)
    if key is None:
        raise Unacceptable("no key of that kid")
    claims = _members(octets(parts[2]))
    if not _es256.verify(text.rpartition(".")[0].encode("ascii"), key, held):
        raise Unacceptable("the signature does not verify")
    return kid, key, claims


def _members(text: bytes) -> dict[str, Any]:
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


def octets(segment: str) -> bytes:
    """Return what canonical base64url without padding encodes. Raise Unacceptable."""
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise Unacceptable("not base64url") from None
    # RFC 4648 section 3.5: the unused bits of the last character are zero, else one token has several spellings.
    if base64url(data) != segment:
        raise Unacceptable("not canonical base64url")
    return data


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unacceptable("a member appears twice")
    return found


def _no_number(_: str) -> Any:
    raise Unacceptable("a number is not a whole number")
