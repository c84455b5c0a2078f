"""How many instructions an act of the back channel takes at a door, beside the figures that the repository keeps.

    python -m bench.instructions            counts, and prints the ratios to bench/instructions.json
    python -m bench.instructions --keep     counts, and keeps the figures there
    python -m bench.instructions --measured counts a refresh with metrics, with metrics and traces, and with neither

Instructions are the same on a busy machine; seconds are not. A worker of the mutual-TLS door runs under valgrind, and forks two
processes for each act, whose clock stands still, which serve one connection each and differ by CALLS calls: what one takes more
than the other is what those took, with TLS and gunicorn and without the kernel. `nothing` is GET /health: what a request costs
at this door at least. The database is SQLite. A ratio above WORSE is marked and fails nothing: another processor, Python or
library differs as well, and where those change the figures are kept anew.
"""

import argparse
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPSConnection
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlencode

from bench import collector
from bench.acts import ACTS, PORT, ROOT, Act, Door
from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout

KEPT: Final = Path(__file__).with_suffix(".json")
CALLS: Final = 40
#: Calls before the first that is counted: what a process remembers is remembered by then.
WARM: Final = 5
WORSE: Final = 1.3
COUNTED: Final = (Act("nothing", "/health", "cap", 200, lambda _, count: [{}] * count, b'"ok"'), *ACTS)
#: How many calls each connection makes: one warms up, and two are counted.
CONNECTIONS: Final = (WARM, CALLS, 2 * CALLS)
MEASURED: Final = ("metrics", "metrics and traces")
#: Pairs of processes that count a refresh for each of them; the median is shown.
PAIRS: Final = 3


def counted(acts: Sequence[Act], measured: str = "") -> list[int]:
    """Return the instructions for one of each act. `measured` is one of MEASURED: what a worker does besides."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layout = Layout(folder, PORT)
        parties.prepare(layout)
        door = Door(layout, f"sqlite:///{folder / 'store.db'}", port=PORT + 40)
        settings = dict(door.settings)
        if measured:
            settings["metrics.bind"] = f"127.0.0.1:{PORT + 41}"
        if measured == MEASURED[-1]:
            settings["traces.endpoint"] = collector.start()
        door.fill(sum(CONNECTIONS))
        forms = [act.forms(door, sum(CONNECTIONS)) for act in acts]
        with _served(door, settings, folder, len(acts)):
            for act, own in zip(acts, forms, strict=True):
                for count in CONNECTIONS:
                    _call(door, act, [own.pop() for _ in range(count)])
        pairs = json.loads((folder / "forked").read_text())
        found = [[_instructions(folder, process) for process in pair] for pair in pairs]
    return [(more - fewer) // CALLS for fewer, more in found]


@contextmanager
def _served(door: Door, settings: dict[str, Any], folder: Path, acts: int) -> Iterator[None]:
    environment = {
        "CONSENT_CONFIG": str(door.layout.settings("edp")),
        "CONSENT_DOOR": "mutual_tls",
        "CONSENT_SET": json.dumps(settings),
        "PYTHONHASHSEED": "0",
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",  # spans are sent once, at the end: under valgrind five seconds are few calls
    }
    valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    valgrind.append(f"--log-file={folder}/%p.log")
    command = [*valgrind, sys.executable, "-m", "bench.instructions", "--serve", str(folder), str(acts)]
    with (folder / "lines").open("wb") as lines:
        how: dict[str, Any] = {"stdout": lines, "stderr": lines, "start_new_session": True}
        process = subprocess.Popen(command, env=os.environ | environment, **how)
    try:
        while not (folder / "listening").exists():
            assert process.poll() is None, (folder / "lines").read_text()
            time.sleep(0.1)
        yield
        assert process.wait(120) == 0, (folder / "lines").read_text()
    finally:
        with suppress(ProcessLookupError):  # with the processes that it forked
            os.killpg(process.pid, signal.SIGKILL)


def _call(door: Door, act: Act, forms: list[dict[str, str]]) -> None:
    connection = HTTPSConnection("localhost", door.port, context=door.context(act.client), timeout=120)
    for number, form in enumerate(forms):
        # of the traces, which are told apart by their ids, a fortieth are made: as many in every run
        headers = {"traceparent": f"00-{'0' * 15}1{number % 40 * 0x0666:04x}{'0' * 12}-{'0' * 15}1-01"}
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request("POST", act.path, urlencode(form).encode(), headers)
        else:
            connection.request("GET", act.path, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == act.status, text
        assert act.shows in text, text
    connection.close()


def _instructions(folder: Path, process: int) -> int:
    found = re.search(r"I\s+refs:\s+([\d,]+)", (folder / f"{process}.log").read_text())
    assert found is not None, "valgrind has written no count"
    return int(found[1].replace(",", ""))


def serve(folder: Path, acts: int) -> None:
    """Be a worker of gunicorn: serve one connection of each act, then one in each of two processes, and write which."""
    from gunicorn import sock
    from gunicorn.app.wsgiapp import WSGIApplication

    sys.argv = ["gunicorn", "--config", str(ROOT / "config/gunicorn.conf.py")]
    app = WSGIApplication()
    log = app.cfg.logger_class(app.cfg)
    worker = app.cfg.worker_class(0, os.getppid(), sock.create_sockets(app.cfg, log), app, 30, app.cfg, log)
    app.cfg.pre_fork(SimpleNamespace(WORKERS={}), worker)
    worker.patch()
    worker.load_wsgi()
    app.cfg.post_worker_init(worker)
    (folder / "listening").touch()
    (folder / "forked").write_text(json.dumps([_forked(worker) for _ in range(acts)]))


def _forked(worker: Any) -> list[int]:
    from consent_server.store.database import db

    _serve_one(worker)
    with worker.app.wsgi().app_context():
        db.engine.dispose()
    found = []
    for _ in CONNECTIONS[1:]:
        process = os.fork()
        if process == 0:
            gc.disable()  # one collection more or less would be a tenth of an act
            _hold_the_clock()
            _serve_one(worker)
            _settle(worker)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        assert status == 0
        found.append(process)
    return found


def _hold_the_clock() -> None:
    """Let no time pass for what is looked at again every few seconds: under valgrind that is after a few calls."""
    from consent_server import clock

    at, ticks = clock.now(), clock.ticks()
    clock.now, clock.ticks = (lambda: at), (lambda: ticks)


def _settle(worker: Any) -> None:
    """Do what a worker does once a second, or once in five, for all the requests meanwhile."""
    from consent_server import traces
    from consent_server.web.tally import tally_of

    tally_of(worker.app.wsgi()).settle()
    tracing: Any = traces._OfProcess.tracing
    if tracing is not None:
        tracing._tracer.span_processor.force_flush()


def _serve_one(worker: Any) -> None:
    (listener,) = worker.sockets
    client, address = listener.accept()
    context = worker.cfg.ssl_context(worker.cfg, None)
    worker.handle(listener, context.wrap_socket(client, server_side=True), address)


def show(found: dict[str, int], kept: dict[str, int]) -> None:
    """Print one table in Markdown."""
    print("| instructions for one | kept | now | ratio |")
    print("|---|---:|---:|---:|")
    for act, now in found.items():
        before = kept.get(act, now)
        worse = f" (above {WORSE})" if now > WORSE * before else ""
        print(f"| {act} | {before:,} | {now:,} | {now / before:.2f}{worse} |")


def show_measured() -> None:
    """Print one table in Markdown: what a refresh takes without metrics and traces, and how much more with them."""
    (refresh,) = (act for act in COUNTED if act.name == "refresh")
    found = {measured: counted([refresh] * PAIRS, measured) for measured in ("", *MEASURED)}
    plain = median(found[""])
    print(f"| instructions for a refresh, median of {PAIRS} | ratio | from | to |")
    print("|---|---:|---:|---:|")
    for measured, counts in found.items():
        now, ends = median(counts), (min(counts), max(counts))
        print(f"| {measured or 'neither'} | {now / plain:.3f} | {ends[0]:,} | {ends[1]:,} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--measured", action="store_true")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    how = parser.parse_args()
    if how.serve:
        serve(Path(how.serve[0]), int(how.serve[1]))
        return
    if shutil.which("valgrind") is None:
        print("NOT COUNTED: valgrind is missing; as root, run: apt-get install valgrind", file=sys.stderr)
        return
    if how.measured:
        show_measured()
        return
    found = dict(zip((act.name for act in COUNTED), counted(COUNTED), strict=True))
    if how.keep:
        KEPT.write_text(json.dumps(found, indent=2) + "\n")
    show(found, json.loads(KEPT.read_text()))


if __name__ == "__main__":
    main()
