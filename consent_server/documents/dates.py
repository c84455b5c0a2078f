"""Dates and times as a document prints them, in UTC, from instants."""

from datetime import UTC, datetime


def day(instant: int) -> str:
    """Return a date such as 1 March 2026."""
    at = datetime.fromtimestamp(instant, UTC)
    return f"{at.day} {at:%B %Y}"


def moment(instant: int) -> str:
    """Return a time such as 1 March 2026, 09:30 UTC."""
    return f"{day(instant)}, {datetime.fromtimestamp(instant, UTC):%H:%M} UTC"


def month(instant: int) -> str:
    """Return a month such as March 2026."""
    return f"{datetime.fromtimestamp(instant, UTC):%B %Y}"


def month_in_short(instant: int) -> str:
    """Return a month such as Mar 26."""
    return f"{datetime.fromtimestamp(instant, UTC):%b %y}"
