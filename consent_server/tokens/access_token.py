"""The access token (RFC 9068): one table says where each claim comes from and how it is checked.

`CLAIMS` is the whole list, for issuer and resource server alike. A token with a claim that has no row is refused, and so
is one that lacks a required claim. PyJWT verifies the signature only; times are checked here, with our clock, on every
use. A signature that was verified once is remembered by the digest of the token's text.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from consent_server.refusal import Refusal
from consent_server.signing.jws import Unacceptable
from consent_server.tokens import compact, data_sources
from consent_server.tokens.data_sources import DataSources
from consent_server.tokens.keys import PublicKeySource, SigningKeys

TYP: Final = "at+jwt"
#: Longest token, in characters: it must fit into one header field of 8,190 bytes.
MAX_LENGTH: Final = 7168
#: Longest lifetime, in seconds, that a resource server accepts.
MAX_LIFETIME: Final = 600
#: Seconds that an `iat` may be ahead of our clock (FAPI 2.0 section 5.3.2.1 item 13); nothing is added to `exp`.
CLOCK_OFFSET: Final = 10


class InvalidToken(Refusal):
    """The token is not one of ours, or not valid. `private` has the cause; the response is the same for every cause."""

    code = "invalid_token"
    error = "invalid_token"
    status = 401
    public = "The access token is not valid here; obtain another from the issuer named in the metadata."
    help = (
        "Send the access token exactly as the token endpoint returned it, in the Authorization header. Only tokens "
        "signed by this data's issuer are accepted. Use the refresh token to obtain another."
    )
    clause = "RFC 6750 3.1; RFC 9068 4"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class TokenExpired(InvalidToken):
    """The signature is good and the token has expired."""

    code = "token_expired"
    public = "The access token has expired; use the refresh token to obtain another."
    help = "Access tokens are valid for at most 600 seconds, without leeway. Obtain another with the refresh token."
    clause = "RFC 6750 3.1; RFC 9068 4"


class TokenForAnotherServer(InvalidToken):
    """The signature is good and the audience is another resource server."""

    code = "token_for_another_server"
    public = "The access token was issued for another resource server."
    help = "Each token is for one resource server: obtain one from the issuer that this server accepts."
    clause = "RFC 9068 4; RFC 8725 3.9"


@dataclass(frozen=True)
class PermissionClaim:
    """The permission behind a token: instants, and the digest of the raw text that the SME agreed to (hex)."""

    granted: int
    expires: int
    text_sha256: str


@dataclass(frozen=True)
class AccessToken:
    """A token's claims. `cnf` is an x5t#S256 thumbprint where certificates bind."""

    iss: str
    aud: str
    sub: str
    client_id: str
    scope: str
    iat: int
    exp: int
    jti: str
    status_idx: int
    status_uri: str
    permission: PermissionClaim
    datasources: DataSources
    fuels: tuple[str, ...]
    cnf: str | None = None


@dataclass(frozen=True)
class Claim:
    """The form of a claim's value, and whether every token has it."""

    has_form: Callable[[Any], bool]
    required: bool = True


_LATEST_INSTANT: Final = 253_402_300_799  # 9999-12-31T23:59:59Z


def _text(pattern: str) -> Callable[[Any], bool]:
    form = re.compile(pattern)
    return lambda value: isinstance(value, str) and form.fullmatch(value) is not None


def _whole(value: Any) -> bool:
    # bool is an int to Python, and true is no number to JSON
    return type(value) is int and 0 <= value <= _LATEST_INSTANT


def _members(**forms: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def has_form(value: Any) -> bool:
        if not isinstance(value, dict) or value.keys() != forms.keys():
            return False
        for name, form in forms.items():  # noqa: SIM110 - a generator takes as long as what it asks
            if not form(value[name]):
                return False
        return True

    return has_form


def _distinct(form: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(form, value)) and len(set(value)) == len(value)


_opaque = _text(r"[A-Za-z0-9._~:-]{1,128}")
_url = _text(r"https://[\x21\x23-\x5b\x5d-\x7e]{1,500}")

#: The comment above each claim says where its value comes from, and what a reader compares it with.
CLAIMS: Final[Mapping[str, Claim]] = {
    # the issuer and the parties that the token is for
    # the issuer: its identifier (RFC 8414); equal to the issuer that the reader trusts
    "iss": Claim(_url),
    # the issuer: one resource server; equal to the reader's own audience
    "aud": Claim(_url),
    # the grant: the permission's opaque account, random per grant, also in provenance
    "sub": Claim(_opaque),
    # the grant: the application URL; equal to the caller's certificate (binding.py)
    "client_id": Claim(_url),
    # the grant: one license URL; the guard looks up what it allows
    "scope": Claim(_url),
    # when
    # the issuer's clock, read before the permission's row; not more than 10 s ahead
    "iat": Claim(_whole),
    # the issuer: at most 600 s after iat, never past the permission; exact, no leeway
    "exp": Claim(_whole),
    # the issuer: random; for the audit line
    "jti": Claim(_opaque),
    # what the resource server would otherwise have to look up
    # the grant: this permission's place in the status list (IETF Token Status List, section 6)
    "status": Claim(_members(status_list=_members(idx=_whole, uri=_url))),
    # the decision: when granted, when it ends, digest of the raw text that was agreed to
    "permission": Claim(_members(granted=_whole, expires=_whole, text_sha256=_text(r"[0-9a-f]{64}"))),
    # the decision: all meters of this permission (data_sources.py)
    "datasources": Claim(data_sources.has_form),
    # the license: what may be read of them
    "fuels": Claim(_distinct(lambda value: value in ("electricity", "gas"))),
    # the token endpoint, where certificates bind: thumbprint of the caller's (RFC 8705 section 3.1)
    "cnf": Claim(
        _members(**{"x5t#S256": _text(r"[A-Za-z0-9_-]{43}")}),
        required=False,
    ),
}


def mint(keys: SigningKeys, token: AccessToken) -> str:
    """Return a signed token. Raise ValueError for one that `read` would refuse."""
    claims: dict[str, Any] = {
        "iss": token.iss,
        "aud": token.aud,
        "sub": token.sub,
        "client_id": token.client_id,
        "scope": token.scope,
        "iat": token.iat,
        "exp": token.exp,
        "jti": token.jti,
        "status": {"status_list": {"idx": token.status_idx, "uri": token.status_uri}},
        "permission": {
            "granted": token.permission.granted,
            "expires": token.permission.expires,
            "text_sha256": token.permission.text_sha256,
        },
        "datasources": token.datasources.claim(),
        "fuels": list(token.fuels),
    }
    if token.cnf is not None:
        claims["cnf"] = {"x5t#S256": token.cnf}
    _require_form(claims)
    text = compact.sign(keys, TYP, claims)
    if len(text) > MAX_LENGTH:
        raise ValueError("the token does not fit into a header field")
    return text


def read(token_text: str, keys: PublicKeySource, *, issuer: str, audience: str, at: int) -> AccessToken:
    """Return the claims of a token that is valid at the instant `at`.

    Raise InvalidToken, or its TokenExpired and TokenForAnotherServer. binding.py then checks that the token is the
    caller's own, and status.py that its permission has not been withdrawn.
    """
    if not issuer or not audience:
        raise ValueError("a resource server without issuer or audience would accept any token")
    try:
        token = _signed(token_text, keys)
    except Unacceptable as error:
        raise InvalidToken(str(error)) from None
    # RFC 9068 section 4: the issuer's identifier exactly; the audience is this resource server
    if token.iss != issuer:
        raise InvalidToken("another issuer's")
    if token.aud != audience:
        raise TokenForAnotherServer("the audience is another resource server")
    # FAPI 2.0 section 5.3.2.1 item 13
    if token.iat > at + CLOCK_OFFSET:
        raise InvalidToken("issued in the future: compare the clocks")
    # RFC 7519 section 4.1.4: on or after exp the token is not accepted
    if at >= token.exp:
        raise TokenExpired("expired")
    return token


# digest of a verified token -> the key that verified it, and the token. The oldest entry is removed first.
_remembered: Final[dict[bytes, tuple[str, EllipticCurvePublicKey, AccessToken]]] = {}
_REMEMBERED: Final = 2048
_remembering: Final = threading.Lock()


def _signed(text: str, keys: PublicKeySource) -> AccessToken:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    held = _remembered.get(digest)
    # A token no longer counts when its key was retired, or belongs to another issuer.
    if held is not None and keys.public(held[0]) is held[1]:
        return held[2]
    kid, key, claims = compact.verify(text, keys, typ=TYP, limit=MAX_LENGTH)
    token = _token(claims)
    with _remembering:
        _remembered[digest] = (kid, key, token)
        if len(_remembered) > _REMEMBERED:
            del _remembered[next(iter(_remembered))]
    return token


def _require_form(claims: dict[str, Any]) -> None:
    """Raise Unacceptable naming the claim unless each of these claims has its form, and there are no others."""
    if claims.keys() - CLAIMS.keys():
        raise Unacceptable("a claim that is in no row of the table")
    for name, row in CLAIMS.items():
        if name not in claims:
            if row.required:
                raise Unacceptable(f"no {name}")
        elif not row.has_form(claims[name]):
            raise Unacceptable(f"{name} has another form")
    permission = claims["permission"]
    if not 0 < claims["exp"] - claims["iat"] <= MAX_LIFETIME:
        raise Unacceptable("exp is not within 600 s of iat")
    if claims["exp"] > permission["expires"]:
        raise Unacceptable("outlives its permission")
    if claims["iat"] < permission["granted"]:
        raise Unacceptable("older than its permission")


def _token(claims: dict[str, Any]) -> AccessToken:
    """Return the token of these claims. Raise Unacceptable, as `_require_form` does."""
    _require_form(claims)
    return AccessToken(
        iss=claims["iss"],
        aud=claims["aud"],
        sub=claims["sub"],
        client_id=claims["client_id"],
        scope=claims["scope"],
        iat=claims["iat"],
        exp=claims["exp"],
        jti=claims["jti"],
        status_idx=claims["status"]["status_list"]["idx"],
        status_uri=claims["status"]["status_list"]["uri"],
        permission=PermissionClaim(**claims["permission"]),
        datasources=DataSources.from_claim(claims["datasources"]),
        fuels=tuple(claims["fuels"]),
        cnf=claims["cnf"]["x5t#S256"] if "cnf" in claims else None,
    )
