"""Between what is kept of a meter's month and its figures: readings become figures here, and kept ones a report's value."""

from collections.abc import Mapping, Sequence

from consent_server.deployment import current
from consent_server.scheme import emissions, factors
from consent_server.scheme.emissions import Amounts, MonthEmissions
from consent_server.scheme.factors import FactorPeriod
from consent_server.scheme.instant import HALF_HOUR, next_month
from consent_server.scheme.licenses import GAS
from consent_server.store.tables.collecting import MeterMonth


def electricity(month: MeterMonth, amounts: Amounts, intensity: Mapping[int, float], at: int) -> MeterMonth:
    """Return a month with the figures that its readings make with the grid's, {start: gCO2/kWh}. Raise EmissionsError."""
    readings, filled = _filled(amounts)
    return _worked_out(month, emissions.electricity(readings, intensity, filled).get(month.start), "", at)


def gas(month: MeterMonth, amounts: Amounts, periods: Sequence[FactorPeriod], at: int) -> MeterMonth:
    """Return a month with the figures that its readings make with the factors in force. Raise EmissionsError."""
    readings, filled = _filled(amounts)
    basis = factors.basis(periods, month.start, next_month(month.start))
    return _worked_out(month, emissions.gas(readings, periods, filled).get(month.start), basis, at)


def is_current(fuel: str, start: int, basis: str, periods: Sequence[FactorPeriod]) -> bool:
    """Return whether a month that was worked out from the factors in `basis` rests on those that are in force."""
    return fuel != GAS or basis == factors.basis(periods, start, next_month(start))


def kept(month: MeterMonth) -> MonthEmissions:
    """Return the figures of a month. Of readings that were not worked out yet, none is in them: each is `unknown`."""
    end = next_month(month.start)
    return MonthEmissions(
        month.fuel,
        month.start,
        end,
        month.amount,
        month.kilograms,
        missing=(end - month.start) // HALF_HOUR - month.half_hours - month.filled,
        unknown=month.unknown,
        filled=month.filled,
        by_set={int(year): m3 for year, m3 in (month.by_set or {}).items()},
        basis=month.basis,
    )


def _filled(amounts: Amounts) -> tuple[Amounts, frozenset[int]]:
    return emissions.filled(amounts) if current().settings.collection.fill_gaps else (amounts, frozenset())


def _worked_out(month: MeterMonth, found: MonthEmissions | None, basis: str, at: int) -> MeterMonth:
    if found is None:
        return month._replace(basis=basis, at=at)
    return month._replace(
        amount=found.amount,
        kilograms=found.kilograms,
        complete=found.complete,
        unknown=found.unknown,
        filled=found.filled,
        by_set={str(year): m3 for year, m3 in found.by_set.items()} or None,
        basis=basis,
        at=at,
    )
