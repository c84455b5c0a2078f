"""Revocation (RFC 7009): a client gives a permission back.

Either token of a permission ends the whole permission: an SME that withdrew at its client has withdrawn. Anything but a token
of this client changes nothing, and gets the same response as a token that was revoked (RFC 7009 section 2.2).
"""

from consent_server import audit, clock
from consent_server.issuer.presented import of_access_token, of_refresh_token
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.withdrawal.withdraw import Withdrawal, withdraw


def revoke(caller: MemberCertificate, token: str) -> None:
    """End the permission of a refresh token or an unexpired access token of this client, with all that rests on it.

    Any other token changes nothing. Raise StoreUnavailable, and then nothing has ended.
    """
    # RFC 7009 section 2.1: the hint may be ignored; our two kinds of token are distinguishable
    permission = of_refresh_token(token)
    if permission is None and (found := of_access_token(token, clock.now())):
        _, permission = found
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
