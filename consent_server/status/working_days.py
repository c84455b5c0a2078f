"""Working days of England and Wales: Monday to Friday, without bank holidays."""

from datetime import date, timedelta
from functools import lru_cache
from typing import Final

_MONDAY: Final = 0
_DAY: Final = timedelta(days=1)


def is_working_day(day: date) -> bool:
    """Return whether it is one. A bank holiday that was proclaimed for one year is not known here."""
    return day.weekday() < 5 and day not in bank_holidays(day.year)


def between(first: date, last: date) -> int:
    """Return how many whole working days lie between two days."""
    days = (last - first).days
    return sum(is_working_day(first + each * _DAY) for each in range(1, days))


def after(first: date, count: int) -> date:
    """Return the first day that has `count` whole working days between it and `first`."""
    day = first + _DAY
    while count:
        count -= is_working_day(day)
        day += _DAY
    return day


@lru_cache(maxsize=16)
def bank_holidays(year: int) -> frozenset[date]:
    """Return the bank holidays of a year (Banking and Financial Dealings Act 1971, and what is proclaimed each year).

    One that falls on a weekend is kept on the next day that is free.
    """
    easter = _easter(year)
    found = {
        easter - 2 * _DAY,
        easter + _DAY,
        _monday_from(date(year, 5, 1)),
        _monday_from(date(year, 5, 25)),
        _monday_from(date(year, 8, 25)),
    }
    for fixed in (date(year, 1, 1), date(year, 12, 25), date(year, 12, 26)):
        kept = fixed
        while kept.weekday() >= 5 or kept in found:
            kept += _DAY
        found.add(kept)
    return frozenset(found)


def _monday_from(day: date) -> date:
    return day + (_MONDAY - day.weekday()) % 7 * _DAY


def _easter(year: int) -> date:
    """Return Easter Sunday of the Gregorian calendar, by its moons (Calendar (New Style) Act 1750, tables)."""
    century = year // 100
    golden = year % 19
    epact = (19 * golden + century - century // 4 - (8 * century + 13) // 25 + 15) % 30
    epact -= (epact + golden // 11) // 29  # the two moons that the tables put a day earlier
    sunday = (year + year // 4 + epact + 2 - century + century // 4) % 7
    return date(year, 3, 28) + (epact - sunday) * _DAY
