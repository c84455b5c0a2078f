"""docs/operator.md walked: a provider from an empty folder to its end, by the guide's commands, beside a sandbox's Directory.

Its folders are a temporary one's in place of the machine's. What the walk leaves out: the locked requirements
(tests/documentation/test_dockerfile.py installs them), PostgreSQL, and another version of the program.
"""

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest
from cryptography import x509
from flask import Flask
from werkzeug.serving import make_server

from consent_server import clock, store
from consent_server.cli import main
from consent_server.sandbox import parties, trust_services
from consent_server.sandbox.authority import Authority
from consent_server.sandbox.browser import Browser, follow
from consent_server.sandbox.client import Client
from consent_server.sandbox.layout import HOST, Layout
from consent_server.store.database import db
from consent_server.store.schema import migrate
from tests.conftest import free_ports, program

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/operator.md").read_text(encoding="utf-8")
LOADING = (ROOT / "docs/metering.md").read_text(encoding="utf-8").split("\n## Loading our own tables\n")[1]

#: The business of docs/metering.md, as a browser at the journey's pages.
JOURNEY = [
    {
        "path": "/journey/identify",
        "click": "continue",
        "check": [],
        "fill": {"postcode": "SW8 1AA", "mpan": "1212345678902"},
    },
    {"path": "/journey/permission", "click": "allow", "check": ["agree"], "fill": {}},
]
CALLBACK = "https://client.example/callback"
#: Where the guide puts things, and where the walk does.
FOLDERS = {
    "/opt/consent-server": "opt",
    "/etc/consent-server": "etc",
    "/var/lib/consent-server": "var",
    "/srv/backup": "backup",
    "/srv/archive": "archive",
    "/usr/local/bin": "bin",
}


def blocks(heading: str) -> list[str]:
    """The commands of one section of the guide, block by block."""
    section = GUIDE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [textwrap.dedent(block) for block in re.findall(r"^ *```\n(.*?)^ *```$", section, re.DOTALL | re.MULTILINE)]


def typed() -> list[str]:
    """Each command of ours that stands in a block of the guide."""
    text = "\n".join(block for heading in re.findall(r"^## (.*)$", GUIDE, re.MULTILINE) for block in blocks(heading))
    return re.findall(r"consent-server ((?:[a-z]+ ).*?)\)?$", text, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(typed())))
def test_a_command_of_the_guide_has_arguments_that_we_take(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*shlex.split(command), "--help"])
    assert ended.value.code == 0, capsys.readouterr().err


class Operator:
    """A person at a shell, with the guide, and a folder in place of the machine's own."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder, self.layout = folder, layout
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in FOLDERS.values():
            (folder / name).mkdir()
        self.config = folder / "etc/edp.toml"

    def here(self, text: str) -> str:
        for named, ours in FOLDERS.items():
            text = text.replace(named, str(self.folder / ours))
        return text

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "DATABASE_URL"}}
        return {**kept, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", **more}

    def run(self, commands: str, status: int = 0, **more: str) -> str:
        """Run a block of the guide as it stands, in the folder of the settings."""
        done = subprocess.run(
            ["sh", "-e", "-c", self.here(commands)],
            cwd=self.config.parent,
            env=self.environment(**more),
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, f"{commands}{done.stdout}{done.stderr}"
        return done.stdout

    def install(self) -> None:
        """Section "Install". The locked requirements are borrowed from this environment."""
        made, locked, wheel = blocks("Install")[0].splitlines()
        assert "--require-hashes" in locked
        build = re.search(r"`python (-m hatchling build -t wheel) -d \.`", GUIDE)
        assert build is not None
        command = [sys.executable, *build[1].split(), "-d", str(self.folder / "etc")]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        self.run(made.replace("python3.11", sys.executable))
        scheme = {"base": str(self.folder / "opt"), "platbase": str(self.folder / "opt")}
        site = Path(sysconfig.get_path("purelib", "venv", scheme))
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.run(wheel)
        useradd, *places = blocks("Install")[1].splitlines()
        assert useradd.startswith("useradd ")
        self.run("\n".join(places).replace(" -o consent -g consent", "").replace("config/", f"{ROOT}/config/"))

    def configure(self) -> None:
        """config/edp.toml, filled in: only what says example, what is loopback's own, and SQLite for PostgreSQL."""
        settings = tomllib.loads(self.config.read_text(encoding="utf-8"))
        ours = parties.settings_for(self.layout, "edp")
        settings |= {"environment": "sandbox", "issuer": ours["issuer"], "catalogue": ours["catalogue"]}
        for section in ("member", "scheme", "public", "mutual_tls"):
            names = (
                {"url", "application", "data_service", "origin", "bind"} if section != "scheme" else set(ours[section])
            )
            settings[section] |= {name: ours[section][name] for name in names & set(ours[section])}
        settings["revocation_list"]["source"] = self.layout.revocation_list_url
        settings["database"]["url"] = self.here("sqlite:////var/lib/consent-server/edp.sqlite")
        settings["database"]["withdrawal_journal"] = self.here(settings["database"]["withdrawal_journal"])
        settings["public"]["workers"] = settings["mutual_tls"]["workers"] = 1
        settings["keys"]["server_roots"] = "certificates/server-roots.pem"
        self.config.write_text(parties.to_toml(settings), encoding="utf-8")
        self.place_certificates()
        for name, text in re.findall(r"^`(\w+\.csv)`:\n\n```csv\n(.*?)```", LOADING, re.DOTALL | re.MULTILINE):
            (self.config.parent / name).write_text(text, encoding="utf-8")

    def place_certificates(self) -> None:
        """The table of section "Certificates": each file of config/edp.toml from who issues it."""
        layout, folder = self.layout, self.config.parent / "certificates"
        folder.mkdir(exist_ok=True)
        for name, source in {
            "public.key": layout.server_certificate("key"),
            "public.pem": layout.server_certificate("chain"),
            "mutual-tls.key": layout.server_certificate("key"),
            "mutual-tls.pem": layout.server_certificate("chain"),
            "client.key": layout.certificate("edp_service", "key"),
            "client.pem": layout.certificate("edp_service", "chain"),
            "signing.key": layout.signing_certificate("edp_service", "key"),
            "signing.pem": layout.signing_certificate("edp_service", "chain"),
            "client-root.pem": layout.authority / "client_root.pem",
            "client-issuers.pem": layout.authority / "client_issuer.pem",
            "signing-root.pem": layout.authority / "signing_root.pem",
            "server-roots.pem": layout.authority / "server_root.pem",
        }.items():
            shutil.copy(source, folder / name)

    def start(self) -> None:
        """The three commands of the table in "What runs"."""
        for command in re.findall(r"^\|[^|]*\| `consent-server (serve --door \w+|work)` \|", GUIDE, re.MULTILINE):
            log = (self.folder / f"{command.split()[-1]}.log").open("ab")
            self.processes[command.split()[-1]] = subprocess.Popen(
                [str(self.folder / "opt/bin/consent-server"), *command.split()],
                env=self.environment(CONSENT_CONFIG=str(self.config)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            log.close()
        assert set(self.processes) == {"public", "mutual_tls", "work"}
        for door in ("public", "mutual_tls"):
            self.until(partial(self.ready, door), f"{door} is ready")

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.processes.clear()

    def until(self, there: Callable[[], object], what: str, within_s: float = 60) -> None:
        end = time.monotonic() + within_s
        while not there():
            for name, process in self.processes.items():
                assert process.poll() is None, (self.folder / f"{name}.log").read_text()
            assert time.monotonic() < end, f"not within {within_s} s: {what}"
            time.sleep(0.2)

    def ready(self, door: str) -> bool:
        try:
            return self.client("cap2").http.get(f"{self.layout.origin(f'edp_{door}')}/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def peer(self, door: str) -> int:
        """The serial number of the certificate that an open door shows."""
        shown = ssl.get_server_certificate((HOST, self.layout.port(f"edp_{door}")))
        return x509.load_pem_x509_certificate(shown.encode()).serial_number

    def client(self, name: str) -> Client:
        manifest = json.loads(self.layout.manifest.read_text(encoding="utf-8"))
        return Client(manifest["clients"][name], manifest["trust"]["server_ca"])

    def granted(self, name: str) -> tuple[Client, str]:
        """A grant of the business to a client, redeemed: the client and its refresh token."""
        client = self.client(name)
        client.discover(self.layout.issuer("edp"))
        request = client.push(self.layout.license("electricity"), CALLBACK)
        browser = Browser(self.layout.authority / "server_root.pem")
        try:
            callback = follow(browser, browser.open(request.url), JOURNEY).url
        finally:
            browser.close()
        answer = client.redeem(request, client.code(request, callback))
        assert answer.status_code == 200, answer.text
        return client, str(answer.json()["refresh_token"])


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """An operator with nothing, a member of a trust framework that runs."""
    program("sqlite3")
    layout = Layout(tmp_path / "box", free_ports())
    parties.prepare(layout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(layout.server_certificate("chain"), layout.server_certificate("key"))
    app = trust_services.create_app(layout.directory, layout.base_port)
    server = make_server("127.0.0.1", layout.port("trust"), app, threaded=True, ssl_context=context)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    person = Operator(tmp_path, layout)
    try:
        yield person
    finally:
        person.stop()
        server.shutdown()
        clock.step_by(int)


def walk_to_the_first_grant(operator: Operator) -> dict[str, tuple[Client, str]]:
    """From nothing to what two clients hold, by permission."""
    operator.install()
    operator.configure()
    made = operator.run(blocks("Keys")[0])
    assert {"tokens", "refresh", "sealing"} <= {path.name for path in (operator.config.parent / "keys").iterdir()}, made
    assert "up to date" in operator.run(blocks("Database")[0])
    for command in re.findall(r"^\$ (consent-server (?:meters|readings) load .*)$", LOADING, re.MULTILINE):
        operator.run(command, status=3 if "readings" in command else 0)  # one of the page's values is no reading
    operator.start()
    assert "FAIL" not in operator.run(next(iter(blocks("Before going live, and every week: the doctor"))))

    tail, living, show = blocks("The first grant")[0].splitlines()
    clients = [operator.granted(name) for name in ("cap2", "cap_fsp")]
    events = [json.loads(line) for line in operator.run(tail).splitlines()]
    assert [event["client_id"] for event in events] == [client.client_id for client, _ in clients]
    held = dict(zip([event["permission"] for event in events], clients, strict=True))
    assert operator.run(living).split() == list(held)
    shown = json.loads(operator.run(show.replace("PERMISSION", f"'{next(iter(held))}'")))
    assert shown["state"] == "granted"
    return held


def walk_on_keys_and_certificates(operator: Operator, client: Client) -> None:
    """A signing key is rotated, and certificates are renewed, under running doors."""
    lists, rotates, retires = blocks("Keys")[1].splitlines()
    ((kid, _),) = signing_keys(operator, lists)
    operator.run(rotates)
    ((kept, in_use), (_, following)) = signing_keys(operator, lists)
    assert (kept, in_use, following) == (kid, "in use", "next")
    assert len(client.http.get(client.metadata["jwks_uri"]).json()["keys"]) == 2
    operator.run(retires.replace("KID", f"'{kid}'"), status=1)

    before = {door: operator.peer(door) for door in ("public", "mutual_tls")}
    Authority(operator.layout.authority).server()
    operator.place_certificates()
    for door in before:
        operator.run(blocks("Restart and reload")[0].replace("PID", str(operator.processes[door].pid)))
    (new,) = {serial_of(operator.config.parent / f"certificates/{name}.pem") for name in ("public", "mutual-tls")}
    operator.until(lambda: {operator.peer(door) for door in before} == {new}, "both doors show the new certificate")
    assert new not in before.values()


def serial_of(file: Path) -> int:
    return x509.load_pem_x509_certificate(file.read_bytes()).serial_number


def signing_keys(operator: Operator, lists: str) -> list[tuple[str, str]]:
    rows = [line.split("\t") for line in operator.run(lists).splitlines()]
    return [(name, state) for kind, name, state, *_ in rows if kind == "signing"]


def walk_through_a_restore(operator: Operator, held: dict[str, tuple[Client, str]]) -> str:
    """What was withdrawn after the back-up stays withdrawn after it was restored. Return the permission that lives on."""
    back_up, restore = blocks("Back-up and restore")
    _, withdraws, _ = blocks("An SME that asks by telephone")[0].splitlines()
    gone, lives_on = held
    operator.run(back_up)
    operator.run(f"yes | {withdraws.replace('PERMISSION', repr(gone))}")
    operator.stop()
    (operator.config.parent / "keys").rename(operator.folder / "lost")
    said = operator.run(restore)
    assert "Ended: 1. Had ended: 0. Not in the back-up: 0." in said
    operator.start()
    statuses = [client.refresh(token).status_code for client, token in held.values()]
    assert statuses == [400, 200]
    return lives_on


def walk_through_an_upgrade(operator: Operator) -> None:
    """An older schema is brought up to date, and a newer one left as it is: what one goes back to."""
    older = operator.folder / "var/older.sqlite"
    app = Flask("older")
    store.init(app, f"sqlite:///{older}")
    with app.app_context():
        migrate("0010")
        db.engine.dispose()
    url = {"CONSENT_DATABASE__URL": f"sqlite:///{older}"}
    assert "is up to date" in operator.run(blocks("Upgrade")[0], **url)
    with sqlite3.connect(older) as c:
        assert c.execute("SELECT version_num FROM alembic_version").fetchone() != ("0010",)
        c.execute("UPDATE alembic_version SET version_num = '9999'")
    c.close()
    assert "newer version" in operator.run(blocks("Upgrade")[0], **url)


def walk_to_the_end(operator: Operator, lives_on: str) -> None:
    withdraw, told, export, delete = blocks("Decommission")
    assert operator.run(withdraw).splitlines() == [lives_on, f"To be withdrawn: {lives_on}", f"Withdrawn: {lives_on}"]
    operator.until(lambda: operator.run(told) == "", "every client was told")
    operator.until(lambda: sealed(operator), "every event has its place")
    operator.run(export)
    operator.stop()
    operator.run(delete)
    archive = operator.folder / "archive"
    records = {name for name in ZipFile(archive / "edp.zip").namelist() if name.endswith("/record.json")}
    assert len(records) == 2
    assert (archive / "checkpoints.jsonl").read_text().count("\n") == 2, (
        "the first events', and what was signed at the end"
    )
    left = {path.relative_to(operator.folder / "etc") for path in (operator.folder / "etc").rglob("*.pem")}
    assert not left
    assert not list((operator.folder / "var").glob("edp*"))
    told_of = (json.loads(line) for line in operator.layout.messages.read_text().splitlines())
    assert len(list(told_of)) == 2


def sealed(operator: Operator) -> bool:
    with sqlite3.connect(operator.folder / "var/edp.sqlite") as c:
        (waiting,) = c.execute("SELECT count(*) FROM audit_event WHERE position IS NULL").fetchone()
    c.close()
    return bool(waiting == 0)


@pytest.mark.long
def test_the_guide_is_walked(operator: Operator) -> None:
    held = walk_to_the_first_grant(operator)
    walk_on_keys_and_certificates(operator, next(iter(held.values()))[0])
    lives_on = walk_through_a_restore(operator, held)
    walk_through_an_upgrade(operator)
    walk_to_the_end(operator, lives_on)
