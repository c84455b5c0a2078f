"""The banks to which the portal links: only those in our settings, and only while the Directory lists them as banks."""

from collections.abc import Collection
from dataclasses import dataclass

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.journey import hand_over
from consent_server.portal import providers
from consent_server.refusal import with_query
from consent_server.store import permissions
from consent_server.store.tables import PressedShare
from consent_server.web import headers


@dataclass(frozen=True)
class Offer:
    """A bank to share with. `agreed` is when the SME allowed it in the permission that names this bank, None where none does:
    it then reads a permission of its own. `covers` is the digest of what is handed on.
    """

    member: str
    name: str
    origin: str
    agreed: int | None
    covers: str


def offers(account: str, first: str | None = None) -> list[Offer]:
    """Return the banks that an account may share with and that do not hold a live permission of it, `first` at the top."""
    at = clock.now()
    with store.reading() as c:
        held = {
            row.member for row in permissions.of_sme(c, account) if row.redeemed and not row.ended and row.expires > at
        }
    listed = sorted(current().settings.portal.banks, key=lambda each: each.member != first)
    return [
        made for each in listed if each.member not in held and (made := _offer(account, each.member, each.start, at))
    ]


def _offer(account: str, member: str, start: str, at: int) -> Offer | None:
    name = providers.bank(member)
    if name is None:
        return None
    with store.reading() as c:
        named = hand_over.naming(c, account, member, at)
        seen = hand_over.read_before(c, named[0]) if named else None
    covers = hand_over.covers(account, member, named) if seen is not None else ""
    return Offer(member, name, headers.origin_of(start), seen.at if seen is not None else None, covers)


def lead(account: str, member: str, shown: str) -> tuple[str, PressedShare] | None:
    """Return the address at which a bank asks us, and what to keep of the press; None for a bank that is not offered.

    The press covers what the page has shown (`shown`) and nothing else; otherwise the SME is asked at our issuer.
    """
    start = next((each.start for each in current().settings.portal.banks if each.member == member), None)
    offer = next((each for each in offers(account) if each.member == member), None)
    if start is None or offer is None:
        return None
    pressed = hand_over.press(offer.covers if offer.covers == shown else "")
    told = {"iss": current().settings.issuer, "scope": _license(combined=bool(offer.covers))}
    return with_query(start, {**told, "login_hint": pressed["hint"]}), pressed


def origins(found: Collection[Offer]) -> tuple[str, ...]:
    """Return the origins to which the forms of these offers lead."""
    return tuple(each.origin for each in found)


def _license(*, combined: bool) -> str | None:
    """Return the license under which a bank asks us."""
    return next((url for url, each in current().licenses.items() if each.is_combined == combined), None)
