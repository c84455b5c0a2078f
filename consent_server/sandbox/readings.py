"""Readings with faults on purpose: a source as an EDP's own would be, for `metering.readings_source`.

`not_ready`: the first two calls of a grant are refused for 5 seconds. `gaps`: half-hours are missing, for a business or for
whatever a client asks for; `no_readings`: all of them. Everything else comes from our own table, and so do the readings of
meters that are not the sandbox's.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from consent_server import store
from consent_server.metering.own import OwnReadings
from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.sandbox import scenarios, synthetic
from consent_server.sandbox.client_scenarios.door import met_now
from consent_server.sandbox.layout import scenarios_in
from consent_server.scheme.instant import DAY
from consent_server.scheme.packed import unpack
from consent_server.scheme.readings import slice_block
from consent_server.store import limits

NOT_READY_CALLS: Final = 2
RETRY_AFTER_S: Final = 5


class Troubled:
    """Our own readings, as the scenario of the meter's business leaves them."""

    def __init__(self) -> None:
        self.own = OwnReadings()

    def half_hours(self, request: ReadingsRequest) -> Held:
        """Raise StoreUnavailable."""
        scenario = scenarios.of_meter(scenarios_in(Path(os.environ.get("SANDBOX_DIRECTORY", ""))), request.meter)
        if scenario == "not_ready" and _still_collecting(request):
            return Held(retry_after=RETRY_AFTER_S)
        if met_now() == "no_readings":
            return Held()
        held = self.own.half_hours(request)
        return _with_gaps(request.meter, held) if "gaps" in (scenario, met_now()) else held

    def begin(self, meters: Collection[str]) -> Mapping[str, int]:
        """Raise StoreUnavailable."""
        return self.own.begin(meters)


troubled: Final = Troubled()


def _still_collecting(request: ReadingsRequest) -> bool:
    # Counted with the failures of the party, which every process shares. The window is the grant's own end, so that the
    # clean-up of old windows leaves the count alone for as long as the grant is live.
    key = f"not_ready:{request.account}"
    with store.reading() as c:
        if limits.count(c, key, request.expires) >= NOT_READY_CALLS:
            return False
    with store.writing() as c:
        return limits.add(c, key, request.expires) <= NOT_READY_CALLS


def _with_gaps(meter: str, held: Held) -> Held:
    if held.metered is None:
        return held
    days = {day: unpack(block, day) for day, block in held.days.items()}
    for day, block in tuple(days.items()):
        if stretch := synthetic.lost(meter, day):
            kept = (slice_block(block, day, stretch[0]), slice_block(block, stretch[1], day + DAY))
            days[day] = b",".join(filter(None, kept))
    return Held.of_days(days, held.metered)
