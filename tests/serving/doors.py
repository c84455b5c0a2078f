"""One door as gunicorn opens it: config/gunicorn.conf.py, real TLS on loopback, and a tiny application in place of ours."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from tests.caller.certificates import DIRECTORY
from tests.conftest import free_ports
from tests.waiting import until

ROOT = Path(__file__).parents[2]


SETTINGS = """
environment = "sandbox"
party = "edp"
issuer = "https://localhost:{port}"
[member]
url = "{directory}/m/edp-member"
application = "{directory}/a/edp"
[public]
origin = "https://localhost:{port}"
bind = "127.0.0.1:{port}"
certificate = "{certificate}"
key = "{key}"
workers = 1
[mutual_tls]
origin = "https://127.0.0.1:{port}"
bind = "127.0.0.1:{port}"
certificate = "{certificate}"
key = "{key}"
workers = 1
[clients]
root = "{root}"
[revocation_list]
[scheme]
registry = "https://localhost:8440/registry"
directory = "{directory}"
trust_framework = "https://localhost:8440/registry/trust-framework"
edp_roles = ["https://localhost:8440/registry/role/edp"]
cap_roles = ["https://localhost:8440/registry/role/cap"]
fsp_roles = ["https://localhost:8440/registry/role/fsp"]
consumption_standard = "https://localhost:8440/registry/standard/consumption"
emissions_standard = "https://localhost:8440/registry/standard/emissions"
[[scheme.licenses]]
url = "https://localhost:8440/registry/license/one"
label = "one"
text_sha256 = "{digest}"
fuels = ["electricity"]
[database]
url = "sqlite:///{here}/unused.sqlite"
[keys]
tokens = "keys"
refresh = "keys"
sealing = "keys"
client_certificate = "keys"
client_key = "keys"
signing_certificate = "keys"
signing_key = "keys"
signing_root = "keys"
[lifetimes]
[tokens]
[metadata]
[limits]
[metering]
[collection]
[mail]
[jobs]
[sandbox]
"""

# What the tests see of a request: the certificate as our own code finds it, and whether the TLS context is the one.
TINY_APP = """
import hashlib
import json
import time

from werkzeug.exceptions import HTTPException

from consent_server.caller.arrival import from_socket
from consent_server.web import tally

def app(environ, start_response):
    try:
        return answer(environ, start_response)
    except HTTPException as refused:
        return refused(environ, start_response)

def answer(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        open("slow", "w").close()
        time.sleep(1)
    how = {"/unread": [0], "/at-once": [65536]}.get(environ["PATH_INFO"], [])
    body = environ["wsgi.input"].read(*how)
    arrival = from_socket(environ["gunicorn.socket"])
    found = {
        "leaf": arrival and hashlib.sha256(arrival.leaf).hexdigest(),
        "intermediates": arrival and [hashlib.sha256(der).hexdigest() for der in arrival.intermediates],
        "context": id(environ["gunicorn.socket"].context),
        "version": environ["gunicorn.socket"].version(),
        "reused": environ["gunicorn.socket"].session_reused,
        "headers": {name: value for name, value in environ.items() if name.startswith("HTTP_")},
        "scheme": environ["wsgi.url_scheme"],
        "body": len(body),
    }
    found["padding"] = "x" * (9_000_000 if environ["PATH_INFO"] == "/large" else 0)
    body = json.dumps(found).encode()
    if environ["PATH_INFO"] == "/breaks":
        start_response("200 OK", [("Content-Length", "100")])
        return map(bytes, [4, "a fault"])
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]

class App:
    wsgi_app, extensions = staticmethod(app), {}

    def __call__(self, *given):
        return self.wsgi_app(*given)

app = App()
tally.install(app)
"""


class Door:
    """A real gunicorn under config/gunicorn.conf.py, with a tiny application in place of ours."""

    def __init__(self, certificates, directory, door, *, overrides=None, listening=None, port=None, output=None):
        """`listening` is a socket that is handed over as systemd does it, instead of one that gunicorn opens; `output` is a
        file descriptor for its lines, instead of the file `log`."""
        self.certificates = certificates
        self.port = port or (listening.getsockname()[1] if listening else free_ports(1))
        self.config = config = directory / "edp.toml"
        config.write_text(
            SETTINGS.format(
                port=self.port,
                directory=DIRECTORY,
                certificate=certificates.server.chain,
                key=certificates.server.key,
                root=certificates.authority.client_root,
                here=directory,
                digest="ab" * 32,
            )
        )
        if door == "mutual_tls":
            overrides = {"public.origin": "https://localhost:1", "issuer": "https://localhost:1"} | (overrides or {})
        else:
            overrides = {"mutual_tls.origin": "https://localhost:1"} | (overrides or {})
        (directory / "tiny.py").write_text(TINY_APP)
        self.log = directory / "log"
        environment = {
            **os.environ,
            "CONSENT_CONFIG": str(config),
            "CONSENT_DOOR": door,
            "CONSENT_SET": json.dumps(overrides),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}",
        }
        command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "config/gunicorn.conf.py"), "tiny:app"]
        handed_over = {}
        if listening:
            command = ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", *command]
            handed_over = {"preexec_fn": lambda: os.dup2(listening.fileno(), 3), "pass_fds": (3,)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=output or log, stderr=output or log, cwd=directory, **handed_over
            )
        if output is None:
            self._until_it_listens()

    def _until_it_listens(self):
        end = time.monotonic() + 60  # on a machine that others use, too
        while self.process.poll() is None and time.monotonic() < end:
            if "Booting worker" in self.log.read_text():
                return
            time.sleep(0.05)
        self.process.kill()  # no fixture has it yet that would stop it
        raise AssertionError(self.log.read_text())

    def lines(self, event, path=None):
        """The lines of an event; of requests for `path` alone: the line of a request is written after its answer."""
        # up to the last newline: a line may be half written
        whole = self.log.read_text().rpartition("\n")[0]
        found = [line for line in map(json.loads, whole.splitlines()) if line["event"] == event]
        return [line for line in found if path in (None, line.get("path"))]

    def wait_for_lines(self, event, count, path=None):
        until(lambda: len(self.lines(event, path)) >= count, f"no {count} lines of {event}")
        return self.lines(event, path)

    def connect(self, certificate=None, key=None, *, newest=ssl.TLSVersion.TLSv1_3, keylog=None, over=None):
        """`over` is a connection that has done no handshake yet, in the place of a new one."""
        context = ssl.create_default_context(cafile=self.certificates.authority.server_root)
        if keylog:
            context.keylog_filename = str(keylog)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = newest
        if certificate:
            context.load_cert_chain(certificate, key)
        raw = over or socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return context.wrap_socket(raw, server_hostname="localhost")

    def stop(self):
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.monotonic() - started
