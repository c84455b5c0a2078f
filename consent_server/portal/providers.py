"""Energy data providers that an SME can connect, and the bank that sent it, as the Directory lists them."""

import logging
from collections import Counter
from dataclasses import asdict, dataclass
from typing import ClassVar, cast

from consent_server.deployment import current
from consent_server.outbound.errors import Unreachable
from consent_server.refusal import Refusal
from consent_server.scheme import roles
from consent_server.store.tables import ChosenProvider

log = logging.getLogger("consent_server.portal")


class ProviderUnreachable(Refusal):
    code = "provider_unreachable"
    error = "temporarily_unavailable"
    status = 503
    public = "The energy data provider cannot be reached just now. Nothing was connected. Try again in a few minutes."
    help = "Try again in a few minutes. If it lasts, tell us the correlation id."
    clause = "RFC 9110 15.6.4"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60"}


@dataclass(frozen=True)
class Provider:
    """An energy data provider that can be connected: one entry of the Directory's catalogue, with its member's name."""

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


def bank(url: str | None) -> str | None:
    """Return the name of the bank with this member URL; None unless the Directory lists it as one."""
    if url is None:
        return None
    here = current()
    try:
        member = here.directory.member(url)
    except Unreachable:
        return None
    return member.name if roles.holds(member.roles, here.settings.scheme.fsp_roles) and member.membership_ok else None


def _providers() -> list[Provider]:
    here = current()
    found: list[Provider] = []
    unknown: Unreachable | None = None
    listed = here.directory.data_services(here.settings.scheme.consumption_standard)
    claimed = Counter(issuer for issuer, _ in {(service.issuer, service.member) for service in listed})
    for service in listed:
        if service.issuer is None or service.application is None:
            continue
        if claimed[service.issuer] > 1:
            # An issuer belongs to one member: another that lists it may be posing as that member.
            log.warning("a provider is left out: %s is claimed by several members", service.issuer)
            continue
        try:
            member = here.directory.member(service.member)
        except Unreachable as error:
            # An entry that cannot be read must not hide the others.
            log.warning("a provider is left out: %s", error)
            unknown = error
            continue
        if roles.holds(member.roles, here.settings.scheme.edp_roles) and member.membership_ok:
            found.append(
                Provider(
                    service=service.id,
                    member=service.member,
                    application=service.application,
                    name=member.name,
                    legal_name=member.legal_name,
                    issuer=service.issuer,
                )
            )
    if unknown is not None and not found:
        raise unknown
    return found
