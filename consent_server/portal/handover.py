"""The report of an SME for a bank that the SME has permitted, with its provenance record."""

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlencode

from consent_server import audit, clock, store
from consent_server.collect import report
from consent_server.deployment import current
from consent_server.documents import data
from consent_server.documents.data import ReportData
from consent_server.portal.result import MONTHS
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import SignedRecord
from consent_server.scheme.provenance.steps import GrantedPermission
from consent_server.scheme.report import FUELS, ReportParty
from consent_server.store import audit_events, permissions
from consent_server.store.tables import Permission


@dataclass(frozen=True)
class Handover:
    """The data of a report to a bank, and their record, which ends with a transfer to it."""

    data: ReportData
    record: SignedRecord


class ReportPart(NamedTuple):
    """The report from `start` to before `end`, first instants of months; `query` is that of its addresses."""

    start: int
    end: int
    query: str


def parts(c: store.Connection, row: Permission) -> list[ReportPart]:
    """Return the report on the last twelve whole months to the bank of a permission or, where they have more behind them than
    one record can hold, its parts."""
    windows = report.parts(c, row, *_last_year(clock.now()))
    return [ReportPart(*window, _query(row.id, window, is_whole=len(windows) == 1)) for window in windows]


def _query(permission: str, window: tuple[int, int], is_whole: bool) -> str:
    first, last = window[0], window[1] - 1
    months = {} if is_whole else {"from": instant.month(first), "to": instant.month(last)}
    return urlencode({"permission": permission, **months})


def has_report(row: Permission, at: int) -> bool:
    """Return whether a report is made out to the bank of a permission: it is in force, and the bank has collected it."""
    return row.redeemed is not None and row.is_live(at)


def handover(account: str, permission: str, window: tuple[int, int] | None = None) -> Handover | None:
    """Return the report on the last twelve whole months, or those of a `window`, made out to the bank of one of the account's
    permissions.

    None for a permission that is another's or not live, for a window beyond the twelve months, and while there is no month to
    report. Raise NothingYet, ReportTooLong, SigningCertificateNotValid.
    """
    at = clock.now()
    first, last = _last_year(at)
    start, end = window or (first, last)
    if not first <= start < end <= last:
        return None
    with store.reading() as c:
        row = permissions.find(c, permission)
        if row is None or row.sme != account or not has_report(row, at):
            return None
        resting_on = report.resting_on(c, row)
    here = current()
    grant = GrantedPermission(
        account=row.account, license=row.license, granted=row.granted, expires=row.expires, fuels=row.fuels
    )
    fuels = tuple(fuel for fuel in FUELS if fuel in row.fuels)
    bank = ReportParty(here.directory.member(row.member).name, row.member, row.client_id)
    with store.reading() as c:
        found = report.report(c, account, start, end, fuels, bank, of=resting_on)
    proven = report.provenance(found, grant, bank.url)
    if proven is None:
        return None
    member = here.settings.member
    told = data.of(
        found,
        grant,
        proven.missing_data,
        application=member.application,
        service=member.data_service,
        sandbox=here.settings.is_sandbox,
        authority=here.settings.collection.timestamp_authority,
    )
    with store.writing() as c:
        row = permissions.find(c, permission)
        if row is None or not has_report(row, clock.now()):  # it has ended meanwhile
            return None
        released = audit.event(
            "data_released",
            client_id=row.client_id,
            permission=row.account,
            resource="/report",
            fuels=list(fuels),
            window=instant.interval(start, end),
            readings=len(found.months),
        )
        audit_events.keep(c, released)
    return Handover(told, proven.record)


def _last_year(at: int) -> tuple[int, int]:
    end = instant.month_start(at)
    return instant.months_later(end, -MONTHS), end
