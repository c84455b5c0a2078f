"""Introspection (RFC 7662), only for this member's own applications and not advertised in the metadata.

It is for our own resource servers that cannot keep the status list. Any other caller is refused before its token is read.
"""

from consent_server import audit, clock
from consent_server.deployment import current
from consent_server.issuer.presented import active_access_token, of_refresh_token
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal

Body = dict[str, object]


class NotAnIntrospector(Refusal):
    code = "not_an_introspector"
    error = "unauthorized_client"
    status = 403
    public = "Introspection is for this member's own resource servers."
    help = "Clients find what they need in the token response and the permission record."
    clause = "OAuth with Member Identity Certificates; RFC 7662 4"


def require_introspector(caller: MemberCertificate) -> None:
    """Raise NotAnIntrospector unless the settings name this application."""
    # OAuth with Member Identity Certificates: introspection only for the member's own systems
    if caller.application not in current().settings.member.introspectors:
        raise NotAnIntrospector(caller.application)


def introspect(token: str) -> Body:
    """Return the body of RFC 7662 section 2.2: `{"active": False}` and nothing more for whatever is not live."""
    at = clock.now()
    # The refresh token first: another text is told apart by its form, while an access token is refused by an exception.
    body = _refresh_token(token, at) or _access_token(token, at) or {"active": False}
    audit.event("token_introspected", client_id=body.get("client_id", "-"), active=body["active"])
    return body


def _access_token(token: str, at: int) -> Body | None:
    claims = active_access_token(token, at)
    if claims is None:
        return None
    body: Body = {
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


def _refresh_token(token: str, at: int) -> Body | None:
    permission = of_refresh_token(token)
    if permission is None or not permission.is_live(at):
        return None
    return {
        "active": True,
        "iss": current().settings.issuer,
        "sub": permission.account,
        "client_id": permission.client_id,
        "scope": permission.license,
        "iat": permission.redeemed,
        "exp": permission.expires,
    }
