"""What ends when an SME withdraws in its account: the page before shows it, and the withdrawal ends it."""

from dataclasses import dataclass

from consent_server import clock, store
from consent_server.portal.given import CONNECTION, RELEASE
from consent_server.scheme import permission_text
from consent_server.store import collecting, connections, evidence, locks, permissions
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Evidence, Permission
from consent_server.withdrawal.ending_with import ending_with
from consent_server.withdrawal.withdraw import Withdrawal, withdraw_in


@dataclass(frozen=True)
class Holding:
    """What we hold that came through one connection; `months` counts whole months of emissions of one fuel each."""

    meters: int
    first: int
    last: int
    records: int
    months: int


@dataclass(frozen=True)
class EndingPermission:
    """A permission that ends, or has ended, with a withdrawal.

    `other` is the name of the other side, as the SME read it when it agreed. `holding` is what is deleted with the permission,
    `told` whether the other side gets a message from us, `says` what the permission's text says that a withdrawal leads to.
    """

    kind: str
    other: str
    holding: Holding | None
    told: bool
    says: str = ""


def would_end(c: store.Connection, account: str, subject: str) -> list[EndingPermission] | None:
    """Return what would end if this permission were withdrawn, that one first.

    The list is empty for a permission that has ended; None stands for one that is another account's, or unknown.
    """
    at = clock.now()
    rows: list[ProviderConnection | Permission] = [*connections.of_account(c, account), *permissions.of_sme(c, account)]
    own = {row.id: row for row in rows}
    row = own.get(subject)
    if row is None:
        return None
    if not row.is_live(at):
        return []
    ids = [each for each in (subject, *ending_with(c, subject, at)) if each in own]
    seen = evidence.of_subjects(c, ids)
    return [_ending(c, own[each], seen.get(each)) for each in ids]


def withdraw_own(c: store.Connection, account: str, subject: str) -> list[EndingPermission] | None:
    """Withdraw one permission of this account, with all that rests on it; return what ended, as `would_end` does.

    What was deleted with it is in the result.
    """
    at = clock.now()
    locks.lock_business(c, account)
    ended = would_end(c, account, subject)  # before: what we hold is deleted with its connection
    if not ended:
        return ended
    done = withdraw_in(c, subject, Withdrawal("sme", "portal", "the SME withdrew in its account"), at)
    return ended if done else []


def _ending(c: store.Connection, row: ProviderConnection | Permission, seen: Evidence | None) -> EndingPermission:
    is_connection = isinstance(row, ProviderConnection)
    names = seen.names if seen is not None else {}
    return EndingPermission(
        kind=CONNECTION if is_connection else RELEASE,
        other=names.get("EDP" if is_connection else "FSP") or names.get("client", row.member),
        holding=_holding(c, row.id) if is_connection else None,
        told=isinstance(row, ProviderConnection) or row.redeemed is not None,
        says=permission_text.said_on_withdrawal(seen.text_shown if seen is not None else ""),
    )


def _holding(c: store.Connection, connection: str) -> Holding | None:
    found = collecting.extent(c, connection)
    if found is None:
        return None
    return Holding(
        meters=found.meters,
        first=found.first,
        last=found.end,
        records=found.responses,
        months=collecting.count_months(c, connection),
    )
