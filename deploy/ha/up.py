"""Two nodes of an energy data provider on a database that survives a machine, all on loopback: `python -m deploy.ha.up`.

The sandbox's authority, Directory and Registry stand in for the scheme. Ctrl-C stops everything.
"""

import argparse
import json
import shutil
import signal
import ssl
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from flask import Flask

from consent_server import clock, shipped, store
from consent_server.sandbox import parties, synthetic
from consent_server.sandbox.layout import HOST, Layout
from consent_server.sandbox.smes import SMES, register_rows
from consent_server.store import meters
from consent_server.store.database import db
from consent_server.store.schema import migrate
from deploy.ha.database import Database
from deploy.ha.processes import HERE, CannotStart, Processes, program

#: haproxy calls the doors from here, so that a caller who goes around it can be told from it.
PROXY = "127.0.0.2"
NODES = (1, 2)


class Trial:
    """The whole, under one folder. It takes 28 consecutive ports; the first seven are the sandbox's."""

    PORTS = 28
    BEFORE_DATABASE = 8

    def __init__(self, folder: Path, first_port: int, database: type[Database] = Database) -> None:
        self.processes = Processes(folder)
        self.layout = Layout(folder / "sandbox", first_port)
        self.database = database(self.processes, first_port + self.BEFORE_DATABASE, ("edp",))
        self._doors = {
            (node, door): first_port + 22 + 2 * node + number
            for node in NODES
            for number, door in enumerate(("public", "mutual_tls"))
        }

    def start(self) -> None:
        """Start everything. Raise CannotStart."""
        self.database.start()
        self._prepare()
        self._start_trust()
        for node in NODES:
            self._start_node(node)
        self._start_haproxy()
        for port in (self.layout.port("edp_public"), *self._doors.values()):
            self.processes.wait(f"port {port}", partial(self.ready, port))

    def _prepare(self) -> None:
        """Make certificates, keys and settings, and the tables with the sandbox's businesses."""
        self.layout.directory.mkdir()
        parties.prepare(self.layout, database_urls={"edp": self.database.url(1, "edp")})
        app = Flask("trial")
        store.init(app, self.database.url(1, "edp"))
        with app.app_context():
            migrate()
            with store.writing() as c:
                meters.add(c, *register_rows())
                now = clock.now()
                synthetic.fill(c, [meter for sme in SMES for meter in meters.of_sme(c, sme.name, now)], now)
            db.engine.dispose()

    def _start_trust(self) -> None:
        origin = self.layout.origin("trust")
        bind = f"127.0.0.1:{self.layout.port('trust')}"
        changes = {"public.origin": origin, "public.bind": bind, "issuer": origin}
        application = "consent_server.sandbox.trust_services:application()"
        where = {"SANDBOX_DIRECTORY": str(self.layout.directory), "SANDBOX_PORT": str(self.layout.base_port)}
        self._start_door("trust", "public", changes, where, application)

    def _start_node(self, node: int) -> None:
        """Start both doors and the worker of one node, on the pgbouncer beside them."""
        where = {"DATABASE_URL": self.database.url(node, "edp")}
        proxied = {"clients.arrival": "client-cert", "clients.proxies": [PROXY]}
        for (of, door), port in self._doors.items():
            if of == node:
                changes = {**proxied, f"{door}.bind": f"127.0.0.1:{port}", f"{door}.workers": 1}
                self._start_door(f"node{node}-{door}", door, changes, where)
        work = [sys.executable, "-m", "consent_server", "work", "--config", str(self.layout.settings("edp"))]
        self.processes.start(f"node{node}-work", work, where)

    def _start_door(
        self, name: str, door: str, changes: Mapping[str, object], where: dict[str, str], *application: str
    ) -> None:
        config = str(shipped("config") / "gunicorn.conf.py")
        environment = {
            "CONSENT_CONFIG": str(self.layout.settings("edp")),
            "CONSENT_DOOR": door,
            "CONSENT_SET": json.dumps(changes),
            **where,
        }
        self.processes.start(name, [sys.executable, "-m", "gunicorn", "--config", config, *application], environment)

    def _start_haproxy(self) -> None:
        folder = self.processes.own_folder("haproxy")
        chain, key = self.layout.server_certificate("chain"), self.layout.server_certificate("key")
        bundle = self.processes.write(folder / "bundle.pem", chain.read_text() + key.read_text())
        servers = {
            door: "\n".join(f"    server node{node} 127.0.0.1:{self._doors[node, door]}" for node in NODES)
            for door in ("public", "mutual_tls")
        }
        file = self.processes.fill(
            "haproxy-doors.cfg",
            folder / "haproxy.cfg",
            public=self.layout.port("edp_public"),
            members=self.layout.port("edp_mutual_tls"),
            public_nodes=servers["public"],
            member_nodes=servers["mutual_tls"],
            bundle=bundle,
            client_root=self.layout.authority / "client_root.pem",
            server_root=self.layout.authority / "server_root.pem",
            host=HOST,
            proxy=PROXY,
            unavailable=HERE / "unavailable.http",
        )
        self.processes.start("haproxy-doors", [program("haproxy"), "-db", "-f", str(file)])

    def ready(self, port: int) -> bool:
        """Return whether what listens on a port says that it is ready."""
        context = ssl.create_default_context(cafile=str(self.layout.authority / "server_root.pem"))
        context.load_cert_chain(self.layout.certificate("watcher", "chain"), self.layout.certificate("watcher", "key"))
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(f"https://{HOST}:{port}/ready", timeout=3) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def main() -> int:
    """Run a trial until a signal stops it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-port", type=int, default=9440, help=f"the first of {Trial.PORTS} free ports")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    folder = Path(tempfile.mkdtemp(prefix="consent-server-ha-"))
    trial = Trial(folder, arguments.base_port)
    try:
        trial.start()
        print(f"ready; everything is under {folder}, with a log of each program in logs/")
        print(f"  pages     {trial.layout.origin('edp_public')}/manage")
        print(f"  members   {trial.layout.origin('edp_mutual_tls')}")
        print(f"  database  patronictl -c {folder}/pg1/patroni.yml list", flush=True)
        while not stop.wait(1):
            trial.processes.check()
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        trial.processes.stop()
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
