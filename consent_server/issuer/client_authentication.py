"""Who the client is: the application in the certificate, whatever the parameters say (RFC 8705 section 2).

The certificate itself and its role were checked before (`caller`). Here the parameters are compared with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal, require

#: Parameters of client authentication: endpoints accept them in addition to their own.
PARAMETERS: Final = ("client_id", "client_secret", "client_assertion", "client_assertion_type")


@dataclass(frozen=True)
class Claimed:
    """What a request says about its client, besides the certificate.

    `client_id_needed` is False where the specification's request has no client_id: revocation (RFC 7009 section 2.1), the
    permission record (IB1 Permission Records) and introspection (RFC 7662 section 2.1). A client_id that is sent there
    must be the right one all the same.
    """

    caller: MemberCertificate
    form: Mapping[str, str]
    authorization_header: bool = False
    client_id_needed: bool = True


class SecondAuthenticationMethod(Refusal):
    code = "second_authentication_method"
    public = "Authenticate with the client certificate only: no Authorization header, secret or assertion."
    help = (
        "Remove the Authorization header, client_secret and client_assertion; the certificate authenticates the client."
    )
    clause = "RFC 6749 2.3; FAPI 2.0 5.3.2.1"


class ClientIdMissing(Refusal):
    code = "client_id_missing"
    error = "invalid_client"
    status = 401
    public = "client_id is missing: send the application URL of the client certificate."
    help = "Send client_id in the form body: the application URL in the client certificate."
    clause = "RFC 8705 2"


class ClientIdMismatch(Refusal):
    code = "client_id_mismatch"
    error = "invalid_client"
    status = 401
    public = "client_id is not the application URL of the client certificate."
    help = "Send as client_id the one URI of the certificate's subject alternative name, character for character."
    clause = "OAuth with Member Identity Certificates; RFC 8705 2.1.2"


def one_method_only(claimed: Claimed) -> Refusal | None:
    # RFC 6749 section 2.3: "The client MUST NOT use more than one authentication method in each request."
    if claimed.authorization_header:
        return SecondAuthenticationMethod("an Authorization header beside the certificate")
    for name in PARAMETERS[1:]:
        if name in claimed.form:
            return SecondAuthenticationMethod(f"{name} beside the certificate")
    return None


def client_id_is_sent(claimed: Claimed) -> Refusal | None:
    # RFC 8705 section 2: for all requests that use mutual TLS to authenticate, the client MUST include client_id
    if claimed.client_id_needed and "client_id" not in claimed.form:
        return ClientIdMissing(f"the certificate is {claimed.caller.application}'s")
    return None


def client_id_is_the_certificates(claimed: Claimed) -> Refusal | None:
    # OAuth with Member Identity Certificates: client_id is the application URL, and equals the certificate's URI
    if claimed.form.get("client_id", claimed.caller.application) != claimed.caller.application:
        return ClientIdMismatch(f"the certificate is {claimed.caller.application}'s")
    return None


CHECKS: Final = (one_method_only, client_id_is_sent, client_id_is_the_certificates)


def authenticate(claimed: Claimed) -> None:
    """Raise SecondAuthenticationMethod, ClientIdMissing or ClientIdMismatch unless the client is who it says."""
    require(CHECKS, claimed)


def no_other_in_query(caller: MemberCertificate, client_ids: Sequence[str]) -> None:
    """Raise ClientIdMismatch for a query that names another client.

    No endpoint reads its query; but another client's client_id in it is a failed authentication (401), and is refused as
    such before the query itself is (400).
    """
    if any(client_id != caller.application for client_id in client_ids):
        raise ClientIdMismatch(f"another client_id in the query; the certificate is {caller.application}'s")
