"""The permission record (IB1 Permission Records): what a client may read about the permission of its refresh token.

It can be read for 13 months after the permission's end, when the token is good for nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.issuer.presented import of_refresh_token
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal, require
from consent_server.scheme import instant
from consent_server.store import evidence
from consent_server.store.tables.permissions import Permission

#: IB1 Permission Records ask for twelve months after the end; one more, so that months of different length never matter.
MONTHS_READABLE: Final = 13
_NOT_THEIRS: Final = "not a refresh token of this client"


@dataclass(frozen=True)
class RecordRequest:
    """The permission of a refresh token that was presented for its record, by whom, and when."""

    client_id: str
    permission: Permission
    at: int


class NoPermissionRecord(Refusal):
    """One response for an access token, an unknown token, another client's, and one whose record is gone."""

    code = "no_permission_record"
    error = "invalid_grant"
    public = "The token is not a refresh token of this client with a permission record."
    help = (
        "Send the refresh token that this issuer gave to this client; its record can be read until 13 months after "
        "the permission's end."
    )
    clause = "IB1 Permission Records"


def token_is_this_clients(asked: RecordRequest) -> Refusal | None:
    # IB1 Permission Records: access tokens, unknown tokens and other clients' tokens are refused alike
    return None if asked.permission.client_id == asked.client_id else NoPermissionRecord(_NOT_THEIRS)


def permission_was_redeemed(asked: RecordRequest) -> Refusal | None:
    # A token that was never issued has no tokenIssuedAt
    return NoPermissionRecord("never issued") if asked.permission.redeemed is None else None


def record_is_kept(asked: RecordRequest) -> Refusal | None:
    # IB1 Permission Records: readable at least 12 months after expiry or revocation
    end = min(asked.permission.ended or asked.permission.expires, asked.permission.expires)
    if asked.at >= instant.months_later(end, MONTHS_READABLE):
        return NoPermissionRecord("ended too long ago")
    return None


CHECKS: Final = (token_is_this_clients, permission_was_redeemed, record_is_kept)


def record(caller: MemberCertificate, form: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the permission record of `token` in the form."""
    here, at = current(), clock.now()
    permission = of_refresh_token(form["token"])
    if permission is None:
        raise NoPermissionRecord(_NOT_THEIRS)
    require(CHECKS, RecordRequest(caller.application, permission, at))
    assert permission.redeemed is not None  # permission_was_redeemed
    with store.reading() as c:
        proof = evidence.of_subject(c, permission.id)
    if proof is None:
        raise LookupError("a permission without evidence")
    audit.event("permission_read", client_id=permission.client_id, permission=permission.id)
    fields = {
        "oauthIssuer": here.settings.issuer,
        "client": permission.client_id,
        "license": permission.license,
        "account": permission.account,
        "lastGranted": instant.text(permission.granted),
        "expires": instant.text(permission.expires),
        "evidence": f"{here.settings.public.origin}/evidence/{proof.id}",
        "dataAvailableFrom": instant.text(here.party.data_available_from(permission)),
        "tokenIssuedAt": instant.text(permission.redeemed),
        "tokenExpires": instant.text(permission.expires),
    }
    if permission.ended is not None:
        # Its presence alone means that the token was ended, so it is never null.
        fields["revoked"] = instant.text(permission.ended)
    return {"permission": fields}
