"""Introspection (RFC 7662), for this member's own applications alone and not advertised in the metadata.

Resource servers of ours that cannot hold the status list ask here. Everyone else is refused before a token is looked at.
"""

from typing import Any

from consent_server import audit, clock, store
from consent_server.issuer.parts import IssuerParts
from consent_server.issuer.refresh import permission_of
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal
from consent_server.store import permissions
from consent_server.tokens import access_token
from consent_server.tokens.access_token import InvalidToken


class NotAnIntrospector(Refusal):
    code = "not_an_introspector"
    error = "unauthorized_client"
    status = 403
    public = "Introspection is for this member's own resource servers."
    help = "Clients read what they need in the token response and the permission record."
    clause = "OAuth with Member Identity Certificates; RFC 7662 4"


def require_introspector(parts: IssuerParts, caller: MemberCertificate) -> None:
    """Raise NotAnIntrospector unless the settings name this application."""
    # OAuth with Member Identity Certificates: introspection only for the member's own systems
    if caller.application not in parts.settings.member.introspectors:
        raise NotAnIntrospector(caller.application)


def introspect(parts: IssuerParts, token: str) -> dict[str, Any]:
    """The body of RFC 7662 section 2.2: `{"active": False}` and nothing more for whatever is not live."""
    at = clock.now()
    body = _access_token(parts, token, at) or _refresh_token(parts, token, at) or {"active": False}
    audit.event("token_introspected", client_id=body.get("client_id", "-"), active=body["active"])
    return body


def _access_token(parts: IssuerParts, token: str, at: int) -> dict[str, Any] | None:
    try:
        claims = access_token.read(
            token, parts.signing_keys, issuer=parts.settings.issuer, audience=parts.resource, at=at
        )
    except InvalidToken:
        return None
    with store.reading() as c:
        permission = permissions.by_status_index(c, claims.status_idx)
    if permission is None or permission.ended is not None:
        return None
    body: dict[str, Any] = {
        "active": True,
        "token_type": "Bearer",
        "iss": claims.iss,
        "aud": claims.aud,
        "sub": claims.sub,
        "client_id": claims.client_id,
        "scope": claims.scope,
        "iat": claims.iat,
        "exp": claims.exp,
        "jti": claims.jti,
    }
    if claims.cnf is not None:
        body["cnf"] = {"x5t#S256": claims.cnf}  # RFC 8705 section 3.2
    return body


def _refresh_token(parts: IssuerParts, token: str, at: int) -> dict[str, Any] | None:
    permission = permission_of(parts, token)
    if permission is None or permission.ended is not None or at >= permission.expires:
        return None
    return {
        "active": True,
        "iss": parts.settings.issuer,
        "sub": permission.account,
        "client_id": permission.client_id,
        "scope": permission.license,
        "iat": permission.redeemed,
        "exp": permission.expires,
    }
