"""Work out electricity: months whose readings are there, by the grid's figures, which are another party's.

Nothing here asks an energy provider, and no collection waits for the grid. A figure that is late or unknown is asked for again
by itself, with the readings that are kept meanwhile.
"""

import logging
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Final

from consent_server import clock, store
from consent_server.collect import figures
from consent_server.collect.gather import is_closed
from consent_server.deployment import current
from consent_server.outbound.back_off import back_off
from consent_server.outbound.errors import Unreachable
from consent_server.scheme import regions
from consent_server.scheme.instant import next_month
from consent_server.scheme.month_readings import unpacked
from consent_server.scheme.regions import Region
from consent_server.store import collecting, connections
from consent_server.store.tables import MeterMonth

log = logging.getLogger("consent_server.collect")

LEASE_S: Final = 900
RUN_S: Final = 30
BATCH: Final = 240
WAIT_S: Final = 60
#: When a figure that the API lacks, and a region for a place that it does not know, are looked for again.
LACKING_S: Final = 6 * 3600
UNREACHABLE = "The grid's carbon intensity service could not be reached."
LACKING = "The grid's carbon intensity service has not published every figure yet."
NO_REGION = "The grid's carbon intensity service has no region for this meter, and its place does not say one."
ANOTHER_GRID = "The meter is not on Great Britain's grid, for which alone there are figures."


def weigh_due() -> int:
    """Work out months that wait for the grid's figures, for RUN_S seconds at most; return how many must wait on."""
    began, waiting = clock.now(), 0
    while 0 <= clock.now() - began < RUN_S:
        with store.writing() as c:
            months = collecting.lease_weighing(c, clock.now(), LEASE_S, BATCH)
        if not months:
            break
        waiting += _weigh(months)
    return waiting


def _weigh(months: Iterable[MeterMonth]) -> int:
    waiting = 0
    placed: list[MeterMonth] = []
    for (outcode, datasource), group in groupby(sorted(months, key=_place), key=_place):
        of_place = list(group)
        try:
            region = region_of(datasource, outcode)
        except Unreachable as fault:
            waiting += _wait(of_place, UNREACHABLE, _wait_s(fault), fault)
        else:
            if region is None:
                elsewhere = regions.is_elsewhere(outcode)
                waiting += _wait(of_place, ANOTHER_GRID if elsewhere else NO_REGION, LACKING_S, outcode or "no outcode")
            else:
                placed += [each._replace(region=region.number, region_by=region.by) for each in of_place]
    for (number, start), group in groupby(sorted(placed, key=_figures_key), key=_figures_key):
        of_region = list(group)
        try:
            current().intensity.fetch(number, start, next_month(start))
        except Unreachable as fault:
            waiting += _wait(of_region, UNREACHABLE, _wait_s(fault), fault)
        else:
            waiting += _keep(of_region, current().intensity.kept(number, start, next_month(start)))
    return waiting


def _place(month: MeterMonth) -> tuple[str, str]:
    return month.outcode, month.datasource


def _figures_key(month: MeterMonth) -> tuple[int, int]:
    assert month.region is not None
    return month.region, month.start


def region_of(datasource: str, outcode: str) -> Region | None:
    """Return the region of a meter, and how it was found; None where nothing says one. Raise Unreachable."""
    if regions.is_elsewhere(outcode):
        return None
    known = current().intensity.region_of(outcode)
    return regions.stand_in(datasource, outcode) if known is None else Region(known, "outcode")


def _wait_s(fault: Unreachable) -> int:
    # The client itself backs off: it names what is left of the time in which it makes no call.
    return max(fault.retry_after, back_off(0, WAIT_S, WAIT_S))


def _wait(months: list[MeterMonth], trouble: str, wait_s: int, detail: object) -> int:
    """Put months off, with the trouble that the SME reads. Return how many."""
    log.warning("%d months of electricity: %s (%s) We try again in %s s.", len(months), trouble, detail, wait_s)
    due = clock.now() + wait_s
    _put([month._replace(weigh_due=due, trouble=trouble) for month in months])
    return len(months)


def _keep(months: list[MeterMonth], intensity: Mapping[int, float]) -> int:
    """Work out months of one region and one calendar month. Return how many still lack a figure."""
    at, weighed, lacking = clock.now(), [], 0
    for month in months:
        assert month.readings is not None
        found = figures.electricity(month, unpacked(month.start, month.readings), intensity, at)
        closed = is_closed(found.start, found.first, found.complete, at)
        done = closed or not found.unknown
        lacking += not done
        weighed.append(
            found._replace(
                readings=None if closed else month.readings,
                weigh_due=None if done else at + LACKING_S,
                trouble=None if done else LACKING,
            )
        )
    if lacking:
        log.warning("%d months of electricity: %s", lacking, LACKING)
    _put(weighed)
    return lacking


def _connection(month: MeterMonth) -> str:
    return month.connection


def _put(months: list[MeterMonth]) -> None:
    """Keep months, connection by connection, unless the SME has withdrawn meanwhile."""
    for connection, group in groupby(sorted(months, key=_connection), key=_connection):
        with store.writing() as c:
            newest = connections.hold(c, connection)
            if newest is None or newest.ended is not None:
                continue
            for month in group:
                collecting.put_weighed(c, month)
