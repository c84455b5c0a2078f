"""The banks to which the portal links: only those in our settings, and only while the Directory lists them as banks."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.journey import hand_over
from consent_server.portal import providers
from consent_server.refusal import with_query
from consent_server.store import connections, evidence, links, permissions
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Permission
from consent_server.store.tables.sessions import PressedShare
from consent_server.web import headers


@dataclass(frozen=True)
class Offer:
    """A bank to share with. `agreed` is when the SME allowed it in the permission that names this bank, None where none does:
    it then reads a permission of its own. `withdrawn` is when it withdrew what it had shared since. `covers` is the digest of
    what is handed on.
    """

    member: str
    name: str
    origin: str
    agreed: int | None
    withdrawn: int | None
    covers: str


class ListedBank(NamedTuple):
    """A bank of our settings by the name that the Directory has for it, and where it begins to ask."""

    member: str
    name: str
    start: str


def listed(first: str | None = None) -> list[ListedBank]:
    """Return the banks of our settings, `first` at the top. It may ask the Directory, so it must not run in a transaction."""
    found = sorted(current().settings.portal.banks, key=lambda each: each.member != first)
    return [ListedBank(each.member, name, each.start) for each in found if (name := providers.bank(each.member))]


def offers(c: store.Connection, account: str, banks: Iterable[ListedBank]) -> list[Offer]:
    """Return those banks that an account may share with: all that do not hold a live permission of it whose text names every
    provider that is connected now. The combined license names one."""
    at = clock.now()
    live = connections.live(c, account, at)
    connected = {row.id for row in live}
    given = permissions.of_sme(c, account)
    held = {
        row.member
        for row in given
        if row.redeemed
        and row.is_live(at)
        and (current().is_combined(row.license) or connected <= {*links.supports(c, row.id)})
    }
    return [_offer(c, account, each, live, given) for each in banks if each.member not in held]


def _offer(
    c: store.Connection, account: str, bank: ListedBank, live: Sequence[ProviderConnection], given: Sequence[Permission]
) -> Offer:
    named = hand_over.naming(live, bank.member)
    seen = evidence.of_subject(c, named[0].id) if named else None
    covers = hand_over.covers(account, bank.member, named) if seen is not None else ""
    agreed = seen.at if seen is not None else None
    withdrawn = max(
        (row.ended or 0 for row in given if row.member == bank.member and row.ended_as == "withdrawn"), default=0
    )
    stopped = withdrawn if agreed is not None and withdrawn > agreed else None
    return Offer(bank.member, bank.name, headers.origin_of(bank.start), agreed, stopped, covers)


def lead(account: str, member: str, shown: str) -> tuple[str, PressedShare] | None:
    """Return the address at which a bank asks us, and what to keep of the press; None for a bank that is not offered.

    The press covers what the page has shown (`shown`) and nothing else; otherwise the SME is asked at our issuer.
    """
    bank = next((each for each in listed() if each.member == member), None)
    if bank is None:
        return None
    with store.reading() as c:
        offer = next(iter(offers(c, account, [bank])), None)
    if offer is None:
        return None
    pressed = hand_over.press(offer.covers if offer.covers == shown else "")
    told = {"iss": current().settings.issuer, "scope": _license(combined=bool(offer.covers))}
    return with_query(bank.start, {**told, "login_hint": pressed["hint"]}), pressed


def origins(found: Collection[Offer]) -> tuple[str, ...]:
    """Return the origins to which the forms of these offers lead."""
    return tuple(each.origin for each in found)


def _license(*, combined: bool) -> str | None:
    """Return the license under which a bank asks us."""
    return next((url for url, each in current().licenses.items() if each.is_combined == combined), None)
