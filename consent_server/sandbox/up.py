"""Start a sandbox: prepare its files, start its processes, connect its first SME, and walk the path when asked to."""

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import click
import httpx
from flask import Flask

from consent_server import clock, shipped, store
from consent_server.sandbox import databases, parties, synthetic
from consent_server.sandbox.layout import PORTS, Layout
from consent_server.sandbox.revocation import watcher
from consent_server.sandbox.smes import SMES, register_rows
from consent_server.sandbox.supervisor import ChildDied, Supervisor
from consent_server.sandbox.walk import connect_first, walk
from consent_server.settings import BadSettings, Settings, load
from consent_server.store import accounts, meters
from consent_server.store.schema import migrate
from consent_server.store.tables.accounts import SmeAccount

READY_WITHIN_S = 90
DOORS = {
    "edp_public": ("edp", "public"),
    "edp_mutual_tls": ("edp", "mutual_tls"),
    "cap_public": ("cap", "public"),
    "cap_mutual_tls": ("cap", "mutual_tls"),
}


class NotReady(Exception):
    """The sandbox did not come up in time; the message says which part."""


def up(
    directory: Path,
    base_port: int,
    *,
    walk: bool,
    once: bool,
    keep: bool,
    database_url: str | None,
    overrides: Mapping[str, str],
) -> int:
    """Run a sandbox until a signal stops it, or until its walk is over; return the exit status."""
    stop = threading.Event()

    def told_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told_to_stop)
    layout = Layout(directory, base_port)
    supervisor = Supervisor(layout.directory / "logs")
    try:
        _require_free_ports(layout)
        _prepare(layout, keep=keep, database_url=database_url, overrides=overrides)
        _start(layout, supervisor)
        _wait(supervisor, stop, "the doors", lambda: _all_ready(layout))
        connect_first(layout)
        layout.ready.touch()
        click.echo(_addresses(layout))
        click.echo("ready")
        if walk and not _walked(layout):
            return 1
        if not once:
            _stay(supervisor, stop)
    except (ChildDied, NotReady, BadSettings, ValueError) as error:
        click.echo(f"the sandbox cannot go on: {error}", err=True)
        return 1
    finally:
        layout.ready.unlink(missing_ok=True)
        supervisor.stop()
    return 0


def _require_free_ports(layout: Layout) -> None:
    """Raise ValueError, with what to do, when something else listens on a port of this sandbox."""
    for service in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", layout.port(service)))
            except OSError:
                raise ValueError(
                    f"port {layout.port(service)} is taken; choose another first port, with --base-port or `make demo PORT=…`"
                ) from None


def _walked(layout: Layout) -> bool:
    try:
        walk(layout, click.echo)
    except AssertionError as failure:
        click.echo(f"the walk failed: {failure}", err=True)
        return False
    return True


def _prepare(layout: Layout, *, keep: bool, database_url: str | None, overrides: Mapping[str, str]) -> None:
    if keep and layout.manifest.exists():
        return
    if layout.directory.exists():
        if any(layout.directory.iterdir()) and not layout.authority.exists():
            raise ValueError(
                f"{layout.directory} holds something else than a sandbox; name another directory with --dir"
            )
        shutil.rmtree(layout.directory)
    layout.directory.mkdir(parents=True)
    urls = databases.schemas(database_url, layout.base_port) if database_url else {}
    parties.prepare(layout, database_urls=urls, overrides=overrides)
    for party, fill in (("edp", _fill_register), ("cap", _fill_accounts)):
        settings = load(layout.settings(party))
        app = Flask(f"sandbox-{party}")
        store.init(app, settings.database.url, settings.database.withdrawal_journal)
        with app.app_context():
            migrate()
            fill(settings)
            store.database.db.engine.dispose()


def _fill_register(settings: Settings) -> None:
    """Add every SME that is in the register, with fourteen months of synthetic readings for each meter."""
    with store.writing() as c:
        meters.add(c, *register_rows())
        synthetic.fill(c, [meter for sme in SMES for meter in meters.of_sme(c, sme.name, clock.now())], clock.now())


def _fill_accounts(settings: Settings) -> None:
    with store.writing() as c:
        for sme in SMES:
            accounts.add(c, SmeAccount(f"account-{sme.name}", sme.email, sme.company, clock.now()))


def _start(layout: Layout, supervisor: Supervisor) -> None:
    gunicorn = ["-m", "gunicorn", "--config", str(shipped("config") / "gunicorn.conf.py")]

    def door(name: str, party: str, kind: str, application: str | None = None, **settings: str) -> None:
        environment = {
            "CONSENT_CONFIG": str(layout.settings(party)),
            "CONSENT_DOOR": kind,
            "CONSENT_SET": json.dumps(settings),
            "SANDBOX_DIRECTORY": str(layout.directory),
            "SANDBOX_PORT": str(layout.base_port),
        }
        supervisor.start(name, [*gunicorn, *([application] if application else [])], environment)

    origin = layout.origin("trust")
    bind = f"127.0.0.1:{layout.port('trust')}"
    door(
        "trust",
        "edp",
        "public",
        "consent_server.sandbox.trust_services:application()",
        **{"public.origin": origin, "public.bind": bind, "issuer": origin},
    )
    for name, (party, kind) in DOORS.items():
        door(name, party, kind, "consent_server.sandbox.client_scenarios.door:application()")
    door("fsp_public", "fsp", "public", "consent_server.sandbox.bank:application()")
    door("fsp_mutual_tls", "fsp", "mutual_tls", "consent_server.sandbox.bank:application()")
    for party in ("edp", "cap"):
        work = ["-m", "consent_server", "work", "--config", str(layout.settings(party))]
        supervisor.start(f"{party}_work", work, {})


def _all_ready(layout: Layout) -> list[str]:
    """Return the services whose /ready does not return 200 yet."""
    waiting = []
    with watcher(layout) as client:
        for name in ("trust", *DOORS, "fsp_public", "fsp_mutual_tls"):
            try:
                answer = client.get(f"{layout.origin(name)}/ready")
            except httpx.HTTPError as error:
                waiting.append(f"{name} ({type(error).__name__})")
                continue
            if answer.status_code != 200:
                waiting.append(f"{name} ({answer.status_code}: {answer.text[:120]})")
    return waiting


def _wait(supervisor: Supervisor, stop: threading.Event, what: str, waiting: Callable[[], list[str]]) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while left := waiting():
        supervisor.check()
        if stop.is_set():
            raise NotReady("told to stop")
        if time.monotonic() > until:
            raise NotReady(f"{what} were not ready within {READY_WITHIN_S} seconds: {', '.join(left)}")
        stop.wait(0.3)


def _stay(supervisor: Supervisor, stop: threading.Event) -> None:
    while not stop.wait(1.0):
        supervisor.check()


def _addresses(layout: Layout) -> str:
    """Return the addresses that a person opens first."""
    lines = [
        ("Sandbox: clock, scenarios, mail, certificates", layout.control),
        ("Bank: start here as an SME", layout.origin("fsp_public")),
        ("Carbon accounting provider's portal", layout.origin("cap_public")),
        ("Energy data provider: manage permissions", f"{layout.origin('edp_public')}/manage"),
        ("Everything that a program needs", str(layout.manifest)),
    ]
    return "\n".join(f"  {about:48} {address}" for about, address in lines)
