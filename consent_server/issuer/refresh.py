"""From refresh token to access token (RFC 6749 section 6): one read, one signature, nothing written.

The token is not rotated (FAPI 2.0 section 5.3.2.1 item 9): a client that lost our response asks again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consent_server import audit, clock
from consent_server.issuer import issue
from consent_server.issuer.issue import TokenResponse
from consent_server.issuer.par import licenses_in
from consent_server.issuer.presented import of_refresh_token
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal, require
from consent_server.store.tables.permissions import Permission

PARAMETERS: Final = ("refresh_token", "scope")


@dataclass(frozen=True)
class Refresh:
    """A refresh token as it is presented, with its permission's row, and when."""

    form: Mapping[str, str]
    client_id: str
    permission: Permission
    at: int


class RefreshTokenMissing(Refusal):
    code = "refresh_token_missing"
    public = "refresh_token is missing."
    help = "Send the refresh token that came with the code's redemption."
    clause = "RFC 6749 6"


class RefreshTokenRefused(Refusal):
    """One response for everything that is wrong with a refresh token; the cause is in `private`."""

    code = "refresh_token_refused"
    error = "invalid_grant"
    public = "The refresh token is not valid: unknown, another client's, or its permission has ended."
    help = (
        "Read the permission record to see whether and when the permission ended. If it did, ask the SME for a new "
        "permission, and delete what was stored under the old one."
    )
    clause = "RFC 6749 5.2"


class ScopeNotGranted(Refusal):
    code = "scope_not_granted"
    error = "invalid_scope"
    public = "scope is not the license that was granted: leave it out."
    help = "Leave out scope, or send the license that was granted. Another license needs the SME's permission."
    clause = "RFC 6749 6"


def token_is_this_clients(refresh: Refresh) -> Refusal | None:
    # RFC 6749 section 10.4: the binding between refresh token and client identity; unknown and foreign look alike
    if refresh.permission.client_id != refresh.client_id:
        return RefreshTokenRefused(f"the refresh token of {refresh.permission.client_id}")
    return None


def permission_is_live(refresh: Refresh) -> Refusal | None:
    # Withdrawal of Permission: the refresh token dies at once
    if refresh.permission.ended is not None:
        return RefreshTokenRefused(f"ended as {refresh.permission.ended_as}")
    # IB1 Permission Records: tokenExpires is at most expires, and expiry is exact
    if refresh.at >= refresh.permission.expires:
        return RefreshTokenRefused("its permission has expired")
    return None


def scope_is_the_granted(refresh: Refresh) -> Refusal | None:
    # RFC 6749 section 6: "The requested scope MUST NOT include any scope not originally granted"
    if "scope" in refresh.form and licenses_in(refresh.form["scope"]) != [refresh.permission.license]:
        return ScopeNotGranted()
    return None


CHECKS: Final = (token_is_this_clients, permission_is_live, scope_is_the_granted)


def refresh(caller: MemberCertificate, form: Mapping[str, str]) -> TokenResponse:
    """Exchange a refresh token for an access token; return the body of RFC 6749 section 5.1."""
    # Read before the row: a token is then never dated after the withdrawal that should have stopped it.
    at = clock.now()
    # RFC 6749 section 6: refresh_token is REQUIRED
    if "refresh_token" not in form:
        raise RefreshTokenMissing()
    permission = of_refresh_token(form["refresh_token"])
    if permission is None:
        raise RefreshTokenRefused("not a refresh token of ours")
    require(CHECKS, Refresh(form, caller.application, permission, at))
    audit.event("token_refreshed", client_id=permission.client_id, permission=permission.id, license=permission.license)
    return issue.token_response(permission, caller, at)
