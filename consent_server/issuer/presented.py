"""Which permission a token is of that somebody presents: RFC 7009 and RFC 7662 do not say of which kind it is."""

from consent_server.deployment import current
from consent_server.store import permissions
from consent_server.store.tables.permissions import Permission
from consent_server.tokens import access_token, refresh_token
from consent_server.tokens.access_token import AccessToken, InvalidToken


def of_refresh_token(token: str) -> Permission | None:
    """Return the permission whose refresh token this is, live or ended; None for any other text, without a look-up."""
    refresh_id = refresh_token.recognise(current().refresh_keys, token)
    return None if refresh_id is None else permissions.by_refresh_id(refresh_id)


def of_access_token(token: str, at: int) -> tuple[AccessToken, Permission] | None:
    """Return the claims of an access token of ours that is valid at an instant, and its permission, live or ended."""
    here = current()
    try:
        claims = access_token.read(
            token, here.signing_keys, issuer=here.settings.issuer, audience=here.settings.mutual_tls.origin, at=at
        )
    except InvalidToken:
        return None
    permission = permissions.by_status_index(claims.status_idx)
    return None if permission is None else (claims, permission)


def active_access_token(token: str, at: int) -> AccessToken | None:
    """Return the claims of an access token of ours that is valid at an instant, and whose permission has not ended."""
    found = of_access_token(token, at)
    return found[0] if found is not None and found[1].ended is None else None
