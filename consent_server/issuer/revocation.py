"""Revocation (RFC 7009): a client gives a permission back.

Either token of a permission ends the whole of it: an SME that withdrew at its client has withdrawn. Whatever is not a
token of this client changes nothing and is answered like one that was revoked (RFC 7009 section 2.2).
"""

from consent_server import audit, clock, store
from consent_server.issuer.parts import IssuerParts, Row
from consent_server.issuer.refresh import permission_of
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.store import permissions
from consent_server.tokens import access_token
from consent_server.tokens.access_token import InvalidToken
from consent_server.withdrawal.withdraw import Withdrawal, withdraw


def own_permission(parts: IssuerParts, caller: MemberCertificate, token: str) -> Row | None:
    """The permission of a refresh token or an unexpired access token of this client; None for all else."""
    permission = permission_of(parts, token) or permission_of_access_token(parts, token)
    # RFC 7009 section 2.1: "verifies whether the token was issued to the client making the revocation request"
    return permission if permission is not None and permission.client_id == caller.application else None


def permission_of_access_token(parts: IssuerParts, token: str) -> Row | None:
    try:
        claims = access_token.read(
            token, parts.signing_keys, issuer=parts.settings.issuer, audience=parts.resource, at=clock.now()
        )
    except InvalidToken:
        return None
    with store.reading() as c:
        return permissions.by_status_index(c, claims.status_idx)


def revoke(permission: Row) -> None:
    """End the permission, with all that rests on it. Raises StoreUnavailable, and then nothing has ended."""
    # Withdrawal of Permission: no message goes to the client that asked
    told = Withdrawal(
        by="client",
        where="revocation endpoint",
        why="the client revoked its token",
        already_told=permission.client_id,
    )
    withdraw(permission.id, told)
    audit.event("token_revoked", client_id=permission.client_id, permission=permission.id)
