"""The permission record (IB1 Permission Records): what a client may know about the permission behind its refresh token.

It answers for 13 months after the permission's end, long after the token has stopped yielding anything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from consent_server import audit, clock, store
from consent_server.issuer import rules
from consent_server.issuer.parts import IssuerParts, Row
from consent_server.issuer.refresh import permission_of
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal
from consent_server.scheme import instant
from consent_server.store import evidence

#: IB1 Permission Records ask for twelve months after the end; one more, so that no calendar is argued about.
MONTHS_READABLE: Final = 13


@dataclass(frozen=True)
class Reading:
    """A refresh token presented for its record."""

    client_id: str
    permission: Row | None
    at: int


class NoPermissionRecord(Refusal):
    """One answer for an access token, an unknown token, another client's, and one whose record is gone."""

    code = "no_permission_record"
    error = "invalid_grant"
    public = "The token is not a refresh token of this client with a permission record."
    help = "Send the refresh token that this issuer gave to this client; records answer for 13 months after the end."
    clause = "IB1 Permission Records"


def token_is_this_clients(reading: Reading) -> Refusal | None:
    # IB1 Permission Records: access tokens, unknown tokens and other clients' tokens are refused alike
    if reading.permission is None or reading.permission.client_id != reading.client_id:
        return NoPermissionRecord("not a refresh token of this client")
    return None


def permission_was_redeemed(reading: Reading) -> Refusal | None:
    assert reading.permission is not None
    # A token that was never issued has no tokenIssuedAt to tell
    return NoPermissionRecord("never issued") if reading.permission.redeemed is None else None


def record_is_kept(reading: Reading) -> Refusal | None:
    assert reading.permission is not None
    # IB1 Permission Records: readable at least 12 months after expiry or revocation
    end = min(reading.permission.ended or reading.permission.expires, reading.permission.expires)
    if reading.at >= instant.months_later(end, MONTHS_READABLE):
        return NoPermissionRecord("ended too long ago")
    return None


CHECKS: Final = (token_is_this_clients, permission_was_redeemed, record_is_kept)


def record(parts: IssuerParts, caller: MemberCertificate, form: Mapping[str, str]) -> dict[str, Any]:
    """The permission record of `token`: the body of the answer."""
    at = clock.now()
    permission = permission_of(parts, form["token"])
    rules.require(CHECKS, Reading(caller.application, permission, at))
    assert permission is not None  # token_is_this_clients
    with store.reading() as c:
        proof = evidence.of_subject(c, permission.id)
    if proof is None:
        raise LookupError("a permission without evidence")
    audit.event("permission_read", client_id=permission.client_id, permission=permission.id)
    fields = {
        "oauthIssuer": parts.settings.issuer,
        "client": permission.client_id,
        "license": permission.license,
        "account": permission.account,
        "lastGranted": instant.text(permission.granted),
        "expires": instant.text(permission.expires),
        "evidence": f"{parts.settings.public.origin}/evidence/{proof.id}",
        "dataAvailableFrom": instant.text(parts.data_available_from(permission)),
        "tokenIssuedAt": instant.text(permission.redeemed),
        "tokenExpires": instant.text(permission.expires),
    }
    if permission.ended is not None:
        # Its presence alone says that the token was ended, so it is never null.
        fields["revoked"] = instant.text(permission.ended)
    return {"permission": fields}
