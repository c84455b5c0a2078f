"""The report of an SME for a bank that the SME has permitted, with its provenance record."""

from dataclasses import dataclass

from consent_server import audit, clock, store
from consent_server.collect import report
from consent_server.deployment import current
from consent_server.documents import data
from consent_server.documents.data import ReportData
from consent_server.portal.result import MONTHS
from consent_server.scheme import instant
from consent_server.scheme.permission import State, state_at
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


def handover(account: str, permission: str) -> Handover | None:
    """Return the report on the last twelve whole months, made out to the bank of one of the account's permissions.

    None for a permission that is another's or not live, and while there is no month to report. Raise NothingYet, and
    SigningCertificateNotValid.
    """
    at = clock.now()
    with store.reading() as c:
        row = permissions.find(c, permission)
    if row is None or row.sme != account or not _is_live(row, at):
        return None
    here = current()
    grant = GrantedPermission(
        account=row.account, license=row.license, granted=row.granted, expires=row.expires, fuels=row.fuels
    )
    end = instant.month_start(at)
    fuels = tuple(fuel for fuel in FUELS if fuel in row.fuels)
    bank = ReportParty(here.directory.member(row.member).name, row.member, row.client_id)
    start = instant.months_later(end, -MONTHS)
    found = report.report(account, start, end, fuels, bank, of=report.resting_on(row))
    record = report.provenance(found, grant, bank.url)
    if record is None:
        return None
    member = here.settings.member
    told = data.of(
        found,
        grant,
        application=member.application,
        service=member.data_service,
        sandbox=here.settings.is_sandbox,
        authority=here.settings.collection.timestamp_authority,
    )
    released = audit.event(
        "data_released",
        client_id=row.client_id,
        permission=row.account,
        resource="/report",
        fuels=list(fuels),
        window=instant.interval(instant.months_later(end, -MONTHS), end),
        readings=len(found.months),
    )
    with store.writing() as c:
        audit_events.keep(c, released)
    return Handover(told, record)


def _is_live(row: Permission, at: int) -> bool:
    return row.redeemed is not None and state_at(row.ended, row.ended_as, row.expires, at) is State.GRANTED
