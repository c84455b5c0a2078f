"""What `parties` hands to the issuer: plain values, and functions for what the issuer may not import."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consent_server.pki.member_certificate import MemberCertificate
from consent_server.scheme.licenses import License
from consent_server.settings import Settings
from consent_server.tokens.keys import SigningKeys
from consent_server.tokens.refresh_token import RefreshKeys

#: A row of the store, read by attribute, and an open transaction of it: SQL itself stays in the store.
Row = Any
Connection = Any


@dataclass(frozen=True)
class JourneyStart:
    """Where a new journey begins: the path of its first page, and the cookie that ties it to this browser.

    `cookies` is what the names of all journeys' cookies begin with.
    """

    location: str
    cookies: str
    cookie: str
    value: str
    max_age: int


@dataclass(frozen=True)
class IssuerParts:
    """One party's issuer.

    `roles_required`: role URLs, one of which a client's certificate must hold.
    `licenses`: license URL -> the license, for each that may be asked for here.
    `resource`: the audience of every access token, which is this party's resource server.
    `caller`: the request's environ -> the certificate that it came with; raises the refusals of `caller`.
    `start_journey`: (journey id, journey secret) -> where the browser goes, and with which cookie.
    `rests_on`: (open connection, SME) -> ids of what a new grant of this SME rests on; empty at an EDP.
    `data_available_from`: a permission's row -> the earliest instant that the resource server has data for.
    """

    settings: Settings
    roles_required: tuple[str, ...]
    licenses: Mapping[str, License]
    resource: str
    signing_keys: SigningKeys
    refresh_keys: RefreshKeys
    caller: Callable[[Mapping[str, Any]], MemberCertificate]
    start_journey: Callable[[str, str], JourneyStart]
    rests_on: Callable[[Connection, str], Sequence[str]]
    data_available_from: Callable[[Row], int]
