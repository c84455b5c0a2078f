"""How long each table keeps its rows: one rule for each, used both to delete rows and to count them.

A row is due when the instant that its rule names is before the limit. A permission or a connection is deleted in one
transaction with all that is kept about it; so is what was collected through a connection.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import connections, permissions
from consent_server.store.database import db
from consent_server.store.rows import table_of
from consent_server.store.tables.accounts import Passkey, SignInCode, SmeAccount, UsedChallenge
from consent_server.store.tables.audit import DeletionCertificate, KeptCheckpoint, KeptEvent
from consent_server.store.tables.collecting import (
    CollectedMeter,
    CollectedWindow,
    EmissionsMonth,
    GridDayRow,
    LoadedFactorSet,
    MeterMonth,
    ProviderConnection,
)
from consent_server.store.tables.journeys import Journey, PushedRequest
from consent_server.store.tables.limits import FailureCount
from consent_server.store.tables.metering import DayBlock, Meter, SetAside
from consent_server.store.tables.owed import OwedCall, OwedMail, ReceiptAddress, ReceiptLink
from consent_server.store.tables.permissions import (
    AuthorizationCode,
    Evidence,
    KeptStatusList,
    Link,
    MeterAlias,
    Permission,
    ReleasedData,
)
from consent_server.store.tables.processes import FetchedCopy, JobRun, Node
from consent_server.store.tables.sessions import SESSION_ACCOUNT, SessionRow
from consent_server.store.tables.status import Probe, ProbeDay, ServedHour, StatusNotice

#: A rule's name: a setting of settings.storage.RetentionSettings, "register" for what an EDP has of its own meters, or "none"
#: for what says nothing about a business.
RuleName = Literal[
    "requests_days", "sessions_days", "counts_days", "passkeys_days", "addresses_days", "collected_months",
    "records_months", "accounts_months", "status_months", "audit_days", "register", "none",
]  # fmt: skip


class RetentionRule(NamedTuple):
    """The rule of one table. `since` is the instant from which a row's time runs, None where nothing in it says; `free` is
    what must hold besides before it may go. `alone` says that its rows are deleted by themselves."""

    name: RuleName
    since: sa.ColumnElement[Any] | None = None
    free: sa.ColumnElement[bool] = sa.true()
    alone: bool = False


class TableAge(NamedTuple):
    """Rows of a table, the oldest instant from which the time of one runs, and how many are due."""

    rows: int
    oldest: int | None
    due: int


_permission, _connection = table_of(Permission), table_of(ProviderConnection)
_account, _session, _passkey = table_of(SmeAccount), table_of(SessionRow), table_of(Passkey)
_alias, _mail, _call = table_of(MeterAlias), table_of(OwedMail), table_of(OwedCall)
_link, _code = table_of(Link), table_of(AuthorizationCode)
_RECORDS: Final = (_permission, _connection)
#: The tables with a column `subject`, which is a permission or a connection.
_ABOUT_A_RECORD: Final = tuple(map(table_of, (Evidence, OwedCall, OwedMail, ReceiptLink, ReceiptAddress, ReleasedData)))


def _end(record: sa.FromClause) -> sa.ColumnElement[int]:
    return sa.func.coalesce(record.c.ended, record.c.expires)


def _end_of(subject: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    """The end of the permission or connection that a column names."""
    ends = (sa.select(_end(each)).where(each.c.id == subject).scalar_subquery() for each in _RECORDS)
    return sa.func.coalesce(*ends)


def _owed(owed: sa.FromClause, subject: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return sa.exists().where(owed.c.subject == subject, owed.c.delivered.is_(None), owed.c.given_up.is_(None))


def _nothing_owed(subject: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return sa.and_(~_owed(_call, subject), ~_owed(_mail, subject))


#: The index of the newest grant in the status list must not be given again, so that its row stays until there is a newer one.
_IS_NOT_THE_NEWEST: Final = (
    _permission.c.status_index < sa.select(sa.func.max(_permission.alias().c.status_index)).scalar_subquery()
)
_FREE: Final[Mapping[sa.FromClause, sa.ColumnElement[bool]]] = {
    _permission: sa.and_(_nothing_owed(_permission.c.id), _IS_NOT_THE_NEWEST),
    _connection: _nothing_owed(_connection.c.id),
}
_address = table_of(ReceiptAddress)
_OVER: Final = (
    sa.select(sa.case((_permission.c.ended < _permission.c.expires, _permission.c.ended), else_=_permission.c.expires))
    .where(_permission.c.id == _address.c.subject)
    .scalar_subquery()
)
_LAST_USE: Final = sa.func.coalesce(
    sa.select(sa.func.max(sa.func.coalesce(_passkey.c.used, _passkey.c.added)))
    .where(_passkey.c.account == _account.c.id)
    .scalar_subquery(),
    _account.c.created,
)
_RECORDS_OF_ACCOUNT: Final = (_permission.c.sme == _account.c.id, _connection.c.account == _account.c.id)
_HAS_NOTHING: Final = sa.and_(
    *(~sa.exists().where(its) for its in _RECORDS_OF_ACCOUNT),
    ~sa.exists(_session).where(_account.c.id == SESSION_ACCOUNT),
)
_collected = table_of(CollectedWindow)


def _collected_last(connection: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    newest = _collected.alias()
    came = sa.select(sa.func.max(newest.c.at)).where(newest.c.connection == connection).scalar_subquery()
    listed = sa.select(_connection.c.listed).where(_connection.c.id == connection).scalar_subquery()
    return sa.func.coalesce(came, listed)


def _alone(kind: type[NamedTuple], name: RuleName, column: str) -> tuple[str, RetentionRule]:
    table = table_of(kind)
    return table.name, RetentionRule(name, table.c[column], alone=True)


def _of_record(kind: type[NamedTuple], column: str = "subject") -> tuple[str, RetentionRule]:
    table = table_of(kind)
    subject = table.c[column]
    newest = sa.select(_permission.c.id).where(~_IS_NOT_THE_NEWEST).scalar_subquery()
    free = sa.and_(_nothing_owed(subject), subject.is_distinct_from(newest))
    return table.name, RetentionRule("records_months", _end_of(subject), free)


#: Table -> its rule: for every table that there is.
RULES: Final[Mapping[str, RetentionRule]] = dict(
    (
        _alone(PushedRequest, "requests_days", "created"),
        _alone(Journey, "requests_days", "created"),
        _alone(AuthorizationCode, "requests_days", "issued"),
        _alone(UsedChallenge, "requests_days", "at"),
        _alone(SignInCode, "requests_days", "expires"),
        _alone(SessionRow, "sessions_days", "seen"),
        _alone(FailureCount, "counts_days", "window"),
        _alone(Passkey, "passkeys_days", "removed"),
        _alone(ProbeDay, "status_months", "day"),
        _alone(StatusNotice, "status_months", "begins"),
        _alone(ServedHour, "status_months", "hour"),
        ("receipt_address", RetentionRule("addresses_days", _OVER, ~_owed(_mail, _address.c.subject), alone=True)),
        *((each.name, RetentionRule("records_months", _end(each), _FREE[each])) for each in _RECORDS),
        *map(_of_record, (Evidence, OwedCall, OwedMail, ReceiptLink, ReleasedData)),
        _of_record(Link, "dependent"),
        ("datasource", RetentionRule("records_months")),
        ("account", RetentionRule("accounts_months", _LAST_USE, _HAS_NOTHING)),
        *(
            (table.name, RetentionRule("collected_months", _collected_last(table.c.connection)))
            for table in map(table_of, (CollectedWindow, CollectedMeter, MeterMonth, EmissionsMonth))
        ),
        ("audit_event", RetentionRule("audit_days", table_of(KeptEvent).c.at)),
        *((table_of(kind).name, RetentionRule("register")) for kind in (Meter, DayBlock, SetAside)),
        *(
            (table_of(kind).name, RetentionRule("none"))
            for kind in (
                *(KeptStatusList, GridDayRow, LoadedFactorSet, FetchedCopy, KeptCheckpoint, JobRun, Node),
                *(DeletionCertificate, Probe),
            )
        ),
    )
)


def age(c: Connection, table: str, before: int) -> TableAge:
    """Return what a table holds, and how much of it is due when everything from before an instant is."""
    held, rule = db.metadata.tables[table], RULES[table]
    every = int(c.execute(sa.select(sa.func.count()).select_from(held)).scalar_one())
    if rule.since is None:
        return TableAge(every, None, 0)
    oldest = c.execute(sa.select(sa.func.min(rule.since)).select_from(held)).scalar_one()
    due = sa.select(sa.func.count()).select_from(held).where(rule.since < before, rule.free)
    return TableAge(every, oldest, int(c.execute(due).scalar_one()))


def forget_alone(c: Connection, table: str, before: int) -> int:
    """Delete the rows of a table that are due and rest on nothing; return how many."""
    rule = RULES[table]
    assert rule.alone and rule.since is not None  # noqa: PT018
    due = sa.and_(rule.since < before, rule.free)
    gone = _forget_mails_about(c, due) if table == _passkey.name else 0
    return gone + c.execute(sa.delete(db.metadata.tables[table]).where(due)).rowcount


def accounts_to_look_at(c: Connection, before: int, at: int, limit: int) -> dict[str, int]:
    """Return accounts that were last seen in use before an instant, longest ago first: for each when it is in use as of `at`.

    That is `at` where it has a permission or connection, and otherwise its last use.
    """
    # LIMIT 1 and not EXISTS, which PostgreSQL may answer from a hash of the whole table
    has = (sa.select(sa.literal(at)).where(its).limit(1).scalar_subquery() for its in _RECORDS_OF_ACCOUNT)
    found = sa.select(_account.c.id, sa.func.coalesce(*has, _LAST_USE)).where(_account.c.seen < before)
    return {account: used for account, used in c.execute(found.order_by(_account.c.seen).limit(limit))}  # noqa: C416


def saw_accounts(c: Connection, seen: Mapping[str, int]) -> None:
    """Keep when accounts were in use, by id."""
    this = sa.update(_account).where(_account.c.id == sa.bindparam("account")).values(seen=sa.bindparam("at"))
    if seen:
        c.execute(this, [{"account": account, "at": at} for account, at in seen.items()])


def forget_account(c: Connection, account: str, before: int) -> int:
    """Delete an account that is due still, with its passkeys; return how many rows."""
    rule, this = RULES["account"], _account.c.id == account
    assert rule.since is not None
    if c.execute(sa.select(_account.c.id).where(this, rule.since < before, rule.free)).first() is None:
        return 0
    its = _passkey.c.account == account
    gone = _forget_mails_about(c, its) + c.execute(sa.delete(_passkey).where(its)).rowcount
    return gone + c.execute(sa.delete(_account).where(this)).rowcount


def _forget_mails_about(c: Connection, passkeys: sa.ColumnElement[bool]) -> int:
    """Delete the mails about passkeys; return how many."""
    about = sa.select(_passkey.c.id).where(passkeys)
    return c.execute(sa.delete(_mail).where(_mail.c.subject.in_(about))).rowcount


def records_due(c: Connection, before: int, limit: int) -> list[str]:
    """Return permissions and connections that ended before an instant, and about which nothing is to be sent any more."""
    found: list[str] = []
    for each in _RECORDS:
        found += c.scalars(
            sa.select(each.c.id).where(_is_over(each, before), _FREE[each]).order_by(each.c.id).limit(limit)
        )
    return found[:limit]


def is_any_due(c: Connection, records_before: int, accounts_before: int) -> bool:
    """Return whether a permission, a connection or an account is to be deleted or looked at, each before its instant."""
    due = [sa.select(each.c.id).where(_is_over(each, records_before), _FREE[each]) for each in _RECORDS]
    due.append(sa.select(_account.c.id).where(_account.c.seen < accounts_before))
    return any(c.execute(query.limit(1)).first() is not None for query in due)


def _is_over(record: sa.FromClause, before: int) -> sa.ColumnElement[bool]:
    # not by _end(): each of the two columns has an index
    return sa.or_(record.c.ended < before, sa.and_(record.c.ended.is_(None), record.c.expires < before))


def forget_record(c: Connection, subject: str, before: int) -> int:
    """Delete a permission or connection that is due still, and all that is kept about it; return how many rows."""
    row = permissions.hold(c, subject) or connections.hold(c, subject)
    if row is None:
        return 0
    kept = _permission if isinstance(row, Permission) else _connection
    due = c.execute(sa.select(kept.c.id).where(kept.c.id == subject, _end(kept) < before, _FREE[kept])).first()
    if due is None:
        return 0
    gone = connections.forget_data(c, subject)
    about = [each.c.subject == subject for each in _ABOUT_A_RECORD]
    about += [_code.c.permission == subject, sa.or_(_link.c.support == subject, _link.c.dependent == subject)]
    for table, condition in zip((*_ABOUT_A_RECORD, _code, _link), about, strict=True):
        gone += c.execute(sa.delete(table).where(condition)).rowcount
    gone += c.execute(sa.delete(kept).where(kept.c.id == subject)).rowcount
    saw_accounts(c, {row.sme if isinstance(row, Permission) else row.account: 0})  # it may be the last that it had
    return gone + (_forget_aliases(c, row) if isinstance(row, Permission) else 0)


def _forget_aliases(c: Connection, row: Permission) -> int:
    """Delete a client's ids of a business's meters once it has no permission of that business left."""
    of_both = sa.and_(_alias.c.client_id == row.client_id, _alias.c.sme == row.sme)
    left = sa.exists().where(_permission.c.client_id == row.client_id, _permission.c.sme == row.sme)
    return c.execute(sa.delete(_alias).where(of_both, ~left)).rowcount


def oldest_grant(c: Connection) -> int | None:
    """Return when the oldest permission or connection that is kept was granted."""
    found = [c.execute(sa.select(sa.func.min(each.c.granted))).scalar_one() for each in _RECORDS]
    return min((at for at in found if at is not None), default=None)
