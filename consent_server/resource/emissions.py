"""A CAP's data API: whole months of emissions with signed provenance.

The standard has one name and one unit for all of them: `emissions` in KGM are kilograms of CO2 where the type is electricity,
and of CO2e where it is gas.
"""

from typing import Final

import orjson

from consent_server import audit, store
from consent_server.collect import report
from consent_server.resource.answer import Answer, not_yet
from consent_server.resource.guard import Release
from consent_server.resource.window import Window
from consent_server.scheme import instant
from consent_server.scheme.provenance.steps import GrantedPermission
from consent_server.scheme.report import FUELS, ReportedMonth, ReportParty
from consent_server.store import audit_events, permissions
from consent_server.store import released as released_data

#: UN/CEFACT code of the kilogram.
UNIT: Final = "KGM"


def emissions(release: Release, window: Window, at: int) -> Answer:
    """Return the months of the window, of the fuels that the permission covers, and note that at the instant `at`.

    A month that is not whole is left out.
    """
    token = release.token
    permission = permissions.by_status_index(token.status_idx)
    assert permission is not None  # the guard has just asked the store about it
    grant = GrantedPermission(
        account=release.account,
        license=token.scope,
        granted=token.permission.granted,
        expires=token.permission.expires,
        fuels=token.fuels,
    )
    fuels = tuple(fuel for fuel in FUELS if fuel in release.fuels)
    bank = ReportParty("", release.caller.member, token.client_id)
    try:
        with store.reading() as c:
            of = report.resting_on(c, permission)
            found = report.report(c, permission.sme, window.start, window.end, fuels, bank, of=of)
            readings = report.records(c, found)
        proven = report.provenance(found, readings, grant, bank.url)
    except report.NothingYet as wait:
        return not_yet(wait.retry_after)
    data = [_described(month) for month in found.months]
    released = audit.event(
        "data_released",
        client_id=token.client_id,
        permission=release.account,
        resource="/emissions",
        fuels=list(fuels),
        window=instant.interval(window.start, window.end),
        readings=len(data),
    )
    with store.writing() as c:
        audit_events.keep(c, released)
        if found.months:
            first, last = min(month.start for month in found.months), max(month.end for month in found.months)
            released_data.note(c, release.account, first, last, at)
    # A window without a whole month has nothing that a record could be about; null would break the standard's schema.
    signed = {} if proven is None else {"provenance": proven.record}
    return Answer([orjson.dumps({"data": data} | signed)])


def _described(month: ReportedMonth) -> dict[str, object]:
    return {
        "type": month.fuel,
        "from": instant.text(month.start),
        "to": instant.text(month.end),
        "takenAt": instant.text(month.taken_at),
        "emissions": {"value": month.figure.kilograms, "unitCode": UNIT},
    }
