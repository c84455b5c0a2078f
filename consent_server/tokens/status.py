"""The status list that carries withdrawal to resource servers elsewhere (IETF Token Status List, JWT form).

One bit per permission, least significant bit first, compressed with zlib, in a JWT of type `statuslist+jwt` whose `sub`
is the list's own URL. 1 means withdrawn.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from consent_server.signing.jws import Unacceptable, base64url, octets
from consent_server.tokens import compact
from consent_server.tokens.access_token import CLOCK_OFFSET
from consent_server.tokens.keys import PublicKeySource, SigningKeys

TYP: Final = "statuslist+jwt"
#: Seconds after which a resource server looks for a newer list, and after which it no longer accepts the old one.
TTL: Final = 2
LIFETIME: Final = 45
#: Seconds after which a list that has not changed is signed again.
SIGNED_EVERY: Final = 10
#: Longest list, in characters of its JWT and in permissions: what one poll may cost a resource server.
MAX_LENGTH: Final = 4 * 1024 * 1024
MAX_PERMISSIONS: Final = 16 * 1024 * 1024


class StatusListInvalid(ValueError):
    """The list is not acceptable: a resource server without a valid list releases nothing."""


@dataclass(frozen=True)
class StatusList:
    """A verified list, which counts until `exp`."""

    exp: int
    bits: bytes = field(repr=False)

    def withdrawn(self, idx: int) -> bool:
        """Return whether the permission with this index is withdrawn. Raise StatusListInvalid for an index beyond the list."""
        # Token Status List section 8.3: an index out of bounds refuses the token
        if not 0 <= idx < 8 * len(self.bits):
            raise StatusListInvalid("the status list is too short for this permission")
        return bool(self.bits[idx >> 3] >> (idx & 7) & 1)


def with_ended(bits: bytes, size: int, ended: Iterable[int]) -> bytes:
    """Return the bits of a list for `size` permissions: those of an earlier list, and those at `ended` set.

    Raise ValueError for an index outside, or for more permissions than a reader accepts.
    """
    if not 0 <= size <= MAX_PERMISSIONS:
        raise ValueError(f"a status list holds at most {MAX_PERMISSIONS} permissions")
    longer = bytearray(bits.ljust(max(1, -(-size // 8)), b"\0"))
    for idx in ended:
        if not 0 <= idx < size:
            raise ValueError("a withdrawn permission lies outside the status list")
        longer[idx >> 3] |= 1 << (idx & 7)
    return bytes(longer)


def encode(keys: SigningKeys, uri: str, bits: bytes, iat: int, ttl: int, exp: int) -> str:
    """Return the signed list served at `uri`. Its bits come from `with_ended`."""
    claims = {
        "sub": uri,
        "iat": iat,
        "exp": exp,
        "ttl": ttl,
        "status_list": {"bits": 1, "lst": base64url(zlib.compress(bits, 9))},
    }
    return compact.sign(keys, TYP, claims)


def decode(text: str, keys: PublicKeySource, uri: str, at: int) -> StatusList:
    """Return the list served at `uri`, valid at the instant `at`. Raise StatusListInvalid, never quoting the list."""
    try:
        _, _, claims = compact.verify(text, keys, typ=TYP, limit=MAX_LENGTH)
    except Unacceptable as error:
        raise StatusListInvalid(str(error)) from None
    if claims.keys() != {"sub", "iat", "exp", "ttl", "status_list"}:
        raise StatusListInvalid("other claims than sub, iat, exp, ttl and status_list")
    # Token Status List section 8.3: sub equals the uri in the token, so that no list replaces another
    if claims["sub"] != uri:
        raise StatusListInvalid("another list's")
    iat, exp, ttl = (claims[name] for name in ("iat", "exp", "ttl"))
    if any(type(value) is not int or value < 0 for value in (iat, exp, ttl)):
        raise StatusListInvalid("a time is not a whole number")
    if iat > at + CLOCK_OFFSET:
        raise StatusListInvalid("issued in the future: compare the clocks")
    if at >= exp:
        raise StatusListInvalid("expired")
    return StatusList(exp, _bits(claims["status_list"]))


def _bits(status_list: Any) -> bytes:
    if not isinstance(status_list, dict) or status_list.keys() != {"bits", "lst"} or status_list["bits"] != 1:
        raise StatusListInvalid("not a list of one bit per permission")
    packed = status_list["lst"]
    if not isinstance(packed, str):
        raise StatusListInvalid("the list is not base64url")
    inflate = zlib.decompressobj()
    try:
        # A few kilobytes can unpack to gigabytes: unpacking stops at the limit.
        bits = inflate.decompress(octets(packed), MAX_PERMISSIONS // 8)
    except Unacceptable as error:
        raise StatusListInvalid(f"the list is {error}") from None
    except zlib.error:
        raise StatusListInvalid("the list does not unpack") from None
    if not inflate.eof or inflate.unused_data or not bits:
        raise StatusListInvalid("the list is cut short, too long or has something after it")
    return bits
