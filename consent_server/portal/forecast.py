"""When an SME's power is cleanest: the grid's forecast for the next 48 hours in the regions of its meters, as it is kept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from consent_server import clock, store
from consent_server.collect import forecast as ahead
from consent_server.deployment import current
from consent_server.scheme import regions
from consent_server.scheme.instant import HALF_HOUR, months_later
from consent_server.store import collecting, connections

#: The stretch that is named as the cleanest: long enough to run or charge something.
STRETCH = 6
HOUR = 2 * HALF_HOUR


@dataclass(frozen=True)
class GridStretch:
    """From `start` to before `end`, with the mean of its half-hours in gCO2/kWh."""

    start: int
    end: int
    mean: float


@dataclass(frozen=True)
class RegionForecast:
    """The next 48 hours of one region; `hours` are whole hours, and `half_hours` what a chart has: (start, gCO2/kWh)."""

    region: str
    cleanest: GridStretch
    dirtiest: GridStretch
    hours: Sequence[GridStretch]
    half_hours: Sequence[tuple[int, float]]

    @property
    def most(self) -> float:
        """Return the highest value: the height of the chart."""
        return max(value for _, value in self.half_hours)


def forecasts(account: str) -> list[RegionForecast]:
    """Return the forecast of each region in which the account has electricity meters, of those that have been fetched."""
    at = clock.now()
    start = ahead.first_half_hour()
    with store.reading() as c:
        found = {
            region
            for row in connections.live(c, account, at)
            for region in collecting.grid_regions(c, row.id, months_later(at, -3))
        }
    kept = ((region, current().intensity.kept(region, start, start + ahead.AHEAD_S)) for region in sorted(found))
    return [made for region, values in kept if (made := forecast(region, values)) is not None]


def forecast(region: int, values: Mapping[int, float]) -> RegionForecast | None:
    """Return the forecast that half-hours make, {start: gCO2/kWh}; None where no stretch of them is whole."""
    ordered = sorted(values.items())
    stretches = _stretches(ordered, STRETCH, HALF_HOUR)
    if not stretches:
        return None
    return RegionForecast(
        region=regions.name_of(region),
        cleanest=min(stretches, key=lambda each: each.mean),
        dirtiest=max(stretches, key=lambda each: each.mean),
        hours=_stretches(ordered, HOUR // HALF_HOUR, HOUR),
        half_hours=ordered,
    )


def _stretches(ordered: Sequence[tuple[int, float]], count: int, step: int) -> list[GridStretch]:
    """Return every stretch of `count` half-hours in a row that begins at a multiple of `step`."""
    found = []
    for first in range(len(ordered) - count + 1):
        part = ordered[first : first + count]
        if part[0][0] % step == 0 and all(later - at == HALF_HOUR for (at, _), (later, _) in pairwise(part)):
            mean = math.fsum(value for _, value in part) / count
            found.append(GridStretch(part[0][0], part[-1][0] + HALF_HOUR, mean))
    return found
