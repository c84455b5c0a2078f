"""Access tokens of a permission, made in one place for both grants."""

from typing import NotRequired, TypedDict

from consent_server.deployment import current
from consent_server.issuer import metadata
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.store.digests import new_id
from consent_server.store.tables.permissions import Permission
from consent_server.tokens import access_token, binding
from consent_server.tokens.access_token import AccessToken, PermissionClaim
from consent_server.tokens.data_sources import DataSources


class TokenResponse(TypedDict):
    """The body of RFC 6749 section 5.1."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    refresh_token: NotRequired[str]


def token_response(permission: Permission, caller: MemberCertificate, at: int) -> TokenResponse:
    """Return the body without a refresh token. `at` was read before the permission's row."""
    here = current()
    settings = here.settings
    # The clock of the node that granted may be ahead of ours: no token is older than its permission.
    issued = max(at, permission.granted)
    # IB1 Permission Records: no token outlives its permission
    expires = min(issued + settings.lifetimes.access_token, permission.expires)
    token = AccessToken(
        iss=settings.issuer,
        aud=settings.mutual_tls.origin,
        sub=permission.account,
        client_id=permission.client_id,
        scope=permission.license,
        iat=issued,
        exp=expires,
        jti=new_id(),
        status_idx=permission.status_index,
        status_uri=metadata.status_list_uri(settings),
        permission=PermissionClaim(permission.granted, permission.expires, permission.text_sha256),
        # An id without a number is of a grant that a node of the version before made while nodes were replaced.
        datasources=DataSources.of(source["id"] for source in permission.datasources if "." in source["id"]),
        fuels=tuple(permission.fuels),
        cnf=binding.thumbprint(caller.der) if settings.tokens.bind_to_certificate else None,
    )
    return {
        "access_token": access_token.mint(here.signing_keys, token),
        "token_type": "Bearer",
        "expires_in": expires - issued,
        "scope": permission.license,
    }
