"""Honest clients of a deployment whose database fails, and what it said yes to."""

import json
import secrets
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psycopg

from consent_server.sandbox.browser import Browser, follow
from consent_server.sandbox.client import Client
from consent_server.sandbox.layout import Layout
from consent_server.store.digests import digest

CALLBACK = "https://client.example/cb"


class Away(Exception):
    """The service said 503 with Retry-After, as it may."""


class Acknowledged:
    """What the service has said yes to; `worse` is what a client must never meet."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.worse: list[str] = []
        self.granted: set[str] = set()
        self.redeemed: set[str] = set()
        self.ended: set[str] = set()

    def lost(self, database_url: str) -> list[str]:
        """Return what was acknowledged and is not in the database (as its primary has it)."""
        with psycopg.connect(database_url.replace("+psycopg", ""), prepare_threshold=None) as connection:
            codes = {row[0] for row in connection.execute("SELECT digest FROM code")}
            rows = connection.execute("SELECT refresh_id, redeemed, ended FROM permission").fetchall()
        redeemed = {refresh_id for refresh_id, at, _ in rows if at is not None}
        ended = {refresh_id for refresh_id, _, at in rows if at is not None}
        return [
            *(f"grant {one}" for one in {digest(code) for code in self.granted} - codes),
            *(f"redemption {one}" for one in {id_of(token) for token in self.redeemed} - redeemed),
            *(f"withdrawal {one}" for one in {id_of(token) for token in self.ended} - ended),
        ]


def id_of(token: str) -> str:
    return token.split(".")[1]


class Honest(threading.Thread):
    """One client and one SME: grant, redeem, refresh, sometimes redeem again, sometimes withdraw; and old tokens stay dead."""

    def __init__(self, manifest: dict[str, Any], number: int, kept: Acknowledged, stop: threading.Event) -> None:
        super().__init__(name=f"honest-{number}")
        self.manifest, self.number, self.kept, self.stop = manifest, number, kept, stop
        self.client = Client(
            manifest["clients"][("cap", "cap2", "cap_fsp")[number % 3]], manifest["trust"]["server_ca"]
        )
        self.client.http.event_hooks["response"].append(self._seen)
        self.client.discover(manifest["issuers"]["edp"])
        self.journey = manifest["smes"][number]["journey"]["edp"]
        self.last = 0
        self.own: list[str] = []

    def _seen(self, answer: httpx.Response) -> None:
        self.last = answer.status_code
        self.kept.statuses[self.last] += 1
        if self.last >= 500 and (self.last != 503 or not answer.headers.get("Retry-After")):
            self.kept.worse.append(f"{self.last} without Retry-After at {answer.request.url.path}")

    def run(self) -> None:
        flows = 0
        while not self.stop.is_set():
            try:
                flows += 1
                self.flow(flows)
            except Away:
                self.stop.wait(0.3)
            except Exception as error:
                self.kept.worse.append(f"{type(error).__name__}: {error} (after {self.last})")
                self.stop.wait(0.3)
            self.stop.wait(0.1)

    def flow(self, number: int) -> None:
        request = self.honoured(lambda: self.client.push(self.manifest["licenses"]["electricity_and_gas"], CALLBACK))
        browser = Browser(Path(self.manifest["trust"]["server_ca"]))
        browser._client.event_hooks["response"].append(self._seen)
        page = self.honoured(lambda: follow(browser, browser.open(request.url), self.journey))
        browser.close()
        code = self.honoured(lambda: self.client.code(request, page.url))
        self.kept.granted.add(code)
        token = self.redeemed(request, code)
        if token is None:
            return
        self.expect(self.client.refresh(token), 200)
        if number % 4 == 1:
            self.expect(self.client.redeem(request, code), 400)  # a second use ends what the first was given
            self.end(token)
        elif number % 2 == 0:
            self.expect(self.client.revoke(token), 200)
            self.end(token)
        if self.own:
            self.expect(self.client.refresh(secrets.choice(self.own)), 400)

    def redeemed(self, request: Any, code: str) -> str | None:
        """The refresh token; None where an attempt that was not acknowledged may have used the code."""
        for attempt in range(200):
            answer = self.client.redeem(request, code)
            if answer.status_code == 200:
                token = str(answer.json()["refresh_token"])
                self.kept.redeemed.add(token)
                return token
            if answer.status_code != 503:
                assert attempt, f"a fresh code was refused: {answer.text}"
                return None
            time.sleep(0.3)
        raise AssertionError("refused two hundred times")

    def end(self, token: str) -> None:
        self.kept.ended.add(token)
        self.own.append(token)

    def honoured(self, act: Any) -> Any:
        try:
            return act()
        except AssertionError:
            if self.last == 503:
                raise Away from None
            raise

    @staticmethod
    def expect(answer: httpx.Response, status: int) -> None:
        if answer.status_code == 503:
            raise Away
        assert answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.text}"


class Load:
    """Three honest clients at work, and a fourth that measures for how long nothing is taken."""

    def __init__(self, layout: Layout, threads: int = 3) -> None:
        manifest = json.loads(layout.manifest.read_text(encoding="utf-8"))
        self.kept, self._stop = Acknowledged(), threading.Event()
        self._threads = [Honest(manifest, number, self.kept, self._stop) for number in range(threads)]
        self._probe = Honest(manifest, threads, self.kept, self._stop)
        self.license = manifest["licenses"]["electricity_and_gas"]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for_flows(self, more: int, within_s: float = 60) -> None:
        """Wait until so many more flows were granted."""
        wanted, until = len(self.kept.redeemed) + more, time.monotonic() + within_s
        while len(self.kept.redeemed) < wanted:
            assert time.monotonic() < until, f"no flow gets through: {self.kept.worse[-3:]} {self.kept.statuses}"
            time.sleep(0.1)

    def longest_silence(self, until: Any, within_s: float = 90) -> float:
        """Push until `until` says that the failure is over and a push is taken; the longest time between two that were."""
        started = last = time.monotonic()
        longest = 0.0
        while True:
            try:
                self._probe.honoured(lambda: self._probe.client.push(self.license, CALLBACK))
            except Away:
                pass
            else:
                now = time.monotonic()
                longest, last = max(longest, now - last), now
                if until():
                    return longest
            assert time.monotonic() < started + within_s, f"nothing was taken for {time.monotonic() - last:.0f} s"
            time.sleep(0.2)


class Relay:
    """A cable: what passes here stops in both directions while it is cut, and goes on afterwards."""

    def __init__(self, port: int, to: int) -> None:
        self.port, self._to = port, to
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def close(self) -> None:
        self._whole.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # the listener was closed
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._whole.wait()
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()
