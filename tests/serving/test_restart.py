"""Restart and SIGHUP under load: what a client that was let in is owed, with one node and with two behind nginx."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path

import pytest

from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout
from consent_server.settings import load
from tests.conftest import free_ports, program
from tests.refusals import fronts
from tests.serving.doors import ROOT, Door
from tests.waiting import until

PUBLIC = "auth.edp.example.org"


class Load:
    """Clients that ask again and again, a connection for each request, until stopped; every second one posts."""

    def __init__(self, certificates, port, clients=4, name="localhost"):
        self.answered, self.failed = 0, []
        self._context = ssl.create_default_context(cafile=certificates.authority.server_root)
        self._port, self._name = port, name
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        self._lock = threading.Lock()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count=5):
        """Wait until that many more requests have been answered: whoever answers now is up."""
        enough = self.answered + count
        until(lambda: self.answered >= enough, "no more requests are answered")

    def _ask(self):
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                status = self._once(b"x" * 100 if number % 2 else b"")
            except (OSError, ValueError) as error:
                status = repr(error)
            with self._lock:
                if status == 200:
                    self.answered += 1
                else:
                    self.failed.append(status)
            time.sleep(0.01)

    def _once(self, body):
        method = "POST" if body else "GET"
        head = f"{method} / HTTP/1.1\r\nHost: {self._name}\r\nContent-Length: {len(body)}\r\n\r\n"
        with (
            socket.create_connection(("127.0.0.1", self._port), timeout=60) as raw,
            self._context.wrap_socket(raw, server_hostname=self._name) as connection,
        ):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(head.encode() + body)
            answer = HTTPResponse(connection)
            answer.begin()
            answer.read()
            return answer.status


def until_booted(door, workers):
    until(lambda: door.log.read_text().count("Booting worker") >= workers, f"no {workers} workers")


def test_sighup_loses_no_request(open_door, certificates):
    door = open_door("public")
    with Load(certificates, door.port) as load:
        for booted in (2, 3):
            load.more()
            door.process.send_signal(signal.SIGHUP)
            until_booted(door, booted)
            time.sleep(3)
    assert load.failed == []


def test_a_restart_with_the_socket_kept_refuses_nobody(open_door, certificates):
    """As under systemd's socket activation: who connects between the old process and the new one waits.

    systemd's socket is one of IPv6 that takes both, where an address of IPv4 has another form.
    """
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128) as listening:
        door = open_door("public", listening=listening)
        with Load(certificates, door.port) as load:
            for _ in range(2):
                load.more()
                door.stop()
                door = open_door("public", listening=listening)
            load.more()
        with pytest.raises(ssl.SSLError):
            door.connect(newest=ssl.TLSVersion.TLSv1_2)
        (refused,) = door.wait_for_lines("handshake_refused", 1)
    assert load.failed == []
    assert refused["address"] == "127.0.0.1"


def test_with_two_nodes_behind_nginx_a_restart_costs_no_request(open_door, certificates, tmp_path):
    command = [program("nginx"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"]
    nodes = [open_door("public"), open_door("public")]
    port = free_ports(1)
    text = (ROOT / "config" / "nginx.conf").read_text()
    server = certificates.authority.server(["localhost", PUBLIC])
    for there, here in {
        "listen 443": f"listen 127.0.0.1:{port}",
        "# server 192.0.2.2:8443": f"server 127.0.0.1:{nodes[1].port}",
        "server 127.0.0.1:8443": f"server 127.0.0.1:{nodes[0].port}",
        "/etc/consent-server/certificates/client-root.pem": str(certificates.authority.client_root),
        "/etc/consent-server/certificates/public.pem": str(server.chain),
        "/etc/consent-server/certificates/public.key": str(server.key),
        "/etc/consent-server/certificates/mutual-tls.pem": str(server.chain),
        "/etc/consent-server/certificates/mutual-tls.key": str(server.key),
        "/etc/ssl/certs/ca-certificates.crt": str(certificates.authority.server_root),
        "proxy_ssl_name $host": "proxy_ssl_name localhost",
        "/run/nginx.pid": str(tmp_path / "pid"),
        "/var/log/nginx": str(tmp_path),
    }.items():
        assert there in text, there
        text = text.replace(there, here)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    kept = "".join(f"    {kind}_temp_path {tmp_path / kind};\n" for kind in kinds)
    (tmp_path / "nginx.conf").write_text(text.replace("http {\n", f"http {{\n{kept}", 1))
    nginx = subprocess.Popen(command)
    try:
        fronts.listening([(nginx, port, tmp_path / "error.log")])
        with Load(certificates, port, name=PUBLIC) as load:
            for node in (0, 1):
                load.more()
                old = nodes[node]
                old.stop()
                load.more()
                nodes[node] = open_door("public", port=old.port)
                while not nodes[node].lines("request"):  # docs/operator.md: until nginx asks it again
                    load.more()
    finally:
        nginx.terminate()
        nginx.wait(60)
    assert load.failed == []


BAD = {
    "not PEM": ("certificate", "no certificate at all"),
    "another's key": ("key", None),
    "gone": ("certificate", ""),
}


def spoil(certificates, tmp_path, which, content):
    path = tmp_path / f"spoilt.{which}"
    if content is None:
        path.touch(mode=0o600)
        path.write_bytes(Path(certificates.cap.key).read_bytes())
    elif content:
        path.write_text(content)
    return path


@pytest.mark.parametrize(("which", "content"), BAD.values(), ids=BAD.keys())
def test_a_bad_certificate_at_sighup_is_one_line_and_the_old_one_stays(
    open_door, certificates, tmp_path, which, content
):
    door = open_door("public")
    with Load(certificates, door.port, clients=2) as load:
        good = door.config.read_text()
        bad = spoil(certificates, tmp_path, which, content)
        current = certificates.server.chain if which == "certificate" else certificates.server.key
        door.config.write_text(good.replace(f'{which} = "{current}"', f'{which} = "{bad}"'))
        assert door.config.read_text() != good
        load.more()
        door.process.send_signal(signal.SIGHUP)
        refused = door.wait_for_lines("reload_refused", 1)
        load.more()
        # a worker that dies later finds no better file, and starts all the same
        line = next(line for line in reversed(door.lines("log")) if "Booting worker" in line["message"])
        subprocess.run(["kill", "-KILL", line["message"].rsplit(" ", 1)[1]], check=True)
        until_booted(door, 2)
        load.more()
    assert len(refused) == 1
    assert f"public.{which}" in refused[0]["message"]
    door.config.write_text(good)
    door.process.send_signal(signal.SIGHUP)
    until_booted(door, 3)
    assert len(door.lines("reload_refused")) == 1


@pytest.mark.parametrize(("which", "content"), BAD.values(), ids=BAD.keys())
def test_a_bad_certificate_stops_the_start_with_one_line(certificates, tmp_path, which, content):
    bad = spoil(certificates, tmp_path, which, content)
    with pytest.raises(AssertionError) as said:
        Door(certificates, tmp_path, "public", overrides={f"public.{which}": str(bad)})
    assert str(said.value).startswith("the door cannot open: public.")
    assert str(bad) in str(said.value)
    assert str(said.value).strip().count("\n") == 0
    assert ("one of these" in str(said.value)) is (content != ""), "the file that is not there is named alone"


def test_settings_that_are_bad_at_sighup_change_nothing(open_door, certificates):
    door = open_door("public")
    good = door.config.read_text()
    named = {"party": ('party = "edp"', 'party = "nobody"'), "public.bind": (f':{door.port}"\ncert', ':1"\ncert')}
    with Load(certificates, door.port, clients=1) as load:
        for number, (there, here) in enumerate(named.values(), 1):
            door.config.write_text(good.replace(there, here, 1))
            assert door.config.read_text() != good
            load.more()
            door.process.send_signal(signal.SIGHUP)
            door.wait_for_lines("reload_refused", number)
            load.more()
    assert load.failed == []
    assert all(name in line["message"] for name, line in zip(named, door.lines("reload_refused"), strict=True))
    assert door.log.read_text().count("Booting worker") == 1


def test_a_key_with_which_no_worker_could_start_changes_nothing_at_sighup(tmp_path):
    """gunicorn ends the whole door when one worker cannot start. `serve --check` says so before, to systemd and to us."""
    layout = Layout(tmp_path / "box", free_ports())
    parties.prepare(layout)
    environment = {**os.environ, "CONSENT_CONFIG": str(layout.settings("edp"))}
    Path(load(layout.settings("edp")).database.url.removeprefix("sqlite:///")).touch()
    serve = [sys.executable, "-m", "consent_server", "serve", "--door", "public"]
    with (tmp_path / "log").open("wb") as log:
        door = subprocess.Popen(serve, env=environment, stdout=log, stderr=log)
    context = ssl.create_default_context(cafile=layout.authority / "server_root.pem")

    def health():
        connection = HTTPSConnection("localhost", layout.port("edp_public"), timeout=30, context=context)
        with closing(connection):
            connection.request("GET", "/health")
            return connection.getresponse().status

    try:
        until(lambda: "Booting worker" in (tmp_path / "log").read_text(), "no worker is started")
        assert health() == 200
        bad = layout.signing_certificate("edp_service", "chain")
        bad.write_text("no certificate at all")
        door.send_signal(signal.SIGHUP)
        until(lambda: "reload_refused" in (tmp_path / "log").read_text(), "the reload is not refused")
        written = (tmp_path / "log").read_text()
        assert "keys.signing_certificate" in written.splitlines()[-1]
        assert written.count("Booting worker") == 1
        assert health() == 200
    finally:
        door.terminate()
        door.wait(20)
