"""What the workers of one door count together, in files of a folder that the door's exporter reads.

A worker writes into the files of its number, and the worker that takes its place gets the same number and counts on: there are
never more files than workers that ran at once, and no count goes back when a worker ends.
"""

import atexit
import fcntl
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, Final

from prometheus_client import values

from consent_server import audit
from consent_server.metrics.counts import Counts
from consent_server.serving import configuration
from consent_server.web.tally import tally_of

log = logging.getLogger("consent_server.metrics")

IN_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - names are made by mkdtemp
_PREFIX: Final = "consent-server-metrics-"
_LOCK: Final = "lock"
#: Seconds between two times at which a worker's counts are written: a killed worker loses those of the last.
SETTLE_S: Final = 1


class WorkerCounts:
    """The folder, made in gunicorn's master, and the numbers of its workers."""

    def __init__(self, door: str, address: tuple[str, int], base: Path) -> None:
        self._door = door
        self._address = address
        _remove_abandoned(base)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        # Held by the master and by each worker that it forks, for as long as one of them runs.
        self._lock = (self.folder / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._exporter: subprocess.Popen[bytes] | None = None

    def export(self) -> None:
        """Start the exporter. It ends by itself after the last process that holds its standard input."""
        host, port = self._address
        command = [sys.executable, "-m", "consent_server.serving.exporter", host, str(port), str(self.folder)]
        self._exporter = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own interpreter, no shell

    def number(self, worker: Any, others: Iterable[Any]) -> None:
        """Give a worker, before it is forked, the first number that none of the `others` has."""
        taken = {other.counts_number for other in others}
        worker.counts_number = next(number for number in count() if number not in taken)

    def begin(self, worker: Any, application: Any) -> None:
        """Export, from now on, what `application` counts in this worker, and its audit events."""
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)
        values.ValueClass = values.MultiProcessValue(lambda: worker.counts_number)  # type: ignore[no-untyped-call]
        counts, counted = Counts(registry=None), tally_of(application)
        counted.takers.append(partial(counts.requests, self._door))
        events: deque[Mapping[str, Any]] = deque()
        audit.listeners.append(events.append)

        def settle() -> None:
            counted.settle()
            # Together, since writing a count takes some 3 µs.
            counts.events([events.popleft() for _ in range(len(events))])

        atexit.register(settle)
        threading.Thread(target=_settle_each_second, args=(settle,), name="metrics", daemon=True).start()


@cache
def of_door() -> WorkerCounts | None:
    """Return what the door of this process counts into, None where nothing is measured. A SIGHUP changes neither."""
    serving = configuration.held()
    address = serving.settings.metrics.address(serving.door)
    return None if address is None else WorkerCounts(serving.door, address, Path(IN_MEMORY or tempfile.gettempdir()))


def _settle_each_second(settle: Callable[[], None]) -> None:
    never = threading.Event()
    while not never.wait(SETTLE_S):
        try:
            settle()
        except Exception:  # a fault in one must not end those after it
            log.exception("metrics")


def _remove_abandoned(base: Path) -> None:
    """Remove what doors have left that were killed with all of their processes."""
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            with (folder / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # in use, or another's
