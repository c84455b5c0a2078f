"""A load that is held, at a mutual-TLS door as it is served: python -m bench.load [--minutes 30]

Three clients make 50 requests a second each, for half an hour, on connections that are kept alive: refreshes (half), pushed
requests and redemptions (a quarter each). Each request is due at a fixed time, whatever became of the one before, and what it
took is counted from then: one late answer makes the next late as well, and none is left out. The door has two workers and
shares both cores with the clients and the database.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from bench.acts import ACTS, DATABASES, PORT, Door, Form, cpu_s, databases, pushes, redemptions
from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout

CLIENTS: Final = ("cap", "cap2", "cap_fsp")
EACH_S: Final = 50
#: Connections of one client; each sends its share of the client's requests.
CONNECTIONS: Final = 5
KINDS: Final = ("refresh", "PAR", "refresh", "redemption")
ACT: Final = {act.name: act for act in ACTS}
PERMISSIONS: Final = 600
PATIENCE_S: Final = 30
MIB: Final = 1 << 20


@dataclass(frozen=True)
class Answer:
    """When a request was due, in seconds since the load began, how long its answer took from then, and whether it was right."""

    due_s: float
    took_s: float
    right: bool


@dataclass
class Load:
    """What all clients were answered, by act."""

    answers: dict[str, list[Answer]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    wrong: list[str] = field(default_factory=list)
    started = 0.0

    def send(self, door: Door, client: str, number: int, forms: dict[str, list[Form]], until_s: float) -> None:
        """Send one connection's share of a client's requests, each when it is due."""
        context = door.context(client)
        connection = HTTPSConnection("localhost", door.port, context=context, timeout=PATIENCE_S)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        turn = number
        while (due_s := turn / EACH_S) < until_s:
            # a connection's share would always be of the same kinds otherwise
            kind = KINDS[(turn + turn // len(KINDS)) % len(KINDS)]
            turn += CONNECTIONS
            mine = forms[kind]
            form = mine.pop() if kind == "redemption" else mine[turn % len(mine)]
            time.sleep(max(0.0, self.started + due_s - time.perf_counter()))
            try:
                connection.request("POST", ACT[kind].path, urlencode(form), headers)
                answer = connection.getresponse()
                body = answer.read()
                right = answer.status == ACT[kind].status and ACT[kind].shows in body
                said = "" if right else f"{answer.status} {body[:200]!r}"
            except (OSError, HTTPException) as error:
                right, said = False, repr(error)
                connection.close()
            if said:
                self.wrong.append(f"{kind}: {said}")
            self.answers[kind].append(Answer(due_s, time.perf_counter() - self.started - due_s, right))

    def hold(self, door: Door, minutes: float) -> None:
        """Make the load. Each client's requests are made of its own permissions."""
        forms = {client: forms_of(door, client, int(minutes * 60 * EACH_S)) for client in CLIENTS}
        self.started = time.perf_counter() + 1
        senders = [
            threading.Thread(target=self.send, args=(door, client, number, forms[client], minutes * 60))
            for client in CLIENTS
            for number in range(CONNECTIONS)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()


def forms_of(door: Door, client: str, requests: int) -> dict[str, list[Form]]:
    """Return act -> forms of one client: a code can be used once, the other forms serve again and again."""
    me = door.layout.application(client)
    refresh = {"grant_type": "refresh_token", "client_id": me}
    tokens = (token for token, grant in zip(door.tokens, door.grants, strict=True) if grant.client_id == me)
    return {
        "refresh": [{**refresh, "refresh_token": token} for token in tokens],
        "PAR": pushes(door, 500, client),
        "redemption": redemptions(door, requests // len(KINDS) + len(KINDS) * CONNECTIONS, client, live_s=86400),
    }


def memory_mib(processes: list[int]) -> float:
    """Return the memory of all processes, what they share divided between them (Pss)."""
    rollups = (Path(f"/proc/{process}/smaps_rollup").read_text().splitlines() for process in processes)
    return sum(int(line.split()[1]) for lines in rollups for line in lines if line.startswith("Pss:")) * 1024 / MIB


def show(database: str, load: Load, minutes: float, memory: list[float], cpu_share: float) -> None:
    """Print what came of it, in Markdown."""

    def at(share: float, answers: list[Answer]) -> float:
        return 1000 * sorted(answer.took_s for answer in answers)[min(len(answers) - 1, int(share * len(answers)))]

    everything = [answer for answers in load.answers.values() for answer in answers]
    print(f"\n| {database}, ms | requests | wrong or lost | median | 95th percentile | 99th percentile | longest |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, answers in {**load.answers, "**all**": everything}.items():
        wrong = sum(not answer.right for answer in answers)
        print(
            f"| {name} | {len(answers)} | {wrong} | "
            + " | ".join(f"{at(s, answers):.1f}" for s in (0.5, 0.95, 0.99, 1))
            + " |"
        )
    parts = max(1, min(30, int(minutes)))
    slices: list[list[Answer]] = [[] for _ in range(parts)]
    for answer in everything:
        slices[min(parts - 1, int(answer.due_s / (minutes * 60) * parts))].append(answer)
    tails = [at(0.95, part) for part in slices if part]
    print(f"\n95th percentile of each {minutes / parts:.1f} minutes: {min(tails):.1f} to {max(tails):.1f} ms.")
    print(
        f"Memory of the door (master and workers): {memory[0]:.0f} MiB before, {statistics.median(memory[1:4]):.0f} at the"
        f" start, {statistics.median(memory[-3:]):.0f} at the end. Its processors: {100 * cpu_share:.0f} % of one core."
    )
    for said in load.wrong[:5]:
        print(said, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--minutes", type=float, default=30)
    how = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder), how.databases) as (urls, _):
        for database, url in urls.items():
            layout = Layout(Path(folder, database), PORT)
            parties.prepare(layout)
            door = Door(layout, url, workers=2, clients=CLIENTS)
            door.fill(PERMISSIONS)
            load = Load()
            with door.open(core=None, log=Path(folder, "log")) as processes:
                memory = [memory_mib(processes)]
                before, started = cpu_s(processes), time.perf_counter()
                holding = threading.Thread(target=load.hold, args=(door, how.minutes))
                holding.start()
                while holding.is_alive():
                    holding.join(how.minutes)  # sixty times in all
                    memory.append(memory_mib(processes))
                share = (cpu_s(processes) - before) / (time.perf_counter() - started)
            show(database, load, how.minutes, memory, share)


if __name__ == "__main__":
    main()
