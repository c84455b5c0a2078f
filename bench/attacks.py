"""What slow and hostile clients cost an honest one: python -m bench.attacks [DIRECTORY]

DIRECTORY is that of a running sandbox (`consent-server sandbox up --dir DIRECTORY`); without it one is started. Each attack
holds its connections open at one door of the energy data provider, and opens each again that the door closes, while an honest
client opens a connection for every request. The table says how long the honest client waited, what went unanswered, and the
processor time and the memory of the door's worker. The attackers run in a process of their own.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONNECTIONS = 500
SECONDS = 20.0
#: How long the honest client waits for an answer before it counts as none.
PATIENCE_S = 8.0
PAUSE_S = 0.05


@dataclass(frozen=True)
class Target:
    """One door of one party, what its clients need to connect, and a certificate that its revocation list names."""

    settings: str
    door: str
    port: int
    server_ca: str
    honest: tuple[str, str] | None
    revoked: tuple[str, str] | None
    path: str = "/health"

    def context(self, who: tuple[str, str] | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.server_ca)
        if who:
            context.load_cert_chain(*who)
        return context

    def get(self, context: ssl.SSLContext) -> int:
        """The status of one honest request on a connection of its own."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as connection,
        ):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as every HTTP client does
            connection.sendall(f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = HTTPResponse(connection)
            answer.begin()
            answer.read()
            return answer.status


def doors(directory: Path) -> list[Target]:
    """Both doors of the sandbox's energy data provider."""
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    clients = manifest["clients"]

    def shown(name: str) -> tuple[str, str]:
        return clients[name]["chain"], clients[name]["key"]

    def door(kind: str, origin: str, honest: Any, revoked: Any) -> Target:
        settings = str(directory.resolve() / "edp" / "settings.toml")
        return Target(settings, kind, urlsplit(origin).port or 443, manifest["trust"]["server_ca"], honest, revoked)

    return [
        door("public", manifest["pages"]["edp"], None, None),
        door("mutual_tls", manifest["doors"]["edp"], shown("cap"), shown("revoked")),
    ]


# The attacks. Each does its worst on a connection after the handshake and returns when it has nothing more to send.

POST = b"POST /par HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
#: Something of ten kilobytes or more at either door; the other answers 404.
LARGE = (b"/static/style.css", b"/openapi/issuer.json")
Attack = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def half_a_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /health HTTP/1.1\r\nHost: loc")


async def body_that_never_comes(writer: asyncio.StreamWriter) -> None:
    writer.write(POST + b"Content-Length: 200000\r\n\r\n")


async def chunk_that_never_comes(writer: asyncio.StreamWriter) -> None:
    writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\nhalf")


async def one_byte_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"1\r\nx\r\n")
        await asyncio.sleep(0.5)


async def slow_reader(writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in LARGE) * 100)
    await asyncio.sleep(3600)


async def refused_request(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(POST + b"Content-Length: 1\r\n\r\nx")
        await asyncio.sleep(5)


ATTACKS: dict[str, Attack | None] = {
    "no handshake": None,
    "half a head": half_a_head,
    "a body that never comes": body_that_never_comes,
    "a chunk that never comes": chunk_that_never_comes,
    "one-byte chunks": one_byte_chunks,
    "slow readers, pipelined": slow_reader,
}
#: At the mutual-TLS door alone, with the revoked certificate.
REVOKED: dict[str, Attack] = {
    "revoked: requests": refused_request,
    "revoked: a body that never comes": body_that_never_comes,
}


def of(target: Target) -> list[str]:
    """The names of the attacks that can be made at this door."""
    return [*ATTACKS, *(REVOKED if target.revoked else ())]


async def _hold(target: Target, name: str, context: ssl.SSLContext, delay: float) -> None:
    attack = REVOKED.get(name) or ATTACKS[name]
    await asyncio.sleep(delay)
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            raw = socket.socket()
            raw.setblocking(False)
            # a small window: what the door may send before it has to wait is small as well
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", target.port))
            tls = {"ssl": context, "server_hostname": "localhost", "ssl_handshake_timeout": 60} if attack else {}
            reader, writer = await asyncio.open_connection(sock=raw, **tls)  # type: ignore[arg-type]
            try:
                worst = asyncio.ensure_future(attack(writer)) if attack else None
                while await reader.read(65536):
                    pass
                if worst:
                    worst.cancel()
            finally:
                writer.close()
        await asyncio.sleep(0.3 + random.random())


async def _attack(target: Target, names: list[str], connections: int, ramp_s: float) -> None:
    held = []
    for name in names:
        context = target.context(target.revoked if name in REVOKED else target.honest)
        held += [_hold(target, name, context, ramp_s * number / connections) for number in range(connections)]
    await asyncio.gather(*held)


def attack(target: Target, names: list[str], connections: int, ramp_s: float) -> None:
    """Make these attacks until the process is ended."""
    asyncio.run(_attack(target, names, connections, ramp_s))


@contextlib.contextmanager
def under(target: Target, names: list[str], connections: int, ramp_s: float) -> Iterator[None]:
    """The attacks, in a process of their own, for the length of the block, which begins when all are connected."""
    process = multiprocessing.get_context("spawn").Process(
        target=attack, args=(target, names, connections, ramp_s), daemon=True
    )
    process.start()
    try:
        time.sleep(ramp_s + 2)
        yield
    finally:
        process.kill()
        process.join(10)


# The door's worker, as the kernel sees it.


def workers(target: Target) -> list[int]:
    """The processes of this door that serve: those with its environment whose parent has it too."""
    wanted = {f"CONSENT_CONFIG={target.settings}", f"CONSENT_DOOR={target.door}"}
    found: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            environment = (process / "environ").read_text(encoding="utf-8", errors="replace").split("\0")
            if wanted <= set(environment):
                found[int(process.name)] = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
    return [process for process, parent in found.items() if parent in found]


def cpu_s(processes: list[int]) -> float:
    """Processor seconds so far."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(processes: list[int]) -> float:
    """Resident memory now."""
    pages = sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in processes)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Cost:
    """What the honest client saw in one stretch of time, and what the door's workers used in it."""

    seconds: tuple[float, ...]
    unanswered: int
    faults: int
    cores: float
    memory: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else float("nan")

    @property
    def p95(self) -> float:
        return sorted(self.seconds)[int(0.95 * len(self.seconds))] if self.seconds else float("nan")

    @property
    def longest(self) -> float:
        return max(self.seconds, default=float("nan"))


def measured(target: Target, seconds: float) -> Cost:
    """An honest request, a pause, and again: twice at least, however busy the machine."""
    serving, context = workers(target), target.context(target.honest)
    took: list[float] = []
    unanswered = faults = 0
    began, used = time.monotonic(), cpu_s(serving)
    while time.monotonic() < began + seconds or len(took) + unanswered < 2:
        started = time.monotonic()
        try:
            status = target.get(context)
        except (OSError, ValueError):
            unanswered += 1
        else:
            took.append(time.monotonic() - started)
            faults += status >= 500
        time.sleep(PAUSE_S)
    cores = (cpu_s(serving) - used) / (time.monotonic() - began)
    return Cost(tuple(took), unanswered, faults, cores, memory_mib(serving))


def row(name: str, cost: Cost, after_mib: float) -> str:
    figures = f"{cost.median * 1000:7.0f} {cost.p95 * 1000:7.0f} {cost.longest * 1000:7.0f}"
    return (
        f"{name:34} {figures} {len(cost.seconds):9} {cost.unanswered:10} {cost.faults:4} {cost.cores:6.2f}"
        f" {cost.memory:7.0f} {after_mib:6.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    chosen = parser.parse_args()
    with contextlib.nullcontext(chosen.directory) if chosen.directory else sandbox() as directory:
        report(directory, chosen)


@contextlib.contextmanager
def sandbox() -> Iterator[Path]:
    """The directory of a sandbox that runs for the length of the block."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "sandbox"
        command = [
            sys.executable,
            "-m",
            "consent_server",
            "sandbox",
            "up",
            "--dir",
            str(directory),
            "--base-port",
            "9440",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not (directory / "ready").exists():
                if process.poll() is not None:
                    sys.exit("the sandbox did not start")
                time.sleep(0.2)
            yield directory
        finally:
            process.terminate()
            process.wait()


def report(directory: Path, chosen: argparse.Namespace) -> None:
    """Print the table."""
    for target in doors(directory):
        print(f"\n{target.door}, {chosen.connections} connections, {chosen.seconds:.0f} s each")
        print(f"{'':34} {'p50 ms':>7} {'p95 ms':>7} {'max ms':>7} {'answered':>9} {'unanswered':>10}", end=" ")
        print(f"{'5xx':>4} {'cores':>6} {'MiB':>7} {'after':>6}")
        print(row("quiet", measured(target, chosen.seconds / 2), memory_mib(workers(target))), flush=True)
        for name in of(target):
            with under(target, [name], chosen.connections, ramp_s=5):
                cost = measured(target, chosen.seconds)
            time.sleep(5)
            print(row(name, cost, memory_mib(workers(target))), flush=True)


if __name__ == "__main__":
    main()
