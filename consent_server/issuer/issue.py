"""Access tokens of a permission, for both grants: one place says what goes into one."""

from typing import Any

from consent_server.issuer import metadata
from consent_server.issuer.parts import IssuerParts, Row
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.store.digests import new_id
from consent_server.tokens import access_token, binding
from consent_server.tokens.access_token import AccessToken, Permission


def token_response(parts: IssuerParts, permission: Row, caller: MemberCertificate, at: int) -> dict[str, Any]:
    """The body of RFC 6749 section 5.1, without a refresh token. `at` was read before the permission's row."""
    settings = parts.settings
    # IB1 Permission Records: no token outlives its permission
    expires = min(at + settings.lifetimes.access_token, permission.expires)
    token = AccessToken(
        iss=settings.issuer,
        aud=parts.resource,
        sub=permission.account,
        client_id=permission.client_id,
        scope=permission.license,
        iat=at,
        exp=expires,
        jti=new_id(),
        status_idx=permission.status_index,
        status_uri=metadata.status_list_uri(settings),
        permission=Permission(permission.granted, permission.expires, permission.text_sha256),
        datasources=tuple(source["id"] for source in permission.datasources),
        fuels=tuple(permission.fuels),
        cnf=binding.thumbprint(caller.der) if settings.tokens.bind_to_certificate else None,
    )
    return {
        "access_token": access_token.mint(parts.signing_keys, token),
        "token_type": "Bearer",
        "expires_in": expires - at,
        "scope": permission.license,
    }
