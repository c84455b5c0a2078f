"""What an EDP holds about a business that has shown who it is at /manage.

It contains no half-hours: a bill proves that somebody knows a meter's number, not that they may read its history.
"""

from consent_server import store
from consent_server.metering import sources
from consent_server.metering.register import Tenancy
from consent_server.receipts import held
from consent_server.receipts.held import HeldFact, HeldPart, Instant, facts
from consent_server.store import permissions
from consent_server.web.language import N_


def of_business(sme: str, business: str, at: int) -> list[HeldPart]:
    """Return everything: the business, its meters as far as the register vouches for them, its permissions."""
    with store.reading() as c:
        rows = permissions.of_sme(c, sme)
        given = held.permissions_part(c, [row.id for row in rows], at)
    known = {meter["id"] for row in rows for meter in row.meters}
    meters = {each.meter: each for each in sources.register().sites(sme, at)}
    meters |= sources.register().tenancies(sme, known)
    begin = sources.readings().begin(meters.keys())
    of_meters = [_meter(each, begin.get(each.meter)) for each in meters.values()]
    about = facts(("business", N_("Business"), business))
    return [
        HeldPart("business", N_("Your business"), [about]),
        HeldPart("meters", N_("Your meters"), of_meters),
        given,
    ]


def _meter(each: Tenancy, begin: int | None) -> list[HeldFact]:
    return facts(
        ("meter", N_("Meter"), each.as_kept("")),
        ("measures", N_("Measures"), each.measures),
        ("since", N_("Yours since"), Instant(each.since) if each.since else None),
        ("until", N_("Yours until"), Instant(each.until) if each.until is not None else None),
        ("readings_from", N_("Half-hourly readings from"), Instant(each.clamp(begin, begin)[0]) if begin else None),
    )
