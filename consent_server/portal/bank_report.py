"""The report of an SME for a bank that the SME has permitted, with its provenance record."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urlencode

from consent_server import audit, clock, store
from consent_server.collect import report
from consent_server.deployment import current
from consent_server.documents import data
from consent_server.documents.data import ReportData
from consent_server.portal.result import last_year
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import SignedRecord
from consent_server.scheme.provenance.steps import GrantedPermission
from consent_server.scheme.report import FUELS, Report, ReportParty
from consent_server.store import audit_events, permissions
from consent_server.store.tables.permissions import Permission
from consent_server.web import budgets


@dataclass(frozen=True)
class BankReport:
    """The data of a report to a bank, and their record, which ends with a transfer to it."""

    data: ReportData
    record: SignedRecord


class ReportRows(NamedTuple):
    """What the report to the bank of a permission is made from. `readings` are the records of the readings, by fuel.

    `whole` is the report on the last twelve whole months, where this one is a part of it.
    """

    permission: Permission
    report: Report
    readings: Sequence[Sequence[SignedRecord]]
    whole: Report | None


class ReportPart(NamedTuple):
    """The report from `start` to before `end`, first instants of months; `query` is that of its addresses."""

    start: int
    end: int
    query: str


def parts(c: store.Connection, row: Permission) -> list[ReportPart]:
    """Return the report on the last twelve whole months to the bank of a permission or, where they have more behind them than
    one record can hold, its parts; none where no month has figures. Raise NothingYet."""
    windows = report.parts(c, _to_bank(c, row, *last_year()))
    return [ReportPart(*window, _query(row.id, window, is_whole=len(windows) == 1)) for window in windows]


def _query(permission: str, window: tuple[int, int], is_whole: bool) -> str:
    first, last = window[0], window[1] - 1
    months = {} if is_whole else {"from": instant.month(first), "to": instant.month(last)}
    return urlencode({"permission": permission, **months})


def has_report(row: Permission, at: int) -> bool:
    """Return whether a report is made out to the bank of a permission: it is in force, and the bank has collected it."""
    return row.redeemed is not None and row.is_live(at)


def read(
    c: store.Connection, account: str, permission: str, window: tuple[int, int] | None = None
) -> ReportRows | None:
    """Return what the report on the last twelve whole months, or on those of a `window`, to the bank of one of the account's
    permissions is made from.

    None for a permission that is another's or not live, and for a window beyond the twelve months. Raise TooMany, NothingYet,
    ReportTooLong.
    """
    first, last = last_year()
    start, end = window or (first, last)
    row = permissions.find(c, permission)
    if row is None or row.sme != account or not has_report(row, clock.now()) or not first <= start < end <= last:
        return None
    budgets.reports().look(c, account)  # it is taken in `made`, which writes
    found = _to_bank(c, row, start, end)
    whole = _to_bank(c, row, first, last) if (start, end) != (first, last) else None
    return ReportRows(row, found, report.records(c, found), whole)


def made(rows: ReportRows) -> BankReport | None:
    """Return the report, which counts for the account's budget and is noted in the audit trail.

    None when the permission has ended meanwhile. Raise NoMonthToReport, SigningCertificateNotValid, TooMany, Unreachable:
    nobody knows the bank's name.
    """
    here, row = current(), rows.permission
    grant = GrantedPermission(
        account=row.account, license=row.license, granted=row.granted, expires=row.expires, fuels=row.fuels
    )
    bank = ReportParty(here.directory.member(row.member).name, row.member, row.client_id)
    found = replace(rows.report, to=bank)
    proven = report.provenance(found, rows.readings, grant, bank.url)
    if proven is None:
        raise report.NoMonthToReport
    member = here.settings.member
    told = data.of(
        found,
        grant,
        proven.missing_data,
        application=member.application,
        service=member.data_service,
        sandbox=here.settings.is_sandbox,
        authority=here.settings.collection.timestamp_authority,
        whole=rows.whole,
    )
    with store.writing() as c:
        budgets.reports().take(c, row.sme)
        now = permissions.find(c, row.id)
        if now is None or not has_report(now, clock.now()):  # it has ended meanwhile
            return None
        released = audit.event(
            "data_released",
            client_id=row.client_id,
            permission=row.account,
            resource="/report",
            fuels=[fuel for fuel in FUELS if fuel in row.fuels],
            window=instant.interval(found.start, found.end),
            readings=len(found.months),
        )
        audit_events.keep(c, released)
    return BankReport(told, proven.record)


def _to_bank(c: store.Connection, row: Permission, start: int, end: int) -> Report:
    """Return the report to the bank of a permission. Raise NothingYet."""
    fuels = tuple(fuel for fuel in FUELS if fuel in row.fuels)
    bank = ReportParty("", row.member, row.client_id)
    return report.report(c, row.sme, start, end, fuels, bank, of=report.resting_on(c, row))
