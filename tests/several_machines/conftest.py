"""What several machines share: a real pgbouncer in front of the database that tests use, as deploy/ha has it."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa

from consent_server.pki.member_certificate import MemberCertificate
from tests.conftest import free_ports, missing
from tests.issuer import conftest as issuing

ROOT = Path(__file__).resolve().parents[2]
certificates = issuing.certificates


class Bouncer:
    """deploy/ha/pgbouncer.ini with four server connections, in front of the tests' PostgreSQL; `url` leads through it."""

    def __init__(self, server: str, database: str) -> None:
        self.program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if self.program is None:
            missing("Debian's pgbouncer (scripts/debian-packages pgbouncer)")
        behind = parse_qs(urlsplit(server).query)["host"][0]
        owner = Path(behind, "PG_VERSION").stat().st_uid
        self.folder = Path(tempfile.mkdtemp(prefix="consent-server-pgbouncer-"))
        self.port = free_ports(1)
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"
        (self.folder / "users.txt").write_text('"postgres" ""\n', encoding="utf-8")
        text = (ROOT / "deploy/ha/pgbouncer.ini").read_text(encoding="utf-8")
        filled = Template(text).substitute(
            server_host=behind,
            server_port=5432,
            port=self.port,
            auth="trust",
            users=self.folder / "users.txt",
            pool=4,
            # pgbouncer does not run as root, and only the owner opens the folder of the server's socket
            user=f"user = {pwd.getpwuid(owner).pw_name}" if os.geteuid() == 0 else "",
        )
        (self.folder / "pgbouncer.ini").write_text(filled, encoding="utf-8")
        self.folder.chmod(0o755)
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            command = [str(self.program), str(self.folder / "pgbouncer.ini")]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.01)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def database(postgresql_server: str) -> Iterator[str]:
    """The name of a new database: a startup parameter that chooses a schema does not pass pgbouncer."""
    name = f"machines_{time.time_ns()}"
    engine = sa.create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
        yield name
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def bouncer(postgresql_server: str, database: str) -> Iterator[Bouncer]:
    running = Bouncer(postgresql_server, database)
    yield running
    running.kill()
    shutil.rmtree(running.folder)


@pytest.fixture
def nodes(bouncer: Bouncer, certificates: dict[str, MemberCertificate]) -> Iterator[list[issuing.Issuer]]:
    """Two nodes of one issuer, behind pgbouncer: each has its own settings, keys read from disk, and connections."""
    made = [issuing.Issuer(issuing.settings_for(bouncer.url), certificates) for _ in range(2)]
    with made[0].public.app_context():
        issuing.db.create_all()
    yield made
    for node in made:
        node.close()
