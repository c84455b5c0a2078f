"""`readings load`: files into our own tables, in pieces that each are kept whole or not at all.

The result depends only on the lines, and not on the order or number of loads: start an interrupted load again, and it ends in
the same readings.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from consent_server import store
from consent_server.metering.importing import files
from consent_server.metering.importing.keep import keep
from consent_server.metering.importing.layouts import LAYOUTS
from consent_server.metering.importing.report import FileFault, LoadReport
from consent_server.metering.importing.rows import KnownMeter, Rows, Stated
from consent_server.metering.importing.times import Times
from consent_server.scheme import plausible
from consent_server.store import meters

#: Half-hours that are gathered before they are kept: what one load holds in memory, about 80 MB.
_GATHERED: Final = 200_000
_MOST_METERS: Final = 100_000


@dataclass(frozen=True)
class How:
    """How files are read: the layout's name, the zone of times without one, and the values for rows that do not give them."""

    layout: str = "ours"
    zone: str = ""
    ends: bool = False
    stated: Stated = field(default_factory=Stated)
    dry_run: bool = False
    by_register: bool = True


class OwnMeters:
    """The facts of our own table of meters, read for many meters at once."""

    def __init__(self) -> None:
        self._known: dict[str, KnownMeter | None] = {}

    def __call__(self, meter: str) -> KnownMeter | None:
        return self._known.get(meter)

    def look_up(self, wanted: Iterable[str]) -> None:
        if len(self._known) > _MOST_METERS:
            self._known.clear()
        new = {meter for meter in wanted if meter not in self._known}
        if not new:
            return
        self._known |= dict.fromkeys(new)
        with store.reading() as c:
            rows = meters.described(c, new)
        for row in rows:  # the newest tenancy is the last
            most = plausible.most_in_half_an_hour(row.fuel, row.capacity)
            self._known[row.id] = KnownMeter(row.fuel, tuple(row.measures), most)


def load(path: Path, how: How, now: int, report: LoadReport, progress: Callable[[int], None]) -> None:
    """Load one file; what became of its lines goes into the report, and how many bytes have been read to `progress`.

    Raise FileFault and StoreUnavailable; what was kept before stays, and the file may be loaded again.
    """
    with _rarely_collected():
        _load(path, how, now, report, progress)


def _load(path: Path, how: How, now: int, report: LoadReport, progress: Callable[[int], None]) -> None:
    layout = LAYOUTS[how.layout]
    times = Times(how.zone or layout.zone, how.ends)
    own = OwnMeters()
    rows = Rows(layout, times, how.stated, now, report, own if how.by_register else None, path.name)
    read = 0
    try:
        for batch, position in files.rows(path, layout, bool(how.stated.meter), report):
            if how.by_register:
                own.look_up({row[1] or how.stated.meter for row in batch})
            rows.take_all(batch)
            if rows.count >= _GATHERED:
                _keep(rows, how, report)
            progress(position - read)
            read = position
    except FileFault:
        _keep(rows, how, report)  # what the report says was taken
        raise
    rows.end()
    _keep(rows, how, report)


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Look for unreachable cycles rarely: half-hours have none, and looking through them takes a fifth of the time."""
    usual = gc.get_threshold()
    gc.set_threshold(_GATHERED, 100, 100)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _keep(rows: Rows, how: How, report: LoadReport) -> None:
    pieces = rows.emptied()
    if not how.dry_run:
        report.disputed += keep(pieces)
