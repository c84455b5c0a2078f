"""Authlib assembled: one list of what is switched on.

Authlib carries the grammar: which grant a token request asks for, how a client authenticates, how revocation and
introspection are answered, and (in `metadata`) what RFC 8414 and RFC 9207 want of the metadata. The rules are this room's:

- PAR (RFC 9126) and mutual TLS (RFC 8705) are not in Authlib.
- Its code grant saves the token before it deletes the code, takes a missing verifier for invalid_request and accepts
  `plain`; both of its token grants log whole tokens at DEBUG. So ours start from its BaseGrant and write
  `create_token_response` whole.
- Its RFC 9207 extension rebuilds the client's own query when it adds `iss`; our redirects leave that part as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import BaseGrant, TokenEndpointMixin
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from consent_server.issuer import client_authentication, code, introspection, metadata, refresh, revocation
from consent_server.issuer.client_authentication import Claimed
from consent_server.issuer.parts import IssuerParts
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal

Answer = tuple[int, dict[str, Any]]


class GrantTypeUnsupported(Refusal):
    code = "grant_type_unsupported"
    error = "unsupported_grant_type"
    public = "grant_type must be authorization_code or refresh_token."
    help = "Send grant_type=authorization_code or grant_type=refresh_token; there are no other grants."
    clause = "FAPI 2.0 5.3.2.1; RFC 6749 5.2"


class Asked(OAuth2Request):  # type: ignore[misc]
    """A request as Authlib reads it: parameters that were parsed strictly, under the endpoint's own URL."""

    def __init__(self, endpoint: str, claimed: Claimed) -> None:
        super().__init__("POST", endpoint)
        self.claimed = claimed
        self.caller = claimed.caller
        self.payload = BasicOAuth2Payload(claimed.form)

    @property
    def form(self) -> Mapping[str, str]:
        return self.claimed.form


@dataclass(frozen=True)
class _Client:
    """A client as Authlib sees one: whoever holds the certificate; there is no register of clients."""

    caller: MemberCertificate

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == metadata.METHOD


def _tls_client_auth(_query_client: object, asked: Asked) -> _Client:
    client_authentication.authenticate(asked.claimed)
    return _Client(asked.caller)


class _TokenGrant(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
    """Both grants: authenticate, then let the rule book answer."""

    TOKEN_ENDPOINT_AUTH_METHODS: Final = [metadata.METHOD]
    answer: Callable[[IssuerParts, MemberCertificate, Mapping[str, str]], dict[str, Any]]

    def validate_token_request(self) -> None:
        self.request.client = self.authenticate_token_endpoint_client()

    def create_token_response(self) -> tuple[int, dict[str, Any], list[Any]]:
        return 200, type(self).answer(self.server.parts, self.request.caller, self.request.form), []


class _Code(_TokenGrant):
    GRANT_TYPE = "authorization_code"
    answer = staticmethod(code.redeem)


class _Refresh(_TokenGrant):
    GRANT_TYPE = "refresh_token"
    answer = staticmethod(refresh.refresh)


class _Revocation(RevocationEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS: Final = [metadata.METHOD]

    def authenticate_token(self, request: Asked, client: _Client) -> Any:
        # RFC 7009 section 2.1: the hint may be ignored; our two kinds of token tell themselves apart
        return revocation.own_permission(self.server.parts, client.caller, request.form["token"])

    def revoke_token(self, token: Any, request: Asked) -> None:
        revocation.revoke(token)


class _Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS: Final = [metadata.METHOD]

    def authenticate_token(self, request: Asked, client: _Client) -> dict[str, Any]:
        return introspection.introspect(self.server.parts, request.form["token"])

    def create_introspection_payload(self, token: dict[str, Any]) -> dict[str, Any]:
        return token


SWITCHED_ON: Final = (
    (AuthorizationServer.register_client_auth_method, metadata.METHOD, _tls_client_auth),
    (AuthorizationServer.register_grant, _Code),
    (AuthorizationServer.register_grant, _Refresh),
    (AuthorizationServer.register_endpoint, _Revocation),
    (AuthorizationServer.register_endpoint, _Introspection),
)


class Server(AuthorizationServer):  # type: ignore[misc]
    """Authlib's server on the rule books of this room. Answers are (status, body); refusals are raised."""

    def __init__(self, parts: IssuerParts) -> None:
        super().__init__()
        self.parts = parts
        for switch_on, *what in SWITCHED_ON:
            switch_on(self, *what)

    def create_oauth2_request(self, request: Asked) -> Asked:
        return request

    def handle_response(self, status: int, body: dict[str, Any], headers: object) -> Answer:
        return status, body

    def handle_error_response(self, request: Asked, error: OAuth2Error) -> NoReturn:
        if error.error == GrantTypeUnsupported.error:
            raise GrantTypeUnsupported()
        raise error  # nothing else in Authlib is left to refuse: a fault of ours

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """No one listens: what happened is in the audit trail."""
