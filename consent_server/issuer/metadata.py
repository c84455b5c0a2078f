"""What the issuer says about itself (RFC 8414), in the exact form of OAuth with Member Identity Certificates.

The values describe the code and cannot be configured: `tests/issuer` checks each against the endpoint that it describes.
"""

from typing import Final

from authlib.oauth2 import rfc8414, rfc9207
from authlib.oauth2.rfc8414 import get_well_known_url

from consent_server.settings import Settings

AUTHORIZE: Final = "/authorize"
JWKS: Final = "/jwks"
STATUS_LIST: Final = "/status-list"
PAR: Final = "/par"
TOKEN: Final = "/token"  # noqa: S105 - a path
REVOKE: Final = "/revoke"
PERMISSION: Final = "/permission"
INTROSPECT: Final = "/introspect"

#: RFC 8705 section 2.1.1
METHOD: Final = "tls_client_auth"


def path(settings: Settings) -> str:
    """Return the path of the document: the well-known segment goes between host and issuer path (RFC 8414 section 3.1)."""
    return str(get_well_known_url(settings.issuer))


def status_list_uri(settings: Settings) -> str:
    return settings.public.origin + STATUS_LIST


def document(settings: Settings, licenses: list[str]) -> dict[str, object]:
    """Return the metadata. Raise ValueError when Authlib finds that it breaks RFC 8414 or RFC 9207."""
    endpoints = {
        "authorization_endpoint": settings.public.origin + AUTHORIZE,
        "token_endpoint": settings.mutual_tls.origin + TOKEN,
        "pushed_authorization_request_endpoint": settings.mutual_tls.origin + PAR,
        "revocation_endpoint": settings.mutual_tls.origin + REVOKE,
        "ib1_permission_endpoint": settings.mutual_tls.origin + PERMISSION,
    }
    # OAuth with Member Identity Certificates repeats every endpoint. RFC 8705 section 5 reads as if the aliases were for
    # endpoints that use mutual TLS, hence the setting.
    aliases = {
        name: url
        for name, url in endpoints.items()
        if name != "authorization_endpoint" or settings.metadata.authorization_alias
    }
    metadata = {
        "issuer": settings.issuer,
        **endpoints,
        "mtls_endpoint_aliases": aliases,
        "use_mtls_endpoint_aliases": True,
        "jwks_uri": settings.public.origin + JWKS,
        "scopes_supported": licenses,
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_endpoint_auth_methods_supported": [METHOD],
        "token_endpoint_auth_methods_supported": [METHOD],
        "revocation_endpoint_auth_methods_supported": [METHOD],
        "require_pushed_authorization_requests": True,
        "tls_client_certificate_bound_access_tokens": True,
        "authorization_response_iss_parameter_supported": True,
    }
    rfc8414.AuthorizationServerMetadata(metadata).validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])
    return metadata
