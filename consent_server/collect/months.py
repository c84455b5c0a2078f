"""The months of a meter as they are kept, made from its readings."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from consent_server import clock, store
from consent_server.collect import figures
from consent_server.collect.calls import NotUsable, ProviderCalls, hold
from consent_server.collect.period import is_closed
from consent_server.scheme.emissions import Amounts, EmissionsError
from consent_server.scheme.factors import FactorPeriod
from consent_server.scheme.instant import next_month
from consent_server.scheme.licenses import ELECTRICITY
from consent_server.scheme.month_readings import digest_of, packed, unpacked
from consent_server.store import collecting
from consent_server.store.tables.collecting import CollectedMeter, MeterMonth


def worked_out_again(
    calls: ProviderCalls, known: Mapping[int, MeterMonth], periods: Sequence[FactorPeriod], at: int
) -> dict[int, MeterMonth]:
    """Keep and return the months that rest on other factors than those in force, and whose readings are still there."""
    found = {}
    for month in known.values():
        if month.readings is not None and not figures.is_current(month.fuel, month.start, month.basis, periods):
            again = figures.gas(month, unpacked(month.start, month.readings), periods, at)
            found[month.start] = _without_readings_if_closed(again, at)
    if found:
        with store.writing() as c:
            hold(c, calls.row)
            collecting.put_months(c, list(found.values()))
    return found


def of_run(
    meter: CollectedMeter,
    run: Iterable[int],
    starts: Sequence[int],
    values: Sequence[float],
    periods: Sequence[FactorPeriod],
) -> Iterator[MeterMonth]:
    """Yield the months of a run, with the figures of gas. Raise NotUsable for readings of which there can be none."""
    at = clock.now()
    for start in run:
        of_month = slice(bisect_left(starts, start), bisect_left(starts, next_month(start)))
        yield _month(meter, start, Amounts(starts[of_month], values[of_month]), periods, at)


def _month(meter: CollectedMeter, start: int, amounts: Amounts, periods: Sequence[FactorPeriod], at: int) -> MeterMonth:
    body = packed(start, next_month(start), amounts)
    month = MeterMonth(
        connection=meter.connection,
        datasource=meter.datasource,
        start=start,
        fuel=meter.fuel,
        outcode=meter.outcode,
        readings=body,
        digest=digest_of(body),
        half_hours=len(amounts.start),
        amount=0.0,
        kilograms=0.0,
        complete=False,
        first=at,
        fetched=at,
        at=at,
        weigh_due=at if meter.fuel == ELECTRICITY and amounts.start else None,
        unknown=len(amounts.start),
    )
    if meter.fuel == ELECTRICITY:
        return month
    try:
        return _without_readings_if_closed(figures.gas(month, amounts, periods, at), at)
    except EmissionsError as error:
        raise NotUsable(f"readings: {error}") from None


def _without_readings_if_closed(month: MeterMonth, at: int) -> MeterMonth:
    closed = month.complete and is_closed(month, at)
    return month._replace(readings=None) if closed else month


def revised(before: MeterMonth | None, month: MeterMonth) -> MeterMonth:
    """Return what a month that was collected before becomes: what it was, when its readings and factors are the same."""
    if before is None:
        return month
    if month.digest == before.digest:
        again = before if month.basis == before.basis else month
        return again._replace(first=before.first, revised=before.revised, fetched=month.fetched)
    return month._replace(first=before.first, revised=month.at if before.complete else before.revised)
