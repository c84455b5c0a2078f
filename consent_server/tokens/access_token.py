"""The access token (RFC 9068): one table says who writes each claim and how it is checked.

`CLAIMS` is the whole list. A token with a claim in no row is refused, and so is one that lacks a required row: issuer
and resource server believe the same table. PyJWT verifies the signature only; times are judged here, with our clock, on
every use. A signature that was good once is remembered by the digest of the token's text.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from consent_server.refusal import Refusal
from consent_server.tokens import compact
from consent_server.tokens.compact import Unacceptable
from consent_server.tokens.keys import PublicKeySource, SigningKeys

TYP: Final = "at+jwt"
#: Longest token, in characters: it must fit into one header field of 8,190 bytes.
MAX_LENGTH: Final = 7168
#: Longest life, in seconds, that a resource server believes.
MAX_LIFETIME: Final = 600
#: Seconds that an `iat` may be ahead of our clock (FAPI 2.0 section 5.3.2.1 item 13); nothing is added to `exp`.
CLOCK_OFFSET: Final = 10


class InvalidToken(Refusal):
    """The token is not one of ours, or not believable. Why is in `private`; every cause gets the same answer."""

    code = "invalid_token"
    error = "invalid_token"
    status = 401
    public = "The access token is not valid here; obtain another from the issuer named in the metadata."
    help = (
        "Send the access token exactly as the token endpoint gave it, in the Authorization header. Only tokens signed "
        "by this data's issuer are accepted. Use the refresh token to obtain another."
    )
    clause = "RFC 6750 3.1; RFC 9068 4"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class TokenExpired(InvalidToken):
    """The signature is good and the time is past."""

    code = "token_expired"
    public = "The access token has expired; use the refresh token to obtain another."
    help = "Access tokens live for at most 600 seconds, without leeway. Obtain another with the refresh token."
    clause = "RFC 6750 3.1; RFC 9068 4"


class TokenForAnotherServer(InvalidToken):
    """The signature is good and the audience is another resource server."""

    code = "token_for_another_server"
    public = "The access token was issued for another resource server."
    help = "Each token is for one resource server: obtain one from the issuer of this server's data."
    clause = "RFC 9068 4; RFC 8725 3.9"


@dataclass(frozen=True)
class Permission:
    """The permission behind a token: instants, and the digest of the raw text that the SME agreed to (hex)."""

    granted: int
    expires: int
    text_sha256: str


@dataclass(frozen=True)
class AccessToken:
    """A token's claims. `datasources` are opaque ids; `cnf` is an x5t#S256 thumbprint where certificates bind."""

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
    permission: Permission
    datasources: tuple[str, ...]
    fuels: tuple[str, ...]
    cnf: str | None = None


@dataclass(frozen=True)
class Claim:
    """One row: who writes the claim, what its value looks like, and whether every token has it."""

    written_by: str
    has_form: Callable[[Any], bool]
    required: bool = True


_OPAQUE: Final = re.compile(r"[A-Za-z0-9._~:-]{1,128}")
_URL: Final = re.compile(r"https://[\x21\x23-\x5b\x5d-\x7e]{1,500}")
_HEX_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_X5T_S256: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LATEST_INSTANT: Final = 253_402_300_799  # 9999-12-31T23:59:59Z


def _text(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _whole(value: Any, most: int = _LATEST_INSTANT) -> bool:
    # bool is an int to Python, and true is no number to JSON
    return type(value) is int and 0 <= value <= most


def _members(**forms: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == forms.keys()
        and all(form(value[name]) for name, form in forms.items())
    )


def _distinct(form: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(form, value)) and len(set(value)) == len(value)


_opaque = _text(_OPAQUE)
_url = _text(_URL)

CLAIMS: Final[Mapping[str, Claim]] = {
    # who issued it and whom it is for
    "iss": Claim("the issuer: its identifier (RFC 8414); equal to the issuer that the reader trusts", _url),
    "aud": Claim("the issuer: one resource server; equal to the reader's own audience", _url),
    "sub": Claim("the grant: the permission's opaque account, random per grant, also in provenance", _opaque),
    "client_id": Claim("the grant: the application URL; equal to the caller's certificate (binding.py)", _url),
    "scope": Claim("the grant: one license URL; the guard looks up what it allows", _url),
    # when
    "iat": Claim("the issuer's clock, read before the permission's row; not more than 10 s ahead", _whole),
    "exp": Claim("the issuer: at most 600 s after iat, never past the permission; exact, no leeway", _whole),
    "jti": Claim("the issuer: random; for the audit line", _opaque),
    # what the resource server would otherwise have to ask for
    "status": Claim(
        "the grant: this permission's place in the status list (IETF Token Status List, section 6)",
        _members(status_list=_members(idx=_whole, uri=_url)),
    ),
    "permission": Claim(
        "the decision: when granted, when it ends, digest of the raw text that was agreed to",
        _members(granted=_whole, expires=_whole, text_sha256=_text(_HEX_SHA256)),
    ),
    "datasources": Claim("the decision: opaque ids of all meters of this permission", _distinct(_opaque)),
    "fuels": Claim("the license: what may be read of them", _distinct(lambda value: value in ("electricity", "gas"))),
    "cnf": Claim(
        "the token endpoint, where certificates bind: thumbprint of the caller's (RFC 8705 section 3.1)",
        _members(**{"x5t#S256": _text(_X5T_S256)}),
        required=False,
    ),
}


def mint(keys: SigningKeys, token: AccessToken) -> str:
    """Sign a token. Raises ValueError for one that `read` would not believe: nothing unreadable is ever issued."""
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
        "datasources": list(token.datasources),
        "fuels": list(token.fuels),
    }
    if token.cnf is not None:
        claims["cnf"] = {"x5t#S256": token.cnf}
    _believable(claims)
    text = compact.sign(keys, TYP, claims)
    if len(text) > MAX_LENGTH:
        raise ValueError("the token does not fit into a header field: too many data sources")
    return text


def read(token_text: str, keys: PublicKeySource, *, issuer: str, audience: str, at: int) -> AccessToken:
    """The claims of a token that is believed at the instant `at`.

    Raises InvalidToken, or its TokenExpired and TokenForAnotherServer. Whether the token is the caller's own and
    whether its permission has been withdrawn are the next questions (binding.py, status.py).
    """
    if not issuer or not audience:
        raise ValueError("a resource server without issuer or audience would believe any token")
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


class _Remembered:
    """Tokens whose signature was good, with the key that said so. Bounded: the oldest gives way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tokens: dict[bytes, tuple[str, EllipticCurvePublicKey, AccessToken]] = {}
        self._lock = Lock()

    def get(self, digest: bytes, keys: PublicKeySource) -> AccessToken | None:
        held = self._tokens.get(digest)
        # A key that was retired, or belongs to another issuer, takes its tokens with it.
        return held[2] if held and keys.public(held[0]) is held[1] else None

    def put(self, digest: bytes, kid: str, key: EllipticCurvePublicKey, token: AccessToken) -> None:
        with self._lock:
            self._tokens[digest] = (kid, key, token)
            if len(self._tokens) > self._most:
                del self._tokens[next(iter(self._tokens))]


_remembered: Final = _Remembered(most=2048)


def _signed(text: str, keys: PublicKeySource) -> AccessToken:
    if len(text) > MAX_LENGTH:
        raise Unacceptable("longer than any token of ours")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    token = _remembered.get(digest, keys)
    if token is None:
        kid, key, claims = compact.verify(text, keys, typ=TYP, limit=MAX_LENGTH)
        token = _believable(claims)
        _remembered.put(digest, kid, key, token)
    return token


def _believable(claims: dict[str, Any]) -> AccessToken:
    """The token of these claims, each in its form and none besides. Raises Unacceptable naming the claim."""
    for name in claims:
        if name not in CLAIMS:
            raise Unacceptable("a claim that is in no row of the table")
    for name, row in CLAIMS.items():
        if name not in claims:
            if row.required:
                raise Unacceptable(f"no {name}")
        elif not row.has_form(claims[name]):
            raise Unacceptable(f"{name} has another form")
    permission = Permission(**claims["permission"])
    if not 0 < claims["exp"] - claims["iat"] <= MAX_LIFETIME:
        raise Unacceptable("exp is not within 600 s of iat")
    if claims["exp"] > permission.expires:
        raise Unacceptable("outlives its permission")
    if claims["iat"] < permission.granted:
        raise Unacceptable("older than its permission")
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
        permission=permission,
        datasources=tuple(claims["datasources"]),
        fuels=tuple(claims["fuels"]),
        cnf=claims["cnf"]["x5t#S256"] if "cnf" in claims else None,
    )
