"""Measure what a CAP does for many SMEs: python -m bench.collection --smes 1000

Each SME has two fuels and two meters of each, in all regions of the grid. The provider and the grid's API are one process
beside it, over plain HTTP on loopback: what TLS costs is not in the figures, and everything else that a collection does is
(records verified and receipted, readings parsed, months worked out, SQLite written). Seconds of the CAP's own processor time
are what one core needs; elapsed time depends on what else the machine does. Memory is the highest that the CAP's process had,
the interpreter and its libraries included. Nothing is asserted.
"""

import argparse
import http.client
import os
import resource
import signal
import socket
import tempfile
import threading
import time
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import flask
import orjson
import pytest
import sqlalchemy as sa

from consent_server import clock, store
from consent_server.collect import gather, provider, weigh
from consent_server.collect.period import first_month
from consent_server.deployment import current
from consent_server.jobs import retention
from consent_server.jobs.work import spare_garbage_collector
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.data import ConsumptionData
from consent_server.outbound.intensity import Intensity
from consent_server.outbound.session import Response
from consent_server.sandbox import intensity as sandbox_grid
from consent_server.sandbox.synthetic import Supply, day_blocks
from consent_server.scheme import instant
from consent_server.scheme.provenance.steps import COMPLETE, GrantedPermission, MeterRelease, edp_record
from consent_server.scheme.readings import join
from consent_server.store import accounts
from consent_server.store.database import db
from consent_server.store.intensity import StoredGridDays
from consent_server.store.tables.accounts import SmeAccount
from tests.collect.conftest import LICENSE, SETTINGS, Cap
from tests.collect.conftest import Provider as PlayedProvider
from tests.conftest import HeldClock
from tests.deployments import deploy, in_new_database, opened, settings_of
from tests.scheme.signing import DIRECTORY, EDP_ROLE, NOW, REGISTRY, SMART_METERS, member_signer, signing_authority

OUTCODES: Final = ("AB1", "EH1", "M1", "NE1", "LS1", "L1", "CF1", "B1", "LE1", "CB1", "BS1", "RG1", "SE1", "BN1")
METERS: Final = tuple((f"{fuel}-{number}", fuel) for fuel in ("electricity", "gas") for number in (1, 2))
NEXT_MONTH: Final = instant.parse("2026-04-02T09:30:00Z")


class Elsewhere(BaseHTTPRequestHandler):
    """The provider and the grid. A token is the SME's outcode and the time that it is."""

    protocol_version = "HTTP/1.1"
    grid: Any

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path.startswith("/intensity/"):
            body = self.grid.get(self.path).data
        else:
            outcode, now = self.headers["Authorization"].split()[1].split("-")
            body = (
                orjson.dumps(_sources(outcode)) if asked.path == "/datasources" else _window(asked, outcode, int(now))
            )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _sources(outcode: str) -> dict[str, Any]:
    return {
        "data": [
            {"id": name, "type": fuel, "location": {"ukPostcodeOutcode": outcode}, "availableMeasures": ["import"]}
            for name, fuel in METERS
        ]
    }


@cache
def _readings(meter: str, start: int, end: int) -> bytes:
    blocks = day_blocks(Supply(meter, "bench", meter.split("-")[0], "S3"), "import", start, end)
    return join(body for _, body in blocks)


def _window(asked: Any, outcode: str, now: int) -> bytes:
    meter = unquote(asked.path.split("/")[2])
    query = parse_qs(asked.query)
    start, end = instant.parse(query["from"][0]), instant.parse(query["to"][0])
    grant = GrantedPermission(
        account="account", license=LICENSE, granted=now - 60, expires=now + 86400, fuels=("electricity", "gas")
    )
    release = MeterRelease(
        registry=REGISTRY, grant=grant, origin=SMART_METERS, to=f"{DIRECTORY}/m/cap", service=f"{DIRECTORY}/s/edp",
        measure="import", start=start, end=end, outcode=outcode, missing_data=COMPLETE, at=now,
    )  # fmt: skip
    record = orjson.dumps(edp_record(release, member_signer("edp", EDP_ROLE)))
    return b'{"data":' + _readings(meter, start, end) + b',"provenance":' + record + b"}"


class PlainSession:
    """GETs over plain HTTP, with one connection for each thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._of_thread = threading.local()
        self.calls = 0

    def get(self, url: str, *, bearer: str = "", **_: object) -> Response:
        line = getattr(self._of_thread, "line", None)
        if line is None:
            line = self._of_thread.line = http.client.HTTPConnection("127.0.0.1", self._port)
        parts = urlsplit(url)
        line.request(
            "GET",
            parts.path + (f"?{parts.query}" if parts.query else ""),
            headers={"Authorization": f"Bearer {bearer}"},
        )
        answer = line.getresponse()
        self.calls += 1
        return Response(answer.status, {}, "127.0.0.1", answer.read())


def _serve(listening: socket.socket) -> None:
    """Serve as the others until this process is ended."""
    app = flask.Flask("grid")
    app.register_blueprint(sandbox_grid.routes)
    Elsewhere.grid = app.test_client()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere, bind_and_activate=False)
    server.socket = listening
    server.serve_forever()


def _connect(cap: Cap, smes: int) -> None:
    edp = PlayedProvider("edp")
    cap.providers["edp"] = edp
    with store.writing() as c:
        for number in range(smes):
            accounts.add(c, SmeAccount(f"sme-{number}", f"{number}@example.org", "Bench", created=0))
    for number in range(smes):
        cap.connect(edp, f"c{number}", account=f"sme-{number}", expires=NOW + 365 * 86400)


def _left() -> int:
    with store.reading() as c:
        due = sa.text("SELECT count(*) FROM connection WHERE collect_due <= :at OR leased > :at")
        return c.execute(due, {"at": clock.now()}).scalar_one()  # type: ignore[no-any-return]


def _fetch_grid(grid: Intensity) -> None:
    """Fetch the months of all regions, which a CAP does once however many customers it has."""
    worked, months = time.process_time(), current().settings.collection.months
    for region in {grid.region_of(outcode) for outcode in OUTCODES}:
        assert region is not None
        grid.fetch(region, first_month(NOW), instant.month_start(NOW))
    print(
        f"the grid's {months} months of {len(OUTCODES)} regions, once: {time.process_time() - worked:.1f} s of processor"
    )


def _measured(what: str, session: PlainSession, smes: int) -> None:
    began, worked, calls = time.perf_counter(), time.process_time(), session.calls
    pool = gather.pool()
    while _left() or weigh.weigh_due():
        gather.collect_due(pool)
        weigh.weigh_due()
    retention.forget_readings()
    seconds, elapsed = time.process_time() - worked, time.perf_counter() - began
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with store.reading() as c:
        months = c.execute(sa.text("SELECT count(*) FROM meter_month WHERE complete")).scalar_one()
        troubles = c.execute(sa.text("SELECT count(*) FROM connection WHERE trouble IS NOT NULL")).scalar_one()
    print(
        f"{what}: {smes} SMEs ({troubles} with trouble) in {elapsed:.1f} s, {seconds:.1f} s of processor:"
        f" {seconds / smes * 1000:.0f} ms for each; {session.calls - calls} calls, {months} whole months, {size:.0f} MiB"
    )


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--smes", type=int, default=100)
    smes = asked.parse_args().smes
    signing_authority(), member_signer("edp", EDP_ROLE)  # made before the fork: both sides have the same
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    others = os.fork()
    if not others:
        _serve(listening)
    try:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            held = HeldClock(NOW)
            patch.setattr(clock, "now", lambda: held.instant)
            session: Any = PlainSession(port)
            settings = settings_of("cap", f"sqlite:///{Path(folder) / 'cap.db'}", SETTINGS | {"collection.months": 13})
            deployment = deploy(settings)
            cap = Cap(deployment, held)
            grid = SimpleNamespace(collection=SimpleNamespace(intensity="http://others/intensity"))
            played: Any = deployment
            played.intensity = Intensity(grid, session, MemoryCache(), StoredGridDays(), pause_s=0)  # type: ignore[arg-type]
            played.upstream.refresh = lambda *_: SimpleNamespace(
                access_token=f"{OUTCODES[hash(_[2]) % len(OUTCODES)]}-{held.instant}", refresh_token=None
            )
            patch.setattr(provider, "consumption_data", lambda _: ConsumptionData(session, "http://others"))
            with in_new_database(opened(deployment, "mutual_tls")):
                _connect(cap, smes)
                spare_garbage_collector()  # as `consent-server work` does
                print(f"{datetime.now(UTC):%Y-%m-%d}, {smes} SMEs, {len(METERS)} meters each")
                _fetch_grid(played.intensity)
                _measured("first collection, 13 months", session, smes)
                held.instant = NEXT_MONTH
                _measured("a month later, with last month's revision", session, smes)
                with store.reading() as c:
                    held_bytes = c.execute(sa.text("SELECT sum(length(readings)) FROM meter_month")).scalar_one()
                print(f"readings kept: {(held_bytes or 0) / smes / 1024:.1f} KiB for each SME")
                db.engine.dispose()
    finally:
        os.kill(others, signal.SIGKILL)
        os.waitpid(others, 0)


if __name__ == "__main__":
    main()
