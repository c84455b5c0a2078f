"""What the workers of one door count together, in files of a folder that the door's exporter reads.

A worker writes into the files of its number, and the worker that takes its place gets the same number and counts on: there are
never more files than workers that ran at once, and no count goes back when a worker ends.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from prometheus_client import values

from consent_server import audit
from consent_server.caller.identify import identified
from consent_server.metrics.counts import NOBODY, Counts
from consent_server.serving import configuration

IN_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - names are made by mkdtemp
_PREFIX: Final = "consent-server-metrics-"
_LOCK: Final = "lock"
Application = Callable[..., Any]


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

    def begin(self, worker: Any, application: Application) -> Application:
        """Count in this worker from now on, and return `application` with its requests counted."""
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)
        values.ValueClass = values.MultiProcessValue(lambda: worker.counts_number)  # type: ignore[no-untyped-call]
        counts = Counts(registry=None)
        audit.listeners.append(counts.event)
        return counted(application, counts, self._door)


@cache
def of_door() -> WorkerCounts | None:
    """Return what the door of this process counts into, None where nothing is measured. A SIGHUP changes neither."""
    serving = configuration.held()
    address = serving.settings.metrics.address(serving.door)
    return None if address is None else WorkerCounts(serving.door, address, Path(IN_MEMORY or tempfile.gettempdir()))


def counted(application: Application, counts: Counts, door: str) -> Application:
    """Return a WSGI application that counts the requests of another."""

    def counting(environ: dict[str, Any], start_response: Any) -> Any:
        started = perf_counter()
        # A connection's requests are of one greenlet, which remembers what the one before has set.
        identified.set(NOBODY)
        answered, rule = 500, None

        def noting(status: str, *more: Any) -> Any:
            nonlocal answered, rule
            answered = int(status[:3])
            # Flask takes its request out of the environment before it returns.
            rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
            return start_response(status, *more)

        try:
            return application(environ, noting)
        finally:
            counts.request(door, rule and rule.rule, identified.get(), answered, perf_counter() - started)

    return counting


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
