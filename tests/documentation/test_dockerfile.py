"""The Dockerfile's promises that can be read, and its health check run against real doors."""

import re
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout
from scripts import healthcheck

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PINNED = re.compile(r"^ARG BASE=python:\S+-slim-\w+@sha256:[0-9a-f]{64}$", re.MULTILINE)


def test_the_image_is_small_locked_and_not_roots() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert len(PINNED.findall(DOCKERFILE)) == DOCKERFILE.count("ARG ") == 1
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "pip install" not in last
    for instruction in ("ENTRYPOINT", "CMD"):
        forms = re.findall(rf"^\s*{instruction} (.*)", last, re.MULTILINE)
        assert forms
        assert all(form.startswith("[") for form in forms)


def test_the_guide_renews_the_digest_of_the_base(tmp_path: Path) -> None:
    renews = re.search(r"^sed -i .* Dockerfile$", (ROOT / "docs/operator.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert renews is not None
    copy, digest = tmp_path / "Dockerfile", "sha256:" + "0" * 64
    copy.write_text(DOCKERFILE, encoding="utf-8")
    named = {"BASE": "python:3.11-slim-bookworm", "DIGEST": digest}
    subprocess.run(["sh", "-c", renews[0]], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", **named}, check=True)
    assert PINNED.findall(copy.read_text(encoding="utf-8")) == [f"ARG BASE={named['BASE']}@{digest}"]


def test_every_installation_asks_for_hashes_or_is_our_own_wheel() -> None:
    for line in re.findall(r"pip install [^\n\\]*", DOCKERFILE):
        assert "--require-hashes" in line or "--no-index" in line, line


def test_the_build_backend_is_locked_whole() -> None:
    """The pattern in the Dockerfile picks, from the development lock, the backend and everything that it needs."""
    pattern = re.search(r"awk '(.*)' requirements/dev.lock", DOCKERFILE)
    assert pattern is not None
    lock = ROOT / "requirements/dev.lock"
    picked = subprocess.run(["awk", pattern[1], str(lock)], check=True, capture_output=True, text=True).stdout
    names = set(re.findall(r"^([a-z0-9.-]+)==", picked, re.MULTILINE))
    entries = re.split(r"\n(?=[a-z])", lock.read_text(encoding="utf-8"))
    needed = {entry.split("==")[0] for entry in entries if re.search(r"# +(via )?hatchling$", entry, re.MULTILINE)}
    assert names == needed | {"hatchling"}


def test_what_is_copied_is_let_into_the_build_and_secrets_are_not() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for source in sources.split()
    }
    assert copied == allowed
    assert lines[1] == "*"
    assert {"**/*.key", "**/*.pem", "config/keys"} <= set(lines)


class Door(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None: ...


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("health") / "box", 18640)
    parties.prepare(layout)
    return layout


@pytest.mark.parametrize(("status", "expected"), [(200, True), (503, False)])
@pytest.mark.parametrize("door", ["public", "mutual_tls"])
def test_a_door_is_asked_as_its_settings_say(box: Layout, door: str, status: int, expected: bool) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (Door,), {"status": status}))
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(box.server_certificate("chain"), box.server_certificate("key"))
    if door == "mutual_tls":
        context.load_verify_locations(box.authority / "client_root.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "CONSENT_CONFIG": str(box.settings("edp")),
        "CONSENT_DOOR": door,
        "CONSENT_SET": f'{{"{door}.bind": "0.0.0.0:{server.server_address[1]}"}}',
    }
    try:
        assert healthcheck.healthy(environment) is expected
    finally:
        server.shutdown()
        server.server_close()


def test_nobody_there_is_not_well_and_the_worker_opens_nothing(box: Layout) -> None:
    environment = {"CONSENT_CONFIG": str(box.settings("edp"))}
    assert healthcheck.healthy(environment)
    with pytest.raises(OSError, match="refused"):
        healthcheck.healthy({**environment, "CONSENT_DOOR": "public", "CONSENT_SET": '{"public.bind": "0.0.0.0:1"}'})
