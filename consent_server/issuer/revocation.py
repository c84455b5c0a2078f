"""Revocation (RFC 7009): a client gives a permission back.

Either token of a permission ends the whole permission: an SME that withdrew at its client has withdrawn. Anything but a token
of this client changes nothing, and gets the same response as a token that was revoked (RFC 7009 section 2.2).
"""

from consent_server import audit, clock
from consent_server.deployment import current
from consent_server.issuer.refresh import permission_of
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.store import permissions
from consent_server.store.tables.permissions import Permission
from consent_server.tokens import access_token
from consent_server.tokens.access_token import AccessToken, InvalidToken
from consent_server.withdrawal.withdraw import Withdrawal, withdraw


def revoke(caller: MemberCertificate, token: str) -> None:
    """End the permission of a refresh token or an unexpired access token of this client, with all that rests on it.

    Any other token changes nothing. Raise StoreUnavailable, and then nothing has ended.
    """
    # RFC 7009 section 2.1: the hint may be ignored; our two kinds of token are distinguishable
    permission = permission_of(token) or access_token_of(token, clock.now())[1]
    # RFC 7009 section 2.1: "verifies whether the token was issued to the client making the revocation request"
    if permission is None or permission.client_id != caller.application:
        return
    # Withdrawal of Permission: no message goes to the client that asked
    client_id = permission.client_id
    withdraw(
        permission.id,
        Withdrawal("client", "revocation endpoint", "the client revoked its token", already_told=client_id),
    )
    audit.event("token_revoked", client_id=client_id, permission=permission.id)


def access_token_of(token: str, at: int) -> tuple[AccessToken | None, Permission | None]:
    """Return the claims of an access token of ours that is valid at an instant, and its permission; else None for both."""
    here = current()
    try:
        claims = access_token.read(
            token, here.signing_keys, issuer=here.settings.issuer, audience=here.settings.mutual_tls.origin, at=at
        )
    except InvalidToken:
        return None, None
    return claims, permissions.by_status_index(claims.status_idx)
