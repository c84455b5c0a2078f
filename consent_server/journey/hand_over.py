"""Handing on what was allowed before: the bank that a combined permission names gets its own permission at our issuer.

The text is not read a second time. Whoever has pressed “Share” at the portal is not asked again: we gave the bank a login_hint,
which belongs to this browser's session, works once and within PRESS_S seconds, and only for what was shown there.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Final

from consent_server import clock
from consent_server.deployment import current
from consent_server.journey.step import Visit
from consent_server.scheme import permission_text
from consent_server.scheme.permission_text import ShownText
from consent_server.store.digests import new_secret
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Evidence
from consent_server.store.tables.sessions import PressedShare, SessionData
from consent_server.web import sessions

#: From the press until the bank has brought the browser back.
PRESS_S: Final = 120


def naming(live: Iterable[ProviderConnection], bank: str) -> list[ProviderConnection]:
    """Return those of an account's live connections whose combined permission names this bank."""
    return [row for row in live if row.fsp == bank and current().is_combined(row.license)]


def is_handed_on(license_url: str) -> bool:
    """Return whether this license is one under which we, a CAP, hand on what was allowed before."""
    return current().settings.party == "cap" and current().is_combined(license_url)


def text_of(seen: Evidence) -> ShownText:
    """Return the text as it was read then."""
    license_ = current().licenses[seen.license]
    return ShownText(
        html=permission_text.render(seen.text_shown),
        text=seen.text_shown,
        shown_sha256=seen.shown_sha256,
        raw_sha256=seen.raw_sha256,
        names={role: name for role, name in seen.names.items() if role in ("EDP", "CAP", "FSP")},
        fuels=license_.fuels,
        title=seen.names.get("license", license_.label),
        duration=license_.duration,
    )


def covers(account: str, bank: str, named: Sequence[ProviderConnection]) -> str:
    """Return the digest of what is handed on: whose, to whom, and which permissions."""
    facts = "\n".join([account, bank, *sorted(row.id for row in named)])
    return hashlib.sha256(facts.encode()).hexdigest()


def press(covered: str) -> PressedShare:
    """Return what a session keeps of a press. Where it covers nothing, it only leads a browser on with its session."""
    return PressedShare(hint=new_secret(), covers=covered, at=clock.now())


def take_press(visit: Visit) -> PressedShare | None:
    """Take the press that this journey is for out of the session; return it while it counts."""
    taken: list[PressedShare] = []

    def take(values: SessionData) -> None:
        found = values.get("pressed")
        if found is not None and hmac.compare_digest(found["hint"].encode(), (visit.journey.hint or "").encode()):
            taken.append(values.pop("pressed"))

    if visit.session is not None and visit.journey.hint:
        sessions.of_kind("portal").change(visit.session, take)
    return next((each for each in taken if 0 <= visit.at - each["at"] < PRESS_S), None)
