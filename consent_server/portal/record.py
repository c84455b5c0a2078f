"""What is on record of one connection: what we logged when the SME agreed, and what its provider says of it.

The guide for carbon accounting providers (Withdrawal of Permission) asks for both: our log as evidence, and the provider's
permission record with its evidence page in a frame.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from consent_server import clock
from consent_server.collect import provider
from consent_server.deployment import current
from consent_server.outbound import page_time
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.outbound.upstream import PermissionRecord
from consent_server.store.tables.collecting import ProviderConnection

#: A renewal ends the older permission at the provider some seconds before we know of the new one.
RENEWAL_S: Final = 120


class Comparison(StrEnum):
    """How the provider's record compares with ours."""

    SAME = "same"
    WITHDRAWN = "withdrawn"  # there, and therefore here
    JUST_ENDED = "just_ended"
    EXPIRED = "expired"
    STILL_LIVE = "still_live"
    ANOTHER_LICENSE = "another_license"
    NO_RECORD = "no_record"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Theirs:
    """What the provider says; `evidence` is the address of its evidence page, if it is on a member's server."""

    comparison: Comparison
    record: PermissionRecord | None = None
    evidence: str | None = None


def look(connection: ProviderConnection) -> Theirs:
    """Return what the provider has on record, within the time that a page waits for a server.

    Where it says that the permission was withdrawn, the connection ends here as well, as it does when the message about the
    withdrawal arrives (Withdrawal of Permission, duties of the consumer).
    """
    try:
        with page_time.one_wait(connection.issuer):
            theirs = provider.permission_record(connection)
            page = _members_page(theirs.evidence)
    except OAuthRefused:
        return Theirs(Comparison.NO_RECORD)
    except Unreachable:
        return Theirs(Comparison.UNREACHABLE)
    comparison = compared(connection, theirs, clock.now())
    if comparison is Comparison.WITHDRAWN:
        provider.end_as_recorded(connection)
    return Theirs(comparison, theirs, page)


def compared(ours: ProviderConnection, theirs: PermissionRecord, at: int) -> Comparison:
    """Return how the record compares with our connection at an instant."""
    over_here = not ours.is_live(at)
    over_there = theirs.revoked or theirs.expires <= at
    if over_here == over_there:
        return Comparison.SAME if theirs.license == ours.license else Comparison.ANOTHER_LICENSE
    if over_here:
        return Comparison.STILL_LIVE
    if not theirs.revoked:
        return Comparison.EXPIRED
    if theirs.revoked_at is not None and abs(at - theirs.revoked_at) < RENEWAL_S:
        return Comparison.JUST_ENDED
    return Comparison.WITHDRAWN


def _members_page(url: str) -> str | None:
    """Return the address if it is on a server of the Directory's allowlist: nobody else's page is shown in ours."""
    try:
        current().session.require_allowed(url)
    except Unreachable:
        return None
    return url
