"""The only form of JWT that we make and read: compact JWS, ES256, a header of exactly `alg`, `typ` and `kid`.

Other headers, and what `signing.jws` does not accept, are refused before a key is looked up.
"""

import re
from functools import lru_cache
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from consent_server.signing.jws import ALGORITHM, Unacceptable, base64url, is_signature, members, octets, raw_signature
from consent_server.tokens.keys import PublicKeySource, SigningKeys

# RFC 7518 section 3.4: an ES256 signature is two integers of 32 octets each, which are 86 characters of base64url.
_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})")
_KID: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")


def sign(keys: SigningKeys, typ: str, claims: dict[str, Any]) -> str:
    """Return the claims as a JWT signed with the current key. Raise Unavailable while its HSM cannot be reached."""
    kid, key = keys.current()
    signed = f"{_header(typ, kid)}.{base64url(orjson.dumps(claims))}"
    return f"{signed}.{base64url(raw_signature(key.sign(signed.encode('ascii'))))}"


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
    header = members(octets(parts[1]))
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
    claims = members(octets(parts[2]))
    if not is_signature(key, held, text.rpartition(".")[0].encode("ascii")):
        raise Unacceptable("the signature does not verify")
    return kid, key, claims
