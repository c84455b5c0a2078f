"""The binding of a token to the application URL, and to one certificate where that is set (RFC 8705).

The IB1 rule binds a token to the application, so that several servers of one application share tokens, and tokens outlive the
renewal of a certificate. `tokens.bind_to_certificate` adds the RFC 8705 binding to one certificate.
"""

import hashlib
import hmac

from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal
from consent_server.signing.jws import base64url
from consent_server.tokens.access_token import InvalidToken


class TokenNotYours(InvalidToken):
    """The certificate's application is not the token's."""

    code = "token_not_yours"
    public = "The access token belongs to a different application from the certificate of this connection."
    help = "Use the token with a certificate of the application that it was issued to: its URL is the client_id."
    clause = "OAuth with Member Identity Certificates; FAPI 2.0 5.3.4"


class TokenOfAnotherCertificate(InvalidToken):
    """The application is right, the certificate is not the one that the token is bound to."""

    code = "token_of_another_certificate"
    public = "The access token is bound to another certificate; obtain one over a connection with this certificate."
    help = "This server binds access tokens to one certificate. After a renewal, use the refresh token for a new one."
    clause = "RFC 8705 3"


def thumbprint(der: bytes) -> str:
    """Return x5t#S256 of a certificate: base64url of the SHA-256 of its DER (RFC 8705 section 3.1)."""
    return base64url(hashlib.sha256(der).digest())


def bound(
    token_client_id: str, cnf: str | None, caller: MemberCertificate, bind_to_certificate: bool
) -> Refusal | None:
    """Return None when the token is the caller's own, else the refusal to raise.

    A token's `cnf` is enforced whatever our setting: its issuer has bound it for its client.
    """
    if token_client_id != caller.application:
        return TokenNotYours("the certificate is of another application")
    if cnf is None:
        # RFC 8705 section 3: bound tokens only, where this server says that it binds them
        return TokenOfAnotherCertificate("not bound to a certificate") if bind_to_certificate else None
    if not hmac.compare_digest(cnf, thumbprint(caller.der)):
        return TokenOfAnotherCertificate("bound to another certificate of the application")
    return None
