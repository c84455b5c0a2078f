"""Energy data providers that an SME can connect, and the bank that sent it, as the Directory lists them."""

import logging
from dataclasses import asdict, dataclass
from typing import ClassVar, Final, cast

from consent_server import clock, store
from consent_server.caller import catalogue
from consent_server.caller.membership import acts_as
from consent_server.deployment import current
from consent_server.outbound.directory import DataService
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.fair_pool import FairPool, Tally
from consent_server.refusal import Refusal, Unavailable
from consent_server.store import connections
from consent_server.store.tables.sessions import ChosenProvider

log = logging.getLogger("consent_server.portal")

RUN_S: Final = 30


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
    return member.name if acts_as(member, here.settings.scheme.fsp_roles, here.settings, clock.now()) else None


def _providers() -> list[Provider]:
    here = current()
    scheme = here.settings.scheme
    listed = catalogue.entries(
        here.directory, here.settings, scheme.consumption_standard, scheme.edp_roles, clock.now(), _is_known
    )
    return [
        Provider(
            service=service.id,
            member=service.member,
            application=service.application or "",
            name=member.name,
            legal_name=member.legal_name,
            issuer=issuer,
        )
        for service, issuer, member in listed
    ]


def _is_known(claim: DataService) -> bool:
    """Return whether live connections rest on an entry."""
    # The issuer itself says whether its name ends with a slash, and a connection has it so.
    issuer = (claim.issuer or "").rstrip("/")
    with store.reading() as c:
        return any(connections.has_live(c, form, claim.member, clock.now()) for form in (issuer, f"{issuer}/"))
