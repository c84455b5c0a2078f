"""How fast withdrawal messages leave, and what one costs: `python -m bench.messages`.

A hundred clients take messages over TLS, on connections that they keep, each at an address of its own; beside them one drips,
one answers 500 and one is away. All are one process beside the dispatcher's, as is the Directory that names their addresses.
Every client is owed as many messages at once. Processor time is the dispatcher's own; how long a message took is counted from
the first dispatch until its client had it. Nothing is asserted.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from bench.acts import DATABASES, PORT, Door, databases
from consent_server import clock, store
from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout
from consent_server.store import outbox, permissions
from consent_server.store.digests import new_id
from consent_server.store.tables.permissions import Permission
from consent_server.tokens import refresh_token
from consent_server.withdrawal.outbox import dispatch, pool

#: What the others are beside those that are well, and where the Directory is.
DRIPS, FAILS, AWAY, DIRECTORY = "drips", "fails", "away", "directory"
BAD: Final = (DRIPS, FAILS, AWAY)
TAKEN: Final = "/taken"


class Others:
    """The clients and the Directory: one server on a port for each."""

    def __init__(self, sockets: dict[str, socket.socket], tls: ssl.SSLContext) -> None:
        self._sockets = sockets
        self._tls = tls
        self._taken: list[tuple[str, float]] = []

    async def serve(self) -> None:
        for name, listening in self._sockets.items():
            await asyncio.start_server(self._of(name), sock=listening, ssl=self._tls)
        await asyncio.Event().wait()

    def _of(self, name: str) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if line)
                    await reader.readexactly(int(fields.get("content-length", 0)))
                    await self._answer(name, head, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        return serve

    async def _answer(self, name: str, head: bytes, writer: asyncio.StreamWriter) -> None:
        if name == DRIPS:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.2)
        if name == DIRECTORY:
            asked = head.split()[1].decode()
            body = json.dumps(self._taken if asked == TAKEN else {"port": self._port(asked[1:])}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        elif name == FAILS:
            writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
        else:
            self._taken.append((name, time.monotonic()))
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    def _port(self, name: str) -> int:
        return int(self._sockets[name].getsockname()[1]) if name in self._sockets else 1


@contextmanager
def others(names: list[str], layout: Layout) -> Iterator[str]:
    """Run the others in a process of their own; yield the Directory's address."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(layout.server_certificate("chain"), layout.server_certificate("key"))
    tls.load_verify_locations(layout.authority / "client_root.pem")
    tls.verify_mode = ssl.CERT_OPTIONAL
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in (*names, DIRECTORY)}
    process = os.fork()
    if process == 0:
        asyncio.run(Others(sockets, tls).serve())
    port = sockets[DIRECTORY].getsockname()[1]
    try:
        for each in sockets.values():
            each.close()
        yield f"https://localhost:{port}"
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def owe(door: Door, names: list[str], each: int) -> None:
    """Keep permissions that have ended, and the messages about them."""
    at, like = clock.now(), door.grants[0]
    with store.writing() as c:
        for _ in range(each):
            for name in names:
                refresh_id, version = refresh_token.make(door.deployment.refresh_keys)
                ended = Permission(
                    **like._asdict()
                    | {
                        "id": new_id(),
                        "account": new_id(),
                        "client_id": f"https://directory.example/{name}",
                        "refresh_id": refresh_id,
                        "refresh_version": version,
                        "redeemed": at,
                        "ended": at,
                        "ended_as": "withdrawn",
                    }
                )
                permissions.add(c, ended)
                outbox.add(c, kind="message", subject=ended.id, recipient=ended.client_id, at=at)


def measured(door: Door, well: list[str], each: int, directory: str) -> tuple[float, list[float]]:
    """Return the seconds of processor time for a message, and after how many seconds each was taken."""
    session, played = door.deployment.session, door.deployment
    session.allow_hosts(lambda: {"localhost"})

    def application(url: str, *, fresh: bool) -> Any:
        found = session.get(f"{directory}/{url.rpartition('/')[2]}", configured=True).object()
        return SimpleNamespace(message_delivery=f"https://localhost:{found['port']}/messages")

    played.directory = SimpleNamespace(application=application)
    owe(door, [*BAD, *well], each)
    shared, began, worked = pool(), time.monotonic(), time.process_time()
    done = 0
    while done < each * len(well):
        done += dispatch(shared).done
    worked = time.process_time() - worked
    taken = session.get(f"{directory}{TAKEN}", configured=True, limit=1 << 26).json()
    session.close()
    return worked / done, [at - began for name, at in taken if name in well]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--each", type=int, default=50, help="messages for each client")
    how = parser.parse_args()
    well = [f"well{number}" for number in range(how.clients)]
    print("| messages | CPU for one, ms | a second | median, s | 99th percentile, s | longest, s |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder), how.databases) as (urls, _):
        for database, url in urls.items():
            layout = Layout(Path(folder, database), PORT)
            parties.prepare(layout)
            door = Door(layout, url)
            with others([DRIPS, FAILS, *well], layout) as directory:
                door.fill(1)
                with door.app.app_context():
                    cpu_s, took = measured(door, well, how.each, directory)
            took.sort()
            tail = took[int(0.99 * len(took))]
            print(
                f"| {database} | {1000 * cpu_s:.2f} | {len(took) / took[-1]:.0f} | {statistics.median(took):.2f}"
                f" | {tail:.2f} | {took[-1]:.2f} |"
            )


if __name__ == "__main__":
    main()
