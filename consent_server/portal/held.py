"""What a CAP holds about the business of an account: the account, its passkeys and permissions, its meters and their months.

The JSON has the half-hours as well, as long as they are kept. It is made meter by meter: a chain has thousands.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import orjson

from consent_server import store
from consent_server.receipts import held
from consent_server.receipts.held import HeldFact, HeldPart, Instant, facts
from consent_server.scheme import instant, month_readings
from consent_server.store import collecting, connections, evidence, passkeys, permissions
from consent_server.store.tables.accounts import Passkey, SmeAccount
from consent_server.store.tables.collecting import CollectedMeter, MeterMonth
from consent_server.web.language import N_


def of_account(account: SmeAccount, at: int) -> list[HeldPart]:
    """Return everything but half-hours and months."""
    with store.reading() as c:
        connected = [row.id for row in connections.of_account(c, account.id)]
        given = [row.id for row in permissions.of_sme(c, account.id)]
        keys = [_passkey(each) for each in passkeys.kept_of_account(c, account.id)]
        meters = [_meter(each) for row in connected for each in collecting.meters(c, row)]
        permitted = held.permissions_part(c, [*connected, *given, *evidence.never_made(c, account.id)], at)
    about = facts(
        ("email", N_("E-mail address"), account.email),
        ("business", N_("Business"), account.business),
        ("opened", N_("Account opened"), Instant(account.created) if account.created else None),
    )
    return [
        HeldPart("account", N_("Your account"), [about]),
        HeldPart("passkeys", N_("Passkeys"), keys),
        permitted,
        HeldPart("meters", N_("Your meters"), meters),
    ]


def as_json(account: SmeAccount, at: int) -> Iterator[bytes]:
    """Return the same in pieces, with every month, its figures and its half-hours."""
    first = orjson.dumps(held.as_json(of_account(account, at)))[:-1] + b',"months":['
    with store.reading() as c:
        meters = [each for row in connections.of_account(c, account.id) for each in collecting.meters(c, row.id)]
    return chain([first], _months(meters), [b"]}"])


def _months(meters: Iterable[CollectedMeter]) -> Iterator[bytes]:
    comma = b""
    for each in meters:
        with store.reading() as c:
            months = collecting.months_of(c, each.connection, each.datasource)
        for month in months.values():
            yield comma + orjson.dumps(_month(month))
            comma = b","


def _passkey(each: Passkey) -> list[HeldFact]:
    return facts(
        ("name", N_("Name"), each.name),
        ("added", N_("Added"), Instant(each.added)),
        ("used", N_("Last used"), Instant(each.used) if each.used is not None else None),
        ("removed", N_("Removed"), Instant(each.removed) if each.removed is not None else None),
    )


def _meter(each: CollectedMeter) -> list[HeldFact]:
    return facts(
        ("connection", N_("Permission"), each.connection),
        ("meter", N_("Meter at the provider"), each.datasource),
        ("fuel", N_("Fuel"), each.fuel),
        ("outcode", N_("District"), each.outcode),
    )


def _month(month: MeterMonth) -> dict[str, object]:
    kept = ((), ()) if month.readings is None else month_readings.unpacked(month.start, month.readings)
    return {
        "connection": month.connection,
        "meter": month.datasource,
        "fuel": month.fuel,
        "start": instant.text(month.start),
        "amount": month.amount,
        "kilograms": month.kilograms,
        "complete": month.complete,
        "fetched": instant.text(month.fetched),
        "half_hours": [[instant.text(at), value] for at, value in zip(*kept, strict=True)],
    }
