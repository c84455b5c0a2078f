"""A CAP's data API: whole months of emissions with signed provenance."""

import orjson

from consent_server import audit
from consent_server.resource.answer import Answer, not_yet
from consent_server.resource.guard import Release
from consent_server.resource.parts import EmissionsParts
from consent_server.resource.window import Window
from consent_server.scheme import instant

#: UN/CEFACT code of the kilogram.
UNIT = "KGM"
# A milligram: below it is floating-point dust.
_DECIMALS = 6


def emissions(parts: EmissionsParts, release: Release, window: Window, at: int) -> Answer:
    """The months of the window, of the fuels that the permission covers. A month that is not whole is not in the answer."""
    report = parts.months(release, window.start, window.end, at)
    if report.retry_after is not None:
        return not_yet(report.retry_after)
    months = [month for month in report.months if month.fuel in release.fuels]
    data = [
        {
            "type": month.fuel,
            "from": instant.text(month.start),
            "to": instant.text(month.end),
            "takenAt": instant.text(month.taken_at),
            "emissions": {"value": round(month.kilograms, _DECIMALS), "unitCode": UNIT},
        }
        for month in months
    ]
    audit.event(
        "data_released",
        client_id=release.token.client_id,
        permission=release.account,
        resource="/emissions",
        readings=len(data),
    )
    # A window without a whole month has nothing that a record could be about; null would break the standard's schema.
    record = {} if report.provenance is None else {"provenance": report.provenance}
    return Answer([orjson.dumps({"data": data} | record)])
