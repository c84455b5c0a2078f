"""Which months a CAP collects from a provider."""

from consent_server.deployment import current
from consent_server.scheme.instant import month_start, months_later


def first_month(at: int) -> int:
    """Return the first instant of the earliest month of a collection that begins at `at`."""
    return months_later(month_start(at), -current().settings.collection.months)
