"""Calculate the emissions of electricity from the grid's figures, for months whose readings are there.

Nothing here calls an energy provider, and no collection waits for the grid. A figure that is late or unknown is asked for again
later; the readings are kept meanwhile. The grid takes one call at a time, so issuers have their turns at it one
after the other, and the outcodes of one that the grid does not know are asked for up to a number a day.
"""

import hashlib
import logging
from array import array
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Final

from consent_server import clock, store
from consent_server.collect import figures
from consent_server.collect.period import is_closed
from consent_server.deployment import current
from consent_server.outbound.back_off import back_off
from consent_server.outbound.errors import Unreachable
from consent_server.scheme import regions
from consent_server.scheme.instant import day_start, next_month
from consent_server.scheme.month_readings import unpacked
from consent_server.scheme.regions import Region
from consent_server.store import collecting, connections, limits
from consent_server.store.tables.collecting import MeterMonth
from consent_server.web.language import N_

log = logging.getLogger("consent_server.collect")

LEASE_S: Final = 900
RUN_S: Final = 30
#: Months of a turn, and so the most outcodes that it can look up.
BATCH: Final = 48
#: Outcodes without a region that are asked for on behalf of one issuer in a day (UTC).
MOST_UNKNOWN: Final = 100
WAIT_S: Final = 60
#: When a figure that the API lacks, and a region for a place that it does not know, are looked for again.
LACKING_S: Final = 6 * 3600
UNREACHABLE = N_("The grid's carbon intensity service could not be reached.")
LACKING = N_("The grid's carbon intensity service has not published every figure yet.")
NO_REGION = N_("The grid's carbon intensity service has no region for this meter, and its place does not say one.")
FAULT = N_("We could not work this out, and it is our fault. We will try again.")
ANOTHER_GRID = N_("The meter is not on Great Britain's grid, for which alone there are figures.")


def weigh_due() -> int:
    """Work out months that wait for the grid's figures, issuer by issuer in turn; return how many must wait on.

    A round in which each issuer has one turn is never broken off; none is begun after RUN_S seconds.
    """
    began, waiting, grid = clock.now(), 0, _Grid()
    with store.reading() as c:
        issuers = collecting.issuers_weighing(c, began)
    while issuers and 0 <= clock.now() - began < RUN_S:
        for issuer in list(issuers):
            with store.writing() as c:
                months = collecting.lease_weighing(c, issuer, clock.now(), LEASE_S, BATCH)
            waiting += _weigh(issuer, months, grid)
            if len(months) < BATCH:
                issuers.remove(issuer)
    return waiting


class _Grid:
    """The grid's figures for one run, each month of a region read once: thirteen months of all regions are 5 MB."""

    def __init__(self) -> None:
        self._months: dict[tuple[int, int], tuple[array[int], array[float]]] = {}

    def month(self, region: int, start: int) -> dict[int, float]:
        """Return {start of half hour: gCO2/kWh} of what there is now. Raise Unreachable."""
        if (region, start) not in self._months:
            end = next_month(start)
            current().intensity.fetch(region, start, end)
            kept = current().intensity.kept(region, start, end)
            self._months[region, start] = array("q", kept.keys()), array("d", kept.values())
        starts, values = self._months[region, start]
        return dict(zip(starts, values, strict=True))


def _weigh(issuer: str, months: Iterable[MeterMonth], grid: _Grid) -> int:
    placed, waiting = _placed(issuer, months)
    for _, of_region in groupby(sorted(placed, key=_figures_key), key=_region):
        weighed: list[MeterMonth] = []
        for (region, start), group in groupby(of_region, key=_figures_key):
            of_month = list(group)
            try:
                intensity = grid.month(region, start)
            except Unreachable as fault:
                waiting += _wait(of_month, UNREACHABLE, _wait_s(fault), fault)
            except Exception as fault:
                waiting += _fault(of_month, fault)
            else:
                weighed += _weighed(of_month, intensity)
        _put(weighed)
        waiting += sum(each.weigh_due is not None for each in weighed)
    return waiting


def _placed(issuer: str, months: Iterable[MeterMonth]) -> tuple[list[MeterMonth], int]:
    """Return the months whose region is known, with it, and how many others must wait."""
    waiting = 0
    placed: list[MeterMonth] = []
    for (outcode, datasource), group in groupby(sorted(months, key=_place), key=_place):
        of_place = list(group)
        try:
            region = region_of(datasource, outcode, issuer)
        except Unreachable as fault:
            waiting += _wait(of_place, UNREACHABLE, _wait_s(fault), fault)
        except Exception as fault:  # of one place, which is no reason to leave the others
            waiting += _fault(of_place, fault)
        else:
            if region is None:
                elsewhere = regions.is_elsewhere(outcode)
                waiting += _wait(of_place, ANOTHER_GRID if elsewhere else NO_REGION, LACKING_S, outcode or "no outcode")
            else:
                placed += [each._replace(region=region.number, region_by=region.by) for each in of_place]
    return placed, waiting


def _place(month: MeterMonth) -> tuple[str, str]:
    return month.outcode, month.datasource


def _region(month: MeterMonth) -> int | None:
    return month.region


def _figures_key(month: MeterMonth) -> tuple[int, int]:
    assert month.region is not None
    return month.region, month.start


def region_of(datasource: str, outcode: str, issuer: str) -> Region | None:
    """Return the region of an issuer's meter, and how it was found; None where nothing says one. Raise Unreachable."""
    if regions.is_elsewhere(outcode):
        return None
    known = _looked_up(outcode, issuer) if regions.is_of_the_grid(outcode) else None
    return regions.stand_in(datasource, outcode) if known is None else Region(known, "outcode")


def _looked_up(outcode: str, issuer: str) -> int | None:
    """Return the region that the grid has for an outcode; None too where too many of the issuer's had none today."""
    grid = current().intensity
    if grid.has_looked_up(outcode):
        return grid.region_of(outcode)
    unknown, day = f"no region {hashlib.sha256(issuer.encode()).hexdigest()}", day_start(clock.now())
    with store.reading() as c:
        if limits.count(c, unknown, day) >= MOST_UNKNOWN:
            return None
    region = grid.region_of(outcode)
    if region is None:
        with store.writing() as c:
            limits.add(c, unknown, day)
    return region


def _wait_s(fault: Unreachable) -> int:
    # The client itself backs off: it names what is left of the time in which it makes no call.
    return max(fault.retry_after, back_off(0, WAIT_S, WAIT_S))


def _wait(months: list[MeterMonth], trouble: str, wait_s: int, detail: object) -> int:
    """Put months off, with the trouble that the SME reads. Return how many."""
    _put(_later(months, trouble, wait_s, detail))
    return len(months)


def _fault(months: list[MeterMonth], fault: Exception) -> int:
    return _wait(months, FAULT, LACKING_S, type(fault).__name__)


def _later(months: list[MeterMonth], trouble: str, wait_s: int, detail: object) -> list[MeterMonth]:
    log.warning("%d months of electricity: %s (%s) We try again in %s s.", len(months), trouble, detail, wait_s)
    due = clock.now() + wait_s
    return [month._replace(weigh_due=due, trouble=trouble) for month in months]


def _weighed(months: list[MeterMonth], intensity: Mapping[int, float]) -> list[MeterMonth]:
    """Work out months of one region and one calendar month. One that still lacks a figure is due again."""
    at, weighed, lacking = clock.now(), [], 0
    for month in months:
        assert month.readings is not None
        try:
            found = figures.electricity(month, unpacked(month.start, month.readings), intensity, at)
        except Exception as fault:
            weighed += _later([month], FAULT, LACKING_S, type(fault).__name__)
            continue
        closed = is_closed(found, at)
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
    return weighed


def _connection(month: MeterMonth) -> str:
    return month.connection


def _put(months: list[MeterMonth]) -> None:
    """Keep months, connection by connection, unless the SME has withdrawn meanwhile."""
    for connection, group in groupby(sorted(months, key=_connection), key=_connection):
        with store.writing() as c:
            newest = connections.hold(c, connection)
            if newest is None or newest.ended is not None:
                continue
            collecting.put_weighed(c, list(group))
