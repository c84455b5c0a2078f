"""How many instructions an act of the back channel takes, beside the figures that the repository keeps.

    python -m bench.instructions            counts, and prints the ratios to bench/instructions.json
    python -m bench.instructions --keep     counts, and keeps the figures there

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
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from cryptography.hazmat.primitives.serialization import Encoding
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, run_wsgi_app

from bench.acts import ACTS, PORT, Act, Door
from consent_server import create_app
from consent_server.pki.member_certificate import load_certificates
from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout
from consent_server.settings import load
from consent_server.store.database import db

KEPT: Final = Path(__file__).with_suffix(".json")
CALLS: Final = 40
#: Calls before the first that is counted: what a process remembers is remembered by then.
WARM: Final = 5
WORSE: Final = 1.3


def counted() -> dict[str, int]:
    """Return act -> instructions for one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layout = Layout(folder, PORT)
        parties.prepare(layout)
        door = Door(layout, f"sqlite:///{folder / 'store.db'}")
        door.fill(WARM + 3 * CALLS)
        settings = {**door.settings, "clients.arrival": "client-cert", "clients.proxies": ["127.0.0.1"]}
        calls = {act.name: act.forms(door, WARM + 3 * CALLS) for act in ACTS}
        job = {"toml": str(layout.settings("edp")), "settings": settings, "calls": calls}
        job["headers"] = {act.name: _certificate(layout, act.client) for act in ACTS}
        (folder / "job").write_text(json.dumps(job))
        valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        run = [sys.executable, "-m", "bench.instructions", "--run", str(folder / "job")]
        subprocess.run(
            [*valgrind, f"--log-file={folder}/%p.log", *run],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            check=True,
        )
        found = {act: [_instructions(folder, process) for process in processes] for act, processes in _forked(folder)}
    return {act: (more - fewer) // CALLS for act, (fewer, more) in found.items()}


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
    app = create_app(load(Path(given["toml"]), given["settings"]), "mutual_tls")
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
                for form in mine:
                    _call(app, act, form, headers)
                os._exit(0)
            _, status = os.waitpid(process, 0)
            assert status == 0, act.name
            forked[act.name].append(process)
    (job.parent / "forked").write_text(json.dumps(forked))


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    how = parser.parse_args()
    if how.run:
        run(how.run)
        return
    if shutil.which("valgrind") is None:
        print("NOT COUNTED: valgrind is missing; as root, run: apt-get install valgrind", file=sys.stderr)
        return
    found = counted()
    if how.keep:
        KEPT.write_text(json.dumps(found, indent=2) + "\n")
    show(found, json.loads(KEPT.read_text()))


if __name__ == "__main__":
    main()
