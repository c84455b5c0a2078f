"""Everything that an SME has permitted through its account, newest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.outbound.errors import Unreachable
from consent_server.scheme import permission_text
from consent_server.scheme.instant import DAY
from consent_server.scheme.permission import PermissionAt, State, ended_at, state_at
from consent_server.store import collecting, connections, evidence, outbox, permissions, released
from consent_server.store.collecting import Extent, Trouble
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.permissions import Evidence, Permission, ReleasedData

CONNECTION = "connection"  # an EDP gives us readings
RELEASE = "release"  # we give months of emissions to a bank
#: From so many days before its end an account shows that a permission ends, as mails do (receipts.reminders).
REMIND_DAYS: Final = 30


@dataclass(frozen=True)
class GivenPermission(PermissionAt):
    """One permission: who may do what until when. `kind` is CONNECTION or RELEASE, `other` the member on the other side.

    `ended` is the instant at which it was over, whatever ended it. `evidence` is the id of the evidence page that the issuer
    of a release shows; `troubles` (what fails now, whoever's failure it is), `collected` and `service` (the
    catalogue's entry to connect again) are a connection's. `in_detail` adds the meters by fuel and district (`places`), the
    time of which readings were `fetched`, what a release has `released`, and the calls by which the other side is `told` of the
    end.
    """

    id: str
    kind: str
    other: str
    member: str
    granted: int
    expires: int
    ended: int | None
    text_shown: str
    fuels: Sequence[str] = ()
    evidence: str | None = None
    troubles: Sequence[Trouble] = ()
    collected: int | None = None
    service: str = ""
    places: Sequence[tuple[str, str, int]] = ()
    fetched: Extent | None = None
    released: ReleasedData | None = None
    told: Sequence[OwedCall] = ()

    @property
    def text_html(self) -> str:
        return permission_text.render(self.text_shown)


class GivenRows(NamedTuple):
    """What is kept of an account's connections, each with its troubles, its releases, and the evidence of both."""

    connections: list[tuple[ProviderConnection, list[Trouble]]]
    releases: list[Permission]
    seen: Mapping[str, Evidence]

    def connection(self, subject: str) -> ProviderConnection | None:
        return next((row for row, _ in self.connections if row.id == subject), None)


def rows_of(c: store.Connection, account: str) -> GivenRows:
    """Return what is kept of an account, for `named`."""
    held = [(row, _troubles(c, row)) for row in connections.of_account(c, account)]
    given = permissions.of_sme(c, account)
    return GivenRows(held, given, evidence.of_subjects(c, [row.id for row, _ in held] + [row.id for row in given]))


def named(held: GivenRows) -> list[GivenPermission]:
    """Return connections and releases, newest first. Names are the evidence's while the Directory is down.

    It may ask the Directory, so it must not run in a transaction.
    """
    at, seen = clock.now(), held.seen
    found = [_connection(row, seen.get(row.id), troubles, at) for row, troubles in held.connections]
    found += [_release(row, seen.get(row.id), at) for row in held.releases]
    # A release of the same second rests on the connection, so it is the newer one.
    return sorted(found, key=lambda each: (each.granted, each.kind == RELEASE), reverse=True)


def is_own(c: store.Connection, account: str, subject: str) -> bool:
    """Return whether a permission is one of the account's own, whatever its state."""
    made, given = connections.find(c, subject), permissions.find(c, subject)
    return account in {made.account if made is not None else None, given.sme if given is not None else None}


def in_detail(account: str) -> list[GivenPermission]:
    """Return everything of an account, each with the details that the page of all of them shows."""
    with store.reading() as c:
        held = rows_of(c, account)
        made, given = [row.id for row, _ in held.connections], [row.id for row in held.releases]
        places = {each: collecting.places(c, each) for each in made}
        fetched = {each: collecting.extent(c, each) for each in made}
        let_out, told = released.of_subjects(c, given), outbox.of_subjects(c, [*made, *given])
    return [
        replace(
            each,
            places=places.get(each.id, ()),
            fetched=fetched.get(each.id),
            released=let_out.get(each.id),
            told=told.get(each.id, ()),
        )
        for each in named(held)
    ]


def to_renew(everything: Sequence[GivenPermission]) -> list[GivenPermission]:
    """Return the connections that end within REMIND_DAYS, and those that ended by themselves and have no successor."""
    connections_ = [each for each in everything if each.kind == CONNECTION]
    live = [each for each in connections_ if each.live]
    soon = clock.now() + REMIND_DAYS * DAY
    served = {each.service for each in live}
    over: dict[str, GivenPermission] = {}
    for each in connections_:  # the newest first
        if each.service not in served:
            over.setdefault(each.service, each)
    ended = [each for each in over.values() if each.state is State.EXPIRED]
    return [*(each for each in live if each.expires <= soon), *ended]


def nearest_end(c: store.Connection, account: str, at: int) -> int | None:
    """Return the nearest end, within REMIND_DAYS, of a connection in force; None where there is none."""
    ends = [row.expires for row in connections.live(c, account, at)]
    return min((each for each in ends if each <= at + REMIND_DAYS * DAY), default=None)


def newest_bank(c: store.Connection, account: str) -> str | None:
    """Return the member URL of the bank that sent this SME here last, as its connections remember it."""
    return next((row.fsp for row in connections.of_account(c, account) if row.fsp), None)


def _connection(row: ProviderConnection, seen: Evidence | None, troubles: list[Trouble], at: int) -> GivenPermission:
    found = _given(CONNECTION, row, seen, at)
    return replace(found, troubles=troubles, collected=row.collected, service=row.resource)


def _troubles(c: store.Connection, row: ProviderConnection) -> list[Trouble]:
    """Return what fails now: of some meters, or of the provider as a whole."""
    found = [] if row.ended else collecting.troubles(c, row.id)
    if row.trouble and row.trouble not in {each.text for each in found}:
        found.insert(0, Trouble("", row.trouble, 0))
    return found


def _release(row: Permission, seen: Evidence | None, at: int) -> GivenPermission:
    shown, redeemed = seen.id if seen is not None else None, row.redeemed is not None
    return replace(_given(RELEASE, row, seen, at), fuels=row.fuels, evidence=shown, redeemed=redeemed)


def _given(kind: str, row: ProviderConnection | Permission, seen: Evidence | None, at: int) -> GivenPermission:
    state = state_at(row.ended, row.ended_as, row.expires, at)
    return GivenPermission(
        id=row.id,
        kind=kind,
        other=_name(row.member, seen),
        member=row.member,
        granted=row.granted,
        expires=row.expires,
        ended=ended_at(state, row.ended, row.expires),
        state=state,
        text_shown=seen.text_shown if seen is not None else "",
    )


def _name(member: str, seen: Evidence | None) -> str:
    """Return a member's name: the Directory's, else the one that the SME read when it agreed."""
    try:
        return current().directory.member(member).name
    except Unreachable:
        return seen.names.get("client", member) if seen is not None else member
