"""What stands: everything that an SME has permitted through its account, newest first, and how it takes that back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from consent_server import clock, store
from consent_server.outbound.errors import Unreachable
from consent_server.portal.parts import PortalParts
from consent_server.scheme import licenses
from consent_server.scheme.permission import State, state_at
from consent_server.store import connections, evidence, links, permissions
from consent_server.withdrawal.withdraw import Withdrawal, withdraw

CONNECTION = "connection"  # an EDP gives us readings
RELEASE = "release"  # we give months of emissions to a bank


@dataclass(frozen=True)
class Standing:
    """One permission: who may do what until when. `kind` is CONNECTION or RELEASE, `other` the member on the other side.

    `ended` is the instant at which it was over, whatever ended it. `evidence` is the id of the evidence page that the issuer
    of a release shows; `trouble` and `collected` are a connection's.
    """

    id: str
    kind: str
    other: str
    member: str
    granted: int
    expires: int
    ended: int | None
    state: State
    text_html: str
    fuels: tuple[str, ...]
    evidence: str | None
    trouble: str | None
    collected: int | None

    @property
    def live(self) -> bool:
        return self.state is State.GRANTED


@dataclass(frozen=True)
class Holding:
    """What we hold that came through one connection; `months` counts whole months of emissions of one fuel each."""

    meters: int
    first: int
    last: int
    records: int
    months: int


@dataclass(frozen=True)
class Falling:
    """A permission that ends, or has ended, with a withdrawal; `holding` is what is deleted with it, `told` whether the
    other side learns it from us."""

    kind: str
    other: str
    holding: Holding | None
    told: bool


def standing(parts: PortalParts, account: str) -> list[Standing]:
    """Connections and releases of an account, newest first. It needs no network: it is there when the Directory is not."""
    at = clock.now()
    with store.reading() as c:
        found: list[tuple[str, Any]] = [(CONNECTION, row) for row in connections.of_account(c, account)]
        found += [(RELEASE, row) for row in permissions.of_sme(c, account)]
        seen = {row.id: evidence.of_subject(c, row.id) for _, row in found}
    # What was given in the same second rests on the connection, so it is the newer one.
    found.sort(key=lambda pair: (pair[1].granted, pair[0] == RELEASE), reverse=True)
    return [_standing(parts, kind, row, seen[row.id], at) for kind, row in found]


def _standing(parts: PortalParts, kind: str, row: Any, seen: Any, at: int) -> Standing:
    state = state_at(row.ended, row.ended_as, row.expires, at)
    return Standing(
        id=row.id,
        kind=kind,
        other=_name(parts, row.member, seen),
        member=row.member,
        granted=row.granted,
        expires=row.expires,
        ended=row.expires if state is State.EXPIRED else row.ended,
        state=state,
        text_html=licenses.render(seen.text_shown) if seen is not None else "",
        fuels=tuple(getattr(row, "fuels", ())),
        evidence=seen.id if seen is not None and kind == RELEASE else None,
        trouble=getattr(row, "trouble", None),
        collected=getattr(row, "collected", None),
    )


def _name(parts: PortalParts, member: str, seen: Any) -> str:
    """A member's name: the Directory's, else the one that the SME read when it agreed."""
    try:
        return parts.directory.member(member).name
    except Unreachable:
        return str(seen.names.get("client", member)) if seen is not None else member


def own(parts: PortalParts, account: str, subject: str) -> Standing | None:
    """One of the account's own permissions; another's and an unknown one are None alike."""
    return next((each for each in standing(parts, account) if each.id == subject), None)


def is_connected(account: str) -> bool:
    """Whether this account has a live connection to an energy data provider."""
    with store.reading() as c:
        return bool(connections.live(c, account, clock.now()))


def newest_bank(account: str) -> str | None:
    """The member URL of the bank that sent this SME here last, as its connections remember it."""
    with store.reading() as c:
        return next((row.fsp for row in connections.of_account(c, account) if row.fsp), None)


def falling(parts: PortalParts, account: str, subject: str) -> list[Falling]:
    """What would end if this permission were withdrawn, that one first; nothing for one that is not live or not theirs."""
    at = clock.now()
    known = {each.id: each for each in standing(parts, account) if each.live}
    if subject not in known:
        return []
    with store.reading() as c:
        return [_falling(c, known[each]) for each in _with_dependents(c, subject, known, at) if each in known]


def _with_dependents(c: Any, subject: str, live: dict[str, Standing], at: int) -> Iterator[str]:
    fallen: set[str] = set()
    waiting = [subject]
    while waiting:
        current = waiting.pop(0)
        if current in fallen:
            continue
        fallen.add(current)
        yield current
        for below in links.dependents(c, current):
            if not any(support in live and support not in fallen for support in links.supports(c, below)):
                waiting.append(below)


def _falling(c: Any, each: Standing) -> Falling:
    if each.kind == CONNECTION:
        return Falling(CONNECTION, each.other, _holding(c, each.id), told=True)
    row = permissions.find(c, each.id)
    return Falling(RELEASE, each.other, None, told=row is not None and row.redeemed is not None)


def _holding(c: Any, connection: str) -> Holding | None:
    windows = connections.collected(c, connection)
    if not windows:
        return None
    first, last = min(row.window_start for row in windows), max(row.window_end for row in windows)
    return Holding(
        meters=len({row.datasource for row in windows}),
        first=first,
        last=last,
        records=len(windows),
        months=len(connections.months(c, connection, 0, last)),
    )


def withdraw_own(parts: PortalParts, account: str, subject: str) -> list[Falling]:
    """Withdraw one permission of this account, with all that rests on it; answers what fell, with what was deleted.

    Nothing for another's, an unknown one, and one that had ended before.
    """
    would_fall = falling(parts, account, subject)
    if not would_fall or not withdraw(subject, Withdrawal("sme", "portal", "the SME withdrew in its account")):
        return []
    return would_fall
