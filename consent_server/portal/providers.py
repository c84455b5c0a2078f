"""Energy data providers that an SME can connect, and the bank that sent it, as the Directory lists them."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import ClassVar, Final, cast
from urllib.parse import urlsplit

from consent_server import audit, clock, store
from consent_server.caller.membership import acts_as
from consent_server.deployment import current
from consent_server.outbound.directory import Member
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.fair_pool import FairPool, Tally
from consent_server.refusal import Refusal, Unavailable
from consent_server.scheme import instant, roles
from consent_server.store import connections
from consent_server.store.tables.sessions import ChosenProvider

log = logging.getLogger("consent_server.portal")

RUN_S: Final = 30
#: Entries of one member that are looked at: the work for a page must not grow with what a member writes.
MOST_OF_MEMBER: Final = 20


class ProviderUnreachable(Unavailable):
    code = "provider_unreachable"
    public = "The energy data provider cannot be reached just now. Nothing was connected. Try again in a few minutes."
    help = "Try again in a few minutes. If it lasts, tell us the correlation id."
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60"}


class ProviderSlow(ProviderUnreachable):
    """Not reached in the time that a page waits: the worker goes on trying (`fetch_metadata`)."""

    code = "provider_slow"


class ProviderWrong(Refusal):
    code = "provider_wrong"
    error = "server_error"
    status = 502
    public = (
        "The energy data provider answered in a way that we cannot use. Nothing was connected. Only the provider "
        "can put that right, so trying again at once will not help. Please tell us or the provider, with the reference below."
    )
    help = (
        "Tell us or the provider the correlation id. Our log says what was wrong: the issuer that the provider's "
        "metadata names, missing PKCE S256, an endpoint, or a token response."
    )
    clause = "RFC 8414 3.3; RFC 6749 5.1"


def no_use(error: Unreachable) -> Refusal:
    """Return what a page says of a provider that gave us nothing to go on with."""
    return (ProviderWrong if error.is_wrong else ProviderUnreachable)(str(error))


@dataclass(frozen=True)
class Provider:
    """An energy data provider that can be connected: one entry of the Directory's catalogue, with its member's name.

    `application` is empty where the entry names none, as entries of the specified form do.
    """

    service: str
    member: str
    application: str
    name: str
    legal_name: str
    issuer: str

    def chosen(self) -> ChosenProvider:
        """Return it as a session holds it."""
        return cast(ChosenProvider, asdict(self))


def providers() -> list[Provider]:
    """Return the catalogue's providers of consumption data, by name. Raise ProviderUnreachable when the Directory is down."""
    try:
        return sorted(_providers(), key=lambda each: (each.name, each.service))
    except Unreachable as error:
        raise ProviderUnreachable(str(error)) from None


def fetch_metadata(shared: FairPool) -> Tally:
    """Fetch every issuer's metadata that the kept copies lack or have too old; return how many succeeded and failed.

    A page, which waits for a provider for two seconds only, then finds a copy.
    """
    tally = Tally()
    try:
        left = {each.issuer for each in providers()}
    except ProviderUnreachable:
        tally.add(False)
        return tally

    def turn(issuer: str, _failures: int) -> int:
        left.discard(issuer)
        try:
            current().upstream.metadata(issuer)
        except Unreachable as error:
            log.warning("metadata of %s: %s", issuer, error)
            tally.add(False)
        else:
            tally.add(True)
        return 0

    shared.serve(lambda: tuple(left), turn, RUN_S)
    return tally


def bank(url: str | None) -> str | None:
    """Return the name of the bank with this member URL; None unless the Directory lists it as one."""
    if url is None:
        return None
    here = current()
    try:
        member = here.directory.member(url)
    except Unreachable:
        return None
    return member.name if _may_act(member, here.settings.scheme.fsp_roles) else None


def _may_act(member: Member, accepted: tuple[str, ...]) -> bool:
    return acts_as(member, accepted, current().settings, clock.now())


def _providers() -> list[Provider]:
    """Return the entries of live members that hold the role, without those that claim what is another's."""
    here = current()
    live: list[Provider] = []
    entries: Counter[str] = Counter()
    unknown: Unreachable | None = None
    for service in here.directory.data_services(here.settings.scheme.consumption_standard):
        if service.issuer is None:
            continue
        entries[service.member] += 1
        if entries[service.member] > MOST_OF_MEMBER:
            continue
        try:
            member = here.directory.member(service.member)
        except Unreachable as error:
            # An entry that cannot be read must not hide the others.
            log.warning("a provider is left out: %s", error)
            unknown = error
            continue
        if _may_act(member, here.settings.scheme.edp_roles):
            live.append(
                Provider(
                    service=service.id,
                    member=service.member,
                    application=service.application or "",
                    name=member.name,
                    legal_name=member.legal_name,
                    issuer=service.issuer,
                )
            )
    if unknown is not None and not live:
        raise unknown
    return _without_false_claims(live)


def _without_false_claims(live: Sequence[Provider]) -> list[Provider]:
    """Return the entries whose issuer and id no other member claims as strongly.

    A member writes its entry itself, so a false claim costs that entry, and not the one that it imitates.
    """
    rivals = {claim: [each for each in live if _is_rival(each, claim)] for claim in live}
    strength = {claim: _strength(claim) for claim, others in rivals.items() if others}
    left = []
    for claim, others in rivals.items():
        if all(strength[claim] > strength[each] for each in others):
            left.append(claim)
        else:
            _alarm(claim.service, claim.issuer, claim.member, clock.now() // instant.DAY)
    return left


def _is_rival(one: Provider, other: Provider) -> bool:
    same_issuer = one.issuer.rstrip("/") == other.issuer.rstrip("/")
    return one.member != other.member and (same_issuer or one.service == other.service)


def _strength(claim: Provider) -> tuple[bool, bool]:
    """Return whether the Directory's application confirms a claim, and whether live connections rest on it."""
    with store.reading() as c:
        # The issuer itself says whether its name ends with a slash, and a connection has it so.
        forms = (claim.issuer.rstrip("/"), claim.issuer.rstrip("/") + "/")
        known = any(connections.has_live(c, issuer, claim.member, clock.now()) for issuer in forms)
    return _is_confirmed(claim), known


def _is_confirmed(claim: Provider) -> bool:
    """Return whether the entry's application is its member's, holds the role, and is at the issuer's host."""
    here = current()
    if not claim.application:
        return False
    try:
        application = here.directory.application(claim.application)
    except Unreachable:
        return False
    hosts = {urlsplit(url).netloc for url in (application.home_page, application.message_delivery) if url}
    return (
        application.member == claim.member
        and roles.holds(application.roles, here.settings.scheme.edp_roles)
        and urlsplit(claim.issuer).netloc in hosts
    )


@lru_cache(maxsize=1024)
def _alarm(service: str, issuer: str, member: str, _day: int) -> None:
    """Write one audit event a day in each process, however often the list is shown."""
    audit.event("catalogue_claim_refused", service=service, issuer=issuer, member=member)
