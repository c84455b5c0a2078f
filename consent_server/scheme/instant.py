"""Instants: whole seconds since 1970-01-01T00:00:00Z, and the calendar arithmetic that the scheme needs, all in UTC.

Nothing here reads the clock. Every error is a ValueError.
"""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

HALF_HOUR = 1800
DAY = 86400

_UK = ZoneInfo("Europe/London")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)

# RFC 3339 §5.6 date-time. A space instead of "T" is left out: it is what a "+" becomes in a careless query string.
_DATE_TIME = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.\d{1,9})?(?:[Zz]|([+-])(\d{2}):(\d{2}))", re.ASCII
)


def text(instant: int) -> str:
    """Return the wire form, such as 2026-03-12T09:30:00Z."""
    day, second = divmod(instant, DAY)
    return f"{_date(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


def date(instant: int) -> str:
    """Return the day in UTC, such as 2026-03-12."""
    return _date(instant // DAY)


def month(instant: int) -> str:
    """Return the month in UTC, such as 2026-03."""
    return date(instant)[:7]


def interval(start: int, end: int) -> str:
    """Return two instants as an ISO 8601 interval."""
    return f"{text(start)}/{text(end)}"


def parse(value: object) -> int:
    """Read an RFC 3339 date-time with `Z` or a numeric offset; a fraction of a second is dropped.

    Raise ValueError for anything else: other types, dates alone, no zone, days that do not exist, and leap seconds,
    which whole seconds since 1970 cannot tell from the second after.
    """
    match = _DATE_TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not an RFC 3339 date-time with a zone, such as 2026-03-12T09:30:00Z")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    zone: timezone = UTC
    if match[7]:
        hours, minutes = int(match[8]), int(match[9])
        if hours > 23 or minutes > 59:
            raise ValueError("the offset from UTC is not hours and minutes")
        offset = timedelta(hours=hours, minutes=minutes)
        zone = timezone(-offset if match[7] == "-" else offset)
    instant = (datetime(year, month, day, hour, minute, second, tzinfo=zone) - _EPOCH) // _SECOND
    _calendar(instant)  # an offset may lead out of the years that there are
    return instant


def uk_offset(instant: int) -> int:
    """Return the seconds by which the clocks of the United Kingdom are ahead of UTC; 0 before 1970."""
    if instant < 0:  # others write instants too, and the local time of the year 1 is in no calendar
        return 0
    return (_calendar(instant).astimezone(_UK).utcoffset() or timedelta()) // _SECOND


def months_later(instant: int, count: int) -> int:
    """Return the same day and time `count` calendar months later, or the month's last day where it has no such day."""
    start = _calendar(instant)
    years, month = divmod(start.month - 1 + count, 12)
    year = start.year + years
    day = min(start.day, monthrange(year, month + 1)[1])
    return (start.replace(year=year, month=month + 1, day=day) - _EPOCH) // _SECOND


def day_start(instant: int) -> int:
    """Return the midnight at or before the instant."""
    return instant - instant % DAY


def month_start(instant: int) -> int:
    """Return the first instant of the month that holds the instant."""
    return day_start(instant) - (_calendar(instant).day - 1) * DAY


@lru_cache(maxsize=1024)  # a report asks it for every month of every meter
def next_month(instant: int) -> int:
    """Return the first instant of the month after the one that holds the instant."""
    return months_later(month_start(instant), 1)


def months(start: int, end: int) -> tuple[int, ...]:
    """Return the first instants of all months from `start`, which is one, to before `end`."""
    found = []
    while start < end:
        found.append(start)
        start = next_month(start)
    return tuple(found)


def year_start(year: int) -> int:
    """Return the first instant of a year."""
    return (datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // _SECOND


@lru_cache(maxsize=1024)
def _date(day: int) -> str:
    return _calendar(day * DAY).isoformat()[:10]


def _calendar(instant: int) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=instant)
    except OverflowError:
        raise ValueError("outside the years 1 to 9999") from None
