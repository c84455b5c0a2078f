"""The guard: what must be true before data leaves, as a table of small checks on plain values.

`caller.identify` has checked the caller and its role. `Guard.release` then takes one token from the Authorization header, reads
its claims (tokens.access_token), and runs CHECKS in order. A token that is invalid, has ended or is another caller's is a
401; a valid token that does not cover what is asked is a 403; a data source that is not in it is a 404, whoever has it.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from consent_server.outbound.errors import Unreachable
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal, Unavailable, require
from consent_server.tokens import access_token, binding
from consent_server.tokens.access_token import AccessToken, InvalidToken
from consent_server.tokens.keys import PublicKeySource


class TokenMissing(InvalidToken):
    code = "token_missing"
    public = "Send the access token in one Authorization header, as Bearer followed by the token."
    help = "Send exactly one header of the form: Authorization: Bearer, a space, the access token."
    clause = "FAPI 2.0 5.3.4-2; RFC 6750 2.1"


class TokenInQuery(InvalidToken):
    """The token is in the URL, where logs and histories keep it. It is refused even with a good header beside it."""

    code = "token_in_query"
    public = "An access token must never be sent in a URL; send it only in the Authorization header."
    help = "Take access_token out of the query and send it in the Authorization header. Treat that token as leaked."
    clause = "FAPI 2.0 5.3.4-2; RFC 6750 2.3"


class PermissionEnded(InvalidToken):
    code = "permission_ended"
    public = "The permission behind this access token has ended; data may no longer be read under it."
    help = "The SME withdrew this permission, or a newer one took its place. Stop using it, and delete what you must."
    clause = "FAPI 2.0 5.3.4-3; Withdrawal of Permission 1.0"


class WithdrawalsUnknown(Unavailable):
    code = "withdrawals_unknown"
    public = (
        "Whether this permission is still in force cannot be checked just now; try again after the time in Retry-After."
    )
    help = "The server has no current list of withdrawn permissions, and releases nothing until it has one again."
    clause = "FAPI 2.0 5.3.4-3"


class KeysUnknown(Unavailable):
    code = "keys_unknown"
    public = "The access token cannot be checked just now; try again after the time in Retry-After."
    help = "The server cannot fetch the issuer's public keys at present. This does not mean that the token is wrong."
    clause = "RFC 9068 4"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60"}


class MetersUnknown(Unavailable):
    code = "meters_unknown"
    public = (
        "Which meters this permission covers cannot be looked up just now; try again after the time in Retry-After."
    )
    help = "The data API could not ask the energy provider's issuer for the meters of this token. Try again later."
    headers: ClassVar[dict[str, str]] = {"Retry-After": "10"}


class InsufficientScope(Refusal):
    """Base of the refusals of a valid token that does not cover what is asked."""

    error = "insufficient_scope"
    status = 403
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}


class LicenseNotAccepted(InsufficientScope):
    code = "license_not_accepted"
    public = "The license of this access token does not allow this data; ask for a permission under one that does."
    help = "Push a new authorization request whose scope is a license that this resource server accepts."
    clause = "FAPI 2.0 5.3.4-4; RFC 6750 3.1"


class TextNotAccepted(InsufficientScope):
    code = "text_not_accepted"
    public = "The permission text behind this access token is not the published one; ask for a new permission."
    help = (
        "The SME agreed to a wording that this server does not accept. Ask the SME again, under the current text of "
        "the license."
    )
    clause = "Perseus policy data-license; FAPI 2.0 5.3.4-4"


class FuelNotCovered(InsufficientScope):
    code = "fuel_not_covered"
    public = "This permission does not cover that fuel; ask for one under a license that does."
    help = (
        "An electricity-only permission never releases gas. Push a request for a license whose text names both fuels."
    )
    clause = "FAPI 2.0 5.3.4-4; RFC 6750 3.1"


class NoSuchDataSource(Refusal):
    """Not a data source of this permission. Unknown ones and other people's get the same refusal."""

    code = "no_such_data_source"
    error = "not_found"
    status = 404
    public = "There is no such data source under this permission; GET /datasources lists those that exist."
    help = "Use an id exactly as GET /datasources gives it, percent-encoded, with a token of the same permission."
    clause = "FAPI 2.0 5.3.4-4; consumption data API 2026-03-12"


@dataclass(frozen=True)
class AcceptedLicense:
    """What a resource server pins for one license URL: the digest of its raw text (hex), and the fuels it covers."""

    text_sha256: str
    fuels: Collection[str]


@dataclass(frozen=True)
class Policy:
    """Which tokens one resource server accepts: from which issuer, for which audience, under which licenses.

    `status_uri` is the issuer's status list, which tokens must name.
    """

    issuer: str
    audience: str
    status_uri: str
    licenses: Mapping[str, AcceptedLicense]
    bind_to_certificate: bool = False

    def __post_init__(self) -> None:
        # An empty value must never mean "any" (PYSEC-2026-4358): such a server does not start.
        if not all((self.issuer, self.audience, self.status_uri, self.licenses)):
            raise ValueError("a resource server needs an issuer, an audience, a status list and licenses")


#: (status index, the token's iat) -> whether that permission has ended. Raise Unreachable when it cannot be known.
Withdrawn = Callable[[int, int], bool]


@dataclass(frozen=True)
class Presented:
    """A caller and a valid token, not yet checked to be the caller's."""

    caller: MemberCertificate
    token: AccessToken
    policy: Policy
    withdrawn: Withdrawn


def is_the_callers_own(presented: Presented) -> Refusal | None:
    token = presented.token
    return binding.bound(token.client_id, token.cnf, presented.caller, presented.policy.bind_to_certificate)


def is_in_our_status_list(presented: Presented) -> Refusal | None:
    # Token Status List 8.3: an index has a meaning in its own list alone
    if presented.token.status_uri != presented.policy.status_uri:
        return InvalidToken("names another status list")
    return None


def is_not_withdrawn(presented: Presented) -> Refusal | None:
    try:
        ended = presented.withdrawn(presented.token.status_idx, presented.token.iat)
    except Unreachable as error:
        # FAPI 2.0 5.3.4-3: the status of the token must be known, so not knowing is a refusal
        return WithdrawalsUnknown(str(error))
    return PermissionEnded("the permission has ended") if ended else None


def has_an_accepted_license(presented: Presented) -> Refusal | None:
    if presented.token.scope not in presented.policy.licenses:
        return LicenseNotAccepted("the license is not one of this resource server's")
    return None


def was_agreed_in_the_pinned_text(presented: Presented) -> Refusal | None:
    if presented.policy.licenses[presented.token.scope].text_sha256 != presented.token.permission.text_sha256:
        return TextNotAccepted("the digest of the text agreed to is not the pinned one")
    return None


CHECKS: Final = (
    is_the_callers_own,
    is_in_our_status_list,
    is_not_withdrawn,
    has_an_accepted_license,
    was_agreed_in_the_pinned_text,
)


@dataclass(frozen=True)
class GrantedMeter:
    """The meter behind a data source, as the provider's register names it, and the business's time at it.

    None: no beginning, or no end, is known.
    """

    datasource: str
    meter: str = field(repr=False)
    fuel: str
    measures: tuple[str, ...]
    since: int | None
    until: int | None

    def clamp(self, start: int, end: int) -> tuple[int, int]:
        """Return the part of a window that is the business's; an end that is not after the start where there is none."""
        return max(start, self.since or 0), end if self.until is None else min(end, self.until)


@dataclass(frozen=True)
class Release:
    """What a caller may have: the outcome of the guard. `fuels` are those in the token that its license's text covers.

    `meters` are by data source; None where the guard was not told whom to ask.
    """

    caller: MemberCertificate = field(repr=False)
    token: AccessToken = field(repr=False)
    fuels: frozenset[str]
    meters: Mapping[str, GrantedMeter] | None = field(default=None, repr=False)

    @property
    def account(self) -> str:
        """Return the permission's opaque account, which provenance names too."""
        return self.token.sub

    def require_datasource(self, datasource: str) -> None:
        """Raise NoSuchDataSource."""
        if datasource not in self.token.datasources:
            raise NoSuchDataSource("the data source is not in the token")
        if self.meters is not None and datasource not in self.meters:
            raise NoSuchDataSource("the business has and had no such meter")

    def require_fuel(self, fuel: str) -> None:
        """Raise FuelNotCovered."""
        if fuel not in self.fuels:
            raise FuelNotCovered(f"{fuel} under {self.token.scope}")


# RFC 6750 2.1 (b64token), RFC 9110 11.1 (the scheme in any case). Two headers arrive joined by a comma, which no token has.
_CREDENTIALS: Final = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")


def bearer(authorization: str | None, query: Collection[str]) -> str:
    """Return the token of an Authorization header; `query` are the names in the URL. Raise TokenMissing, TokenInQuery."""
    if "access_token" in query:
        raise TokenInQuery("access_token in the query")
    credentials = _CREDENTIALS.fullmatch(authorization or "")
    if credentials is None:
        raise TokenMissing("no Authorization header" if authorization is None else "not one bearer token")
    return credentials[1]


class Guard:
    """One resource server's guard. `keys` are the issuer's; `withdrawn` is asked on every call."""

    def __init__(self, policy: Policy, keys: PublicKeySource, withdrawn: Withdrawn) -> None:
        self.policy = policy
        self._keys = keys
        self._withdrawn = withdrawn

    def release(self, caller: MemberCertificate, authorization: str | None, query: Collection[str], at: int) -> Release:
        """Return what an identified caller may have at an instant (caller.identify judged its role). Raise a Refusal."""
        text = bearer(authorization, query)
        try:
            token = access_token.read(text, self._keys, issuer=self.policy.issuer, audience=self.policy.audience, at=at)
        except Unreachable as error:
            raise KeysUnknown(str(error)) from None
        require(CHECKS, Presented(caller, token, self.policy, self._withdrawn))
        return Release(caller, token, frozenset(token.fuels) & frozenset(self.policy.licenses[token.scope].fuels))
