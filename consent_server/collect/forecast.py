"""Fetch the grid's forecast for the next two days, for the regions in which SMEs have meters: pages only read what is kept."""

import logging
from typing import Final

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.outbound.errors import Unreachable
from consent_server.scheme.instant import DAY, HALF_HOUR, months_later
from consent_server.store import collecting

log = logging.getLogger("consent_server.collect")

AHEAD_S: Final = 2 * DAY
#: Regions of months that are older have no meter any more, or one whose collection fails.
_MONTHS: Final = 3


def first_half_hour() -> int:
    """Return the start of the half-hour that it is."""
    at = clock.now()
    return at - at % HALF_HOUR


def fetch_forecasts() -> int:
    """Fetch what is not there or an hour old; return for how many regions it failed."""
    start, failed = first_half_hour(), 0
    with store.reading() as c:
        wanted = collecting.regions_used(c, months_later(start, -_MONTHS))
    for region in wanted:
        try:
            current().intensity.fetch(region, start, start + AHEAD_S)
        except Unreachable as fault:
            log.warning("the forecast of region %s: %s", region, fault)
            failed += 1
    return failed
