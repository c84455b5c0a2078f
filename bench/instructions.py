"""How many instructions an act of the back channel takes, beside the figures that the repository keeps.

    python -m bench.instructions            counts, and prints the ratios to bench/instructions.json
    python -m bench.instructions --keep     counts, and keeps the figures there
    python -m bench.instructions --measured counts with metrics, and with metrics and traces as well, beside the same without

Instructions are the same on a busy machine; seconds are not. One process runs the application without a server, under valgrind,
and forks two for each act that differ by CALLS calls: what one takes more than the other is what those took. The database is
SQLite. A ratio above WORSE is marked and fails nothing: another processor, Python or library differs as well, and where those
change the figures are kept anew.
"""

import argparse
import base64
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlencode

from cryptography.hazmat.primitives.serialization import Encoding
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, run_wsgi_app

from bench.acts import ACTS, PORT, Act, Door
from consent_server import create_app, traces
from consent_server.pki.member_certificate import load_certificates
from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout
from consent_server.serving.traced import traced
from consent_server.serving.worker_counts import WorkerCounts
from consent_server.settings import TracesSettings, load
from consent_server.store.database import db
from consent_server.web.tally import tally_of

KEPT: Final = Path(__file__).with_suffix(".json")
CALLS: Final = 40
#: Calls before the first that is counted: what a process remembers is remembered by then.
WARM: Final = 5
WORSE: Final = 1.3
MEASURED: Final = ("metrics", "metrics and traces")


def counted(measured: str = "") -> dict[str, int]:
    """Return act -> instructions for one. `measured` is one of MEASURED: what a worker does besides."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layout = Layout(folder, PORT)
        parties.prepare(layout)
        door = Door(layout, f"sqlite:///{folder / 'store.db'}")
        door.fill(WARM + 3 * CALLS)
        settings = {**door.settings, "clients.arrival": "client-cert", "clients.proxies": ["127.0.0.1"]}
        calls = {act.name: act.forms(door, WARM + 3 * CALLS) for act in ACTS}
        job = {"toml": str(layout.settings("edp")), "settings": settings, "calls": calls, "measured": measured}
        job["headers"] = {act.name: _certificate(layout, act.client) for act in ACTS}
        job["collector"] = _collector() if measured == MEASURED[-1] else ""
        (folder / "job").write_text(json.dumps(job))
        valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        run = [sys.executable, "-m", "bench.instructions", "--run", str(folder / "job")]
        subprocess.run(
            [*valgrind, f"--log-file={folder}/%p.log", *run],
            # Spans are sent once, at the end, and not by the clock: under valgrind five seconds are few calls.
            env={**os.environ, "PYTHONHASHSEED": "0", "OTEL_BSP_SCHEDULE_DELAY": "3600000"},
            check=True,
        )
        found = {act: [_instructions(folder, process) for process in processes] for act, processes in _forked(folder)}
    return {act: (more - fewer) // CALLS for act, (fewer, more) in found.items()}


def _collector() -> str:
    """Start what takes spans; return its URL."""

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1/traces"


def _certificate(layout: Layout, client: str) -> dict[str, str]:
    """Return a client's certificate as a proxy hands it over (RFC 9440)."""
    certificates = load_certificates(layout.certificate(client, "chain").read_bytes())
    leaf, *chain = (f":{base64.b64encode(each.public_bytes(Encoding.DER)).decode()}:" for each in certificates)
    return {"Client-Cert": leaf, "Client-Cert-Chain": ", ".join(chain)}


def _forked(folder: Path) -> list[tuple[str, list[int]]]:
    return list(json.loads((folder / "forked").read_text()).items())


def _instructions(folder: Path, process: int) -> int:
    found = re.search(r"I\s+refs:\s+([\d,]+)", (folder / f"{process}.log").read_text())
    assert found is not None, "valgrind has written no count"
    return int(found[1].replace(",", ""))


def run(job: Path) -> None:
    """Run each act in two processes, and write which."""
    given: dict[str, Any] = json.loads(job.read_text())
    app: Any = create_app(load(Path(given["toml"]), given["settings"]), "mutual_tls")
    forked: dict[str, list[int]] = {}
    for act in ACTS:
        forms, headers = given["calls"][act.name], given["headers"][act.name]
        for form in forms[:WARM]:
            _call(app, act, form, headers)
        with app.app_context():
            db.engine.dispose()
        forked[act.name] = []
        for mine in (forms[WARM : WARM + CALLS], forms[WARM + CALLS :]):
            process = os.fork()
            if process == 0:
                gc.disable()  # one collection more or less would be a tenth of an act
                served, end = _measured(app, given["measured"], given["collector"], job.parent)
                for number, form in enumerate(mine):
                    # of the traces, which are told apart by their ids, a twentieth are made: as many in every run
                    trace = f"00-{'0' * 15}1{number % 20 * 0x0CCC:04x}{'0' * 12}-{'0' * 15}1-01"
                    _call(served, act, form, {**headers, "traceparent": trace})
                end()
                os._exit(0)
            _, status = os.waitpid(process, 0)
            assert status == 0, act.name
            forked[act.name].append(process)
    (job.parent / "forked").write_text(json.dumps(forked))


def _measured(app: Any, measured: str, collector: str, folder: Path) -> tuple[Any, Callable[[], object]]:
    """Return the application as a worker serves it, and what a worker does at its end."""
    if measured:
        counts = WorkerCounts("mutual_tls", ("127.0.0.1", 0), folder)
        counts.begin(SimpleNamespace(counts_number=0), app)
    if not collector:
        return app, tally_of(app).settle
    traces.start(TracesSettings(endpoint=collector), "mutual_tls")

    def end() -> None:
        tally_of(app).settle()
        made: Any = traces._OfProcess.tracing
        made._tracer.span_processor.force_flush()

    return traced(app, "mutual_tls"), end


def _call(app: Any, act: Act, form: dict[str, str], headers: dict[str, str]) -> None:
    builder = EnvironBuilder(
        act.path,
        method="POST",
        data=urlencode(form),
        content_type="application/x-www-form-urlencoded",
        headers=Headers(headers),
        environ_base={"REMOTE_ADDR": "127.0.0.1"},
    )
    body, status, _ = run_wsgi_app(app, builder.get_environ())
    text = b"".join(body)
    assert int(status[:3]) == act.status, text
    assert act.shows in text, text


def show(found: dict[str, int], kept: dict[str, int]) -> None:
    """Print one table in Markdown."""
    print("| instructions for one | kept | now | ratio |")
    print("|---|---:|---:|---:|")
    for act, now in found.items():
        before = kept.get(act, now)
        worse = f" (above {WORSE})" if now > WORSE * before else ""
        print(f"| {act} | {before:,} | {now:,} | {now / before:.2f}{worse} |")


def show_measured() -> None:
    """Print one table in Markdown: what an act takes without metrics and traces, and how much more with them."""
    plain = counted()
    more = {measured: counted(measured) for measured in MEASURED}
    print("| instructions for one | without | " + " | ".join(f"with {measured}" for measured in MEASURED) + " |")
    print("|---|---:|" + "---:|" * len(MEASURED))
    for act, count in plain.items():
        print(f"| {act} | {count:,} | " + " | ".join(f"+{more[each][act] / count - 1:.1%}" for each in MEASURED) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--measured", action="store_true")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    how = parser.parse_args()
    if how.run:
        run(how.run)
        return
    if shutil.which("valgrind") is None:
        print("NOT COUNTED: valgrind is missing; as root, run: apt-get install valgrind", file=sys.stderr)
        return
    if how.measured:
        show_measured()
        return
    found = counted()
    if how.keep:
        KEPT.write_text(json.dumps(found, indent=2) + "\n")
    show(found, json.loads(KEPT.read_text()))


if __name__ == "__main__":
    main()
