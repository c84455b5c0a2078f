"""Which entries of the Directory's catalogue count: of members that may act in the role, without claims to what is another's.

A member writes its entries itself. A false claim costs the entry that makes it, and not the one that it imitates.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from logging import getLogger
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from consent_server import audit
from consent_server.caller.membership import acts_as
from consent_server.outbound.directory import DataService, Directory, Member
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.settings import MembersSettings
from consent_server.scheme import roles
from consent_server.scheme.instant import DAY

log = getLogger("consent_server.catalogue")

#: Entries of one member that are looked at: the work for a page must not grow with what a member writes.
MOST_OF_MEMBER: Final = 20


class Listed(NamedTuple):
    """An entry with an issuer, and the member that published it."""

    service: DataService
    issuer: str
    member: Member


def entries(
    directory: Directory,
    settings: MembersSettings,
    standard: str,
    accepted: Collection[str],
    at: int,
    is_known: Callable[[DataService], bool],
) -> list[Listed]:
    """Return the entries of a standard whose members may act in one of the `accepted` roles at an instant.

    Of several members that claim one issuer or one id, the entry stays that the Directory confirms, and of those alike the one
    that we deal with (`is_known`). Raise Unreachable.
    """
    live: list[Listed] = []
    counted: Counter[str] = Counter()
    unknown: Unreachable | None = None
    for service in directory.data_services(standard):
        if service.issuer is None:
            continue
        counted[service.member] += 1
        if counted[service.member] > MOST_OF_MEMBER:
            continue
        try:
            member = directory.member(service.member)
        except Unreachable as error:
            # An entry that cannot be read must not hide the others.
            log.warning("an entry is left out: %s", error)
            unknown = error
            continue
        if acts_as(member, accepted, settings, at):
            live.append(Listed(service, service.issuer, member))
    if unknown is not None and not live:
        raise unknown
    return _without_false_claims(directory, accepted, live, at, is_known)


def _without_false_claims(
    directory: Directory,
    accepted: Collection[str],
    live: Sequence[Listed],
    at: int,
    is_known: Callable[[DataService], bool],
) -> list[Listed]:
    rivals = [[other for other in live if _is_rival(other, claim)] for claim in live]
    disputed = {claim.service for claim, others in zip(live, rivals, strict=True) if others}
    strength = {each: (_is_confirmed(directory, accepted, each), is_known(each)) for each in disputed}
    left = []
    for claim, others in zip(live, rivals, strict=True):
        if all(strength[claim.service] > strength[other.service] for other in others):
            left.append(claim)
        else:
            _alarm(claim.service.id, claim.issuer, claim.service.member, at // DAY)
    return left


def _is_rival(one: Listed, other: Listed) -> bool:
    same_issuer = one.issuer.rstrip("/") == other.issuer.rstrip("/")
    return one.service.member != other.service.member and (same_issuer or one.service.id == other.service.id)


def _is_confirmed(directory: Directory, accepted: Collection[str], claim: DataService) -> bool:
    """Return whether the entry's application is its member's, holds the role, and is at the issuer's host."""
    if not claim.application:
        return False
    try:
        application = directory.application(claim.application)
    except Unreachable:
        return False
    hosts = {urlsplit(url).netloc for url in (application.home_page, application.message_delivery) if url}
    return (
        application.member == claim.member
        and roles.holds(application.roles, accepted)
        and urlsplit(claim.issuer or "").netloc in hosts
    )


@lru_cache(maxsize=1024)
def _alarm(service: str, issuer: str, member: str, _day: int) -> None:
    """Write one audit event a day in each process, however often the list is asked for."""
    audit.event("catalogue_claim_refused", service=service, issuer=issuer, member=member)
