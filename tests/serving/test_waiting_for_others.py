"""Pages and endpoints of a running party that wait for somebody else: everybody else's requests go on."""

import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from bench import attacks
from consent_server.sandbox.browser import Browser, follow
from tests.conftest import RunningSandbox, free_ports
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("sandbox")


def honest(sandbox: RunningSandbox, door: str) -> attacks.Target:
    return next(target for target in attacks.doors(sandbox.directory) if target.door == door)


class Dripping:
    """What stands at a door's address: it passes on all that comes, and from `drip` on a byte each second of what returns."""

    def __init__(self, port: int, behind: int) -> None:
        self.drip = False
        self._behind = behind
        self._listening = socket.create_server(("127.0.0.1", port), backlog=512)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                there = socket.create_connection(("127.0.0.1", self._behind))
            except OSError:  # the door is not up yet
                client.close()
                continue
            for source, sink, returns in ((client, there, False), (there, client, True)):
                threading.Thread(target=self._pass, args=(source, sink, returns), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, returns: bool) -> None:
        try:
            while data := source.recv(65536):
                slowly = returns and self.drip
                for piece in (data[at : at + 1] for at in range(len(data))) if slowly else (data,):
                    sink.sendall(piece)
                    if slowly and self.drip:
                        time.sleep(1)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            sink.close()


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[tuple[RunningSandbox, Dripping]]:
    """A sandbox whose energy data provider's public door is reached through a Dripping."""
    first = free_ports(8)
    override = ("--set", f"edp.public.bind=127.0.0.1:{first + 7}")
    running = RunningSandbox(tmp_path / "sandbox", first, *override)
    try:
        # the sandbox looks whether its ports are free before it starts its processes
        while not (tmp_path / "sandbox" / "logs").exists() and running.process.poll() is None:
            time.sleep(0.1)
        dripping = Dripping(first + 1, first + 7)
        yield running.wait_until_ready(), dripping
        dripping.close()
    finally:
        running.stop(within_s=60)


def reloaded(sandbox: RunningSandbox, party: str, door: str) -> None:
    """Have new workers of a door, which remember nothing."""
    settings = str(sandbox.directory.resolve() / party / "settings.toml")
    doors = {}
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (each / "environ").read_text().split("\0")
            if {f"CONSENT_CONFIG={settings}", f"CONSENT_DOOR={door}"} <= {*environment}:
                doors[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
    (arbiter,) = (pid for pid, parent in doors.items() if parent not in doors)
    before = {pid for pid, parent in doors.items() if parent == arbiter}
    os.kill(arbiter, signal.SIGHUP)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before), "the old workers do not end", within_s=60)


def test_H08_S7_a_provider_whose_metadata_drips_holds_up_nobody_else(behind: tuple[RunningSandbox, Dripping]) -> None:
    sandbox, provider = behind
    manifest = sandbox.manifest
    steps = next(sme for sme in manifest["smes"] if sme["connect"])["connect"]["cap"]
    browser = Browser(Path(manifest["trust"]["server_ca"]))
    origin = manifest["pages"]["cap"]
    until = next(number for number, step in enumerate(steps) if step["path"] == "/connect/permission")
    page = follow(browser, browser.open(f"{origin}/sign-in"), steps[:until])
    assert page.path == "/connect/permission"

    public = honest(sandbox, "public")
    target = attacks.Target(
        str(sandbox.directory.resolve() / "cap" / "settings.toml"),
        "public",
        httpx.URL(origin).port or 443,
        public.server_ca,
        None,
        None,
    )
    store = sqlite3.connect(next((sandbox.directory / "cap").glob("*.sqlite")), isolation_level=None, timeout=60)
    store.execute("DELETE FROM fetched WHERE name LIKE '%oauth-authorization-server%'")
    store.close()
    reloaded(sandbox, "cap", "public")  # a process holds what is fresh as well
    provider.drip = True
    with ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(browser.open, page.url) for _ in range(40)]
        cost = attacks.measured(target, 2)
        assert (cost.unanswered, cost.faults) == (0, 0)
        shown = [each.result() for each in waiting]
        assert provider.drip, "all of them have a page although it still drips"
        assert {(each.status, each.path, "refresh" in each.controls) for each in shown} == {(200, page.path, True)}
        assert "waiting for Hartlebury" in shown[0].heading
        provider.drip = False
    browser.close()
