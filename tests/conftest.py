"""Fixtures that every room shares: the database in both kinds, and a clock that tests hold and step."""

import gc
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakSet

import httpx
import hypothesis
import pytest

from consent_server import clock
from consent_server.outbound import poller
from consent_server.signing.hsm import generate
from tests import soft_hsm as soft_hsm_module
from tests.database import new_schema, postgresql

INTEROP = Path(__file__).parent / "interop"
OLDEST_NODE = (20, 19, 0)
SHARED = Path(__file__).resolve().parents[2] / "shared"


#: Seconds for a test marked `long` that names no limit of its own: on a machine that others use, too.
LONG_S = 1800


# As hypothesis does by itself where CI is set: the same examples in every run, and none too slow.
hypothesis.settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("long") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG_S))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each folder of tests has cost, and what was noticed of a broken twin."""
    _costs(terminalreporter)
    passed = [report.nodeid for report in terminalreporter.stats.get("passed", ()) if report.when == "call"]
    noticed = sorted(found[1] for node in passed if (found := re.search(r"test_the_mistake_is_noticed\[(.*)\]", node)))
    if noticed:
        terminalreporter.section(
            f"the broken twin: {len(noticed)} mistakes, {len({each[:3] for each in noticed})} rows"
        )
        for line in noticed:
            terminalreporter.write_line(line)


def _costs(terminalreporter: pytest.TerminalReporter) -> None:
    """Set-up, calls and tear-down of each folder, summed over all workers."""
    cost: defaultdict[str, float] = defaultdict(float)
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            cost["/".join(Path(report.nodeid.partition("::")[0]).parent.parts[:2])] += report.duration
    if cost:
        terminalreporter.section("seconds by folder, summed over workers")
        for folder, seconds in sorted(cost.items(), key=lambda each: -each[1]):
            terminalreporter.write_line(f"{seconds:8.1f}  {folder}")


def pytest_collection_finish() -> None:
    """Leave what is loaded by now out of collections: it stays, and to look through it each time takes a tenth of the run."""
    gc.collect()
    gc.freeze()


def missing(what: str) -> NoReturn:
    """Say loudly what a test lacks: it skips on a user's machine and fails in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have {what}")
    pytest.skip(f"NOT RUN: this machine has no {what}")


def program(name: str, package: str = "") -> str:
    """The path of a program, which is in the Debian package of its name unless another is named."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        missing(f"{name} (scripts/debian-packages {package or name})")
    return found


@pytest.fixture(scope="session")
def shared_documents() -> Path:
    if not SHARED.is_dir():
        missing("../shared beside the project")
    return SHARED


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A real PostgreSQL from a wheel; its URL names a database that schemas are made in."""
    # Not below pytest's own folder: as root the server runs under another user, and another pytest closes that folder to it.
    with tempfile.TemporaryDirectory(prefix="consent-server-postgresql-", ignore_cleanup_errors=True) as folder:
        server = postgresql(folder)
        # No test pulls the plug, and thousands of schemas are made: writing each of their files to the disk takes minutes.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            server.psql(f"ALTER SYSTEM SET {setting} = off")
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database: a file, or a schema of its own on the server."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    with new_schema(request.getfixturevalue("postgresql_server")) as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def pollers() -> Iterator[WeakSet[poller.Poller[Any]]]:
    """The pollers of this process. Their first load is waited for however busy the machine is."""
    made: WeakSet[poller.Poller[Any]] = WeakSet()
    begin = poller.Poller.latest

    def noted(each: poller.Poller[Any]) -> Any:
        made.add(each)
        return begin(each)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poller.Poller, "latest", noted)
        patch.setattr(poller, "_FIRST_S", 30.0)
        yield made


@pytest.fixture(autouse=True)
def no_poller_outlives_its_test(pollers: WeakSet[poller.Poller[Any]]) -> Iterator[None]:
    """The lines and calls of its thread would be taken for those of a later test. Its next use starts another."""
    yield
    while pollers:
        pollers.pop().stop()


class HeldClock:
    """A clock that stands still until a test steps it."""

    def __init__(self, instant: int) -> None:
        self.instant = instant

    def step(self, seconds: int) -> None:
        self.instant += seconds


@pytest.fixture
def held_clock(monkeypatch: pytest.MonkeyPatch) -> HeldClock:
    """Time stands still at 2026-03-12T09:30:00Z and moves when stepped."""
    held = HeldClock(1773307800)
    monkeypatch.setattr(clock, "now", lambda: held.instant)
    return held


@pytest.fixture(scope="session")
def soft_hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[soft_hsm_module.Hsm]:
    if not soft_hsm_module.MODULE.exists():
        missing("Debian's softhsm2 (scripts/debian-packages softhsm2:softhsm2-util)")
    yield soft_hsm_module.make(tmp_path_factory.mktemp("hsm"))
    del os.environ["SOFTHSM2_CONF"]


@pytest.fixture
def hsm(soft_hsm: soft_hsm_module.Hsm) -> soft_hsm_module.Hsm:
    """An HSM with a token, as a new process finds it."""
    soft_hsm.log_out()
    return soft_hsm


@pytest.fixture(scope="session")
def hsm_key(soft_hsm: soft_hsm_module.Hsm) -> str:
    """The PKCS#11 URI of a key in that token."""
    soft_hsm.log_out()
    return generate(soft_hsm.uri())[0]


class RunningSandbox:
    """A sandbox of its own, started as a program would start it; `manifest` is what it wrote."""

    def __init__(self, directory: Path, base_port: int, *arguments: str) -> None:
        self.directory, self.base_port = directory, base_port
        self.log = directory.parent / f"{directory.name}.log"
        command = [sys.executable, "-m", "consent_server", "sandbox", "up", "--dir", str(directory)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--base-port", str(base_port), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory.parent,
            )

    def wait_until_ready(self, within_s: float = 120) -> "RunningSandbox":
        self.wait_until_said("\nready\n", within_s)
        return self

    def wait_until_said(self, text: str, within_s: float = 120) -> None:
        until = time.monotonic() + within_s
        while text not in self.said():
            assert self.process.poll() is None, f"the sandbox ended by itself:\n{self.said()}"
            assert time.monotonic() < until, f"it did not say {text!r} within {within_s} s:\n{self.said()}"
            time.sleep(0.1)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads((self.directory / "manifest.json").read_text(encoding="utf-8"))
        return manifest

    def control(self, path: str, **document: Any) -> Any:
        """POST to /sandbox/<path>: clock, scenario or crl."""
        url = f"{self.manifest['control']}/{path}"
        answer = httpx.post(url, json=document, verify=self.server_context(), timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def server_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.manifest["trust"]["server_ca"])

    def stop(self, within_s: float = 60) -> int:
        """SIGTERM; answers the exit status. The sandbox itself kills what does not stop (sandbox contract: ten seconds)."""
        self.process.terminate()
        return self.process.wait(within_s)


#: Workers that have ports of their own, and how many each has.
WORKERS, PORTS_EACH = 10, 2200
_LOWEST_PORT = 10000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % WORKERS * PORTS_EACH
_next_port = _LOWEST_PORT + secrets.randbelow(PORTS_EACH)


def free_ports(count: int = 7) -> int:
    """The first of `count` consecutive ports that nothing listens on, below those that clients are given.

    What was found free and is not yet taken is not found again: each worker of a run has a share of its own, and tries all
    of it before it comes back to a port.
    """
    global _next_port
    for _ in range(PORTS_EACH // count):
        if _next_port + count > _LOWEST_PORT + PORTS_EACH:
            _next_port = _LOWEST_PORT
        first = _next_port
        _next_port += count
        sockets = []
        try:
            for port in range(first, first + count):
                listener = socket.socket()
                sockets.append(listener)
                listener.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for listener in sockets:
                listener.close()
        return first
    raise AssertionError("no free ports")


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """The sandbox that tests of the outside share. They carry the mark xdist_group("sandbox"), so that there is one."""
    running = RunningSandbox(tmp_path_factory.mktemp("shared") / "sandbox", free_ports())
    try:
        yield running.wait_until_ready()
    finally:
        running.stop(within_s=60)


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts and exactly the locked packages beside them."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing("node and npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < OLDEST_NODE:
        missing(f"Node.js 20.19.0 or newer (it has {version.strip()})")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", *(script.name for script in INTEROP.glob("*.mjs"))):
        shutil.copy(INTEROP / name, folder)
    try:
        subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            capture_output=True,
            check=True,
            timeout=120,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        missing("the locked npm packages (npm ci failed: is there a network?)")
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, started once for the tests of a module."""
    path = program("chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        # The flags keep Chromium from calling home, which a closed network answers with many refusals.
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A tab of Chromium as a small phone has it, without cookies and without JavaScript: every page must work so."""
    context = chromium.new_context(
        ignore_https_errors=True, viewport={"width": 320, "height": 640}, java_script_enabled=False
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()
