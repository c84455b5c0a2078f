"""A database on three machines, all of them this one: etcd, three members under Patroni, haproxy and pgbouncer."""

import contextlib
import hashlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.ha.processes import HERE, CannotStart, Processes, program

DEBIAN = Path("/usr/lib/postgresql")
ROLE = "consent"


@dataclass(frozen=True)
class Member:
    """One machine of the database: where its Patroni and its PostgreSQL listen."""

    name: str
    rest: int
    port: int


class Database:
    """The cluster. `ports` are free consecutive ports; each node of ours reaches the primary at `url(node, name)`."""

    #: How many ports a cluster with two nodes takes.
    PORTS = 12
    _NODES = (1, 2)

    def __init__(self, processes: Processes, first_port: int, databases: tuple[str, ...], members: int = 3) -> None:
        self.processes = processes
        self.databases = databases
        self.etcd = first_port
        self.members = [
            Member(f"pg{number}", first_port + 1 + number, first_port + 4 + number) for number in range(1, members + 1)
        ]
        self._proxies = {node: first_port + 6 + 2 * node for node in self._NODES}
        self._bouncers = {node: first_port + 7 + 2 * node for node in self._NODES}
        names = ("superuser", "replication", "rewind")
        self.passwords = {f"{name}_password": secrets.token_urlsafe(24) for name in names}
        self._password = secrets.token_urlsafe(24)

    def url(self, node: int, database: str) -> str:
        """Return the DATABASE_URL of a node's doors: its pgbouncer."""
        return f"postgresql+psycopg://{ROLE}:{self._password}@127.0.0.1:{self._bouncers[node]}/{database}"

    def start(self) -> None:
        """Start everything, and make the role and the databases. Raise CannotStart."""
        self._start_etcd()
        first, *others = self.members
        self.start_member(first)
        self.processes.wait("the first member of the database", lambda: self.role(first) == "primary")
        for member in others:
            self.start_member(member)
        self._make_databases(first)
        self.processes.wait("a synchronous replica", lambda: "sync" in [self.role(member) for member in others])
        for node in self._NODES:
            self._start_way(node)

    def _start_etcd(self) -> None:
        values = {"name": "etcd1", "client": self.etcd, "peer": self.etcd + 1}
        folder = self.processes.own_folder("etcd")
        file = self.processes.fill("etcd.yml", folder / "etcd.yml", data=folder / "data", **values)
        self.processes.start("etcd", [program("etcd"), "--config-file", str(file)], as_user=True)
        self.processes.wait("etcd", lambda: ask(self.etcd, "/health")[0] == 200)

    def start_member(self, member: Member) -> None:
        """Start Patroni of one member, which starts its PostgreSQL; or start it again."""
        folder = self.processes.own_folder(member.name)
        values = {"name": member.name, "rest": member.rest, "port": member.port, "etcd": self.etcd}
        where = {"data": folder / "data", "bin": binaries(), "pgpass": folder / "pgpass", "sockets": folder}
        file = folder / "patroni.yml"
        self.processes.fill("patroni.yml", file, watchdog="off", **values, **where, **self.passwords)
        command = [str(patroni()), "-m", "patroni", str(file)]
        self.processes.start(member.name, command, self.environment(member), as_user=True)

    def environment(self, member: Member) -> dict[str, str]:
        """Return what Patroni of one member takes from the environment instead of its file: nothing."""
        return {}

    def _make_databases(self, primary: Member) -> None:
        statements = [f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self._password}'"]
        statements += [f"CREATE DATABASE {name} OWNER {ROLE}" for name in self.databases]
        for statement in statements:
            self.sql(primary, statement)

    def _start_way(self, node: int) -> None:
        """Start what leads a node to the primary: its pgbouncer and its haproxy."""
        folder = self.processes.own_folder(f"node{node}")
        servers = "\n".join(
            f"    server {member.name} 127.0.0.1:{member.port} check port {member.rest}" for member in self.members
        )
        proxy = self.processes.fill(
            "haproxy-database.cfg", folder / "haproxy-database.cfg", port=self._proxies[node], servers=servers
        )
        users = self.processes.write(folder / "users.txt", f'"{ROLE}" "{self._password}"\n')
        bouncer = self.processes.fill(
            "pgbouncer.ini",
            folder / "pgbouncer.ini",
            server_host="127.0.0.1",
            server_port=self._proxies[node],
            port=self._bouncers[node],
            auth="scram-sha-256",
            users=users,
            pool=20,
            user="",
        )
        self.processes.start(f"haproxy-database{node}", [program("haproxy"), "-db", "-f", str(proxy)], as_user=True)
        self.processes.start(f"pgbouncer{node}", [program("pgbouncer"), str(bouncer)], as_user=True)

    # what an operator asks and does

    def role(self, member: Member) -> str:
        """Return "primary", "sync" or "replica", or "" for a member that does not say so just now."""
        for role in ("primary", "sync", "replica"):
            if ask(member.rest, f"/{role}")[0] == 200:
                return role
        return ""

    def primary(self) -> Member | None:
        """Return the member that holds the lead."""
        return next((member for member in self.members if ask(member.rest, "/primary")[0] == 200), None)

    def healthy(self) -> bool:
        """Return whether there is a primary, and all others follow it, one of them synchronously."""
        primary = self.primary()
        if primary is None or "sync" not in [self.role(member) for member in self.members]:
            return False
        try:
            following = self.sql(primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
        except CannotStart:
            return False
        return int(following) == len(self.members) - 1

    def sql(self, member: Member, statement: str, within_s: float = 10) -> str:
        """Run a statement on one member, past haproxy and pgbouncer. Raise CannotStart."""
        password = self.passwords["superuser_password"]
        target = f"host=127.0.0.1 port={member.port} user=postgres dbname=postgres connect_timeout=2"
        try:
            done = subprocess.run(
                [f"{binaries()}/psql", "-XAtqd", target, "-c", statement],
                env={"PGPASSWORD": password},
                capture_output=True,
                text=True,
                timeout=within_s,
            )
        except subprocess.TimeoutExpired:
            raise CannotStart(f"{member.name}: no answer within {within_s} s") from None
        if done.returncode:
            raise CannotStart(f"{member.name}: {done.stderr.strip()}")
        return done.stdout.strip()

    def postmaster(self, member: Member) -> list[int]:
        """Return the process id of a member's PostgreSQL, if it runs: the file of one that was killed names anybody's."""
        data = self.processes.folder / member.name / "data"
        try:
            pid = int((data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
            return [pid] if str(data) in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8") else []
        except (OSError, IndexError):
            return []

    def signal(self, member: Member, number: signal.Signals) -> None:
        """Send a signal to the whole of a machine: Patroni and every process of its PostgreSQL."""
        self.processes.signal(member.name, number, *self.postmaster(member))


def ask(port: int, path: str) -> tuple[int, Any]:
    """Return status and JSON of a GET on this machine; (0, None) where nobody answers within a second."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        return error.code, None
    except (OSError, ValueError, http.client.HTTPException):  # nobody is there yet, or another program
        return 0, None


def binaries() -> Path:
    """Return the folder of Debian's newest PostgreSQL server. Raise CannotStart."""
    found = sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise CannotStart("this machine has no PostgreSQL server of Debian's (apt-get install postgresql)")
    return found[-1].parent


def patroni() -> Path:
    """Return a Python that has the Patroni of patroni.lock, and that the database's user may run.

    It is made once for a machine, below the folder for temporary files. Raise CannotStart.
    """
    lock = HERE / "patroni.lock"
    place = Path(tempfile.gettempdir()) / f"consent-server-patroni-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    python = place / "bin" / "python"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=place.parent) as making:
            made = Path(making, "venv")
            # These two are published as source alone.
            wheels = ["--only-binary", ":all:", "--no-binary", "python-etcd,ydiff"]
            pip: list[str | Path] = [made / "bin/python", "-m", "pip", "install", "-q", "--require-hashes"]
            try:
                subprocess.run(["/usr/bin/python3", "-m", "venv", made], check=True, capture_output=True)
                subprocess.run([*pip, *wheels, "-r", lock], check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise CannotStart(f"Patroni could not be installed for /usr/bin/python3: {error}") from None
            with contextlib.suppress(OSError):  # another made it meanwhile
                made.rename(place)
    if place.stat().st_uid != os.geteuid():
        raise CannotStart(f"{place} is somebody else's: remove it")
    return python
