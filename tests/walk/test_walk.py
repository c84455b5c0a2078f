"""The whole path, on both databases, started as its user starts it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunningSandbox, free_ports

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.xdist_group("sandbox")


def assert_the_whole_path_held(said: str, directory: Path) -> None:
    assert "The whole path holds." in said
    assert "Traceback" not in said
    for log in (directory / "logs").glob("*.log"):
        assert '"level":"error"' not in log.read_text(encoding="utf-8"), f"{log.name} has an error"


def test_the_whole_path_holds_on_postgresql(postgresql_server: str, tmp_path: Path) -> None:
    arguments = ["--base-port", str(free_ports()), "--dir", str(tmp_path / "sandbox"), "--walk", "--once"]
    done = subprocess.run(
        [sys.executable, "-m", "consent_server", "sandbox", "up", *arguments, "--database-url", postgresql_server],
        capture_output=True,
        text=True,
        timeout=170,
        env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert_the_whole_path_held(done.stdout + done.stderr, tmp_path / "sandbox")


def test_the_sandbox_says_ready_and_stops_when_told(sandbox: RunningSandbox) -> None:
    manifest = sandbox.manifest
    assert manifest["version"] == 1
    named = [value for client in manifest["clients"].values() for value in (client["certificate"], client["key"])]
    assert all(Path(name).is_absolute() and Path(name).exists() for name in named)
    assert sandbox.process.poll() is None


def test_two_sandboxes_run_side_by_side_walk_and_stop(sandbox: RunningSandbox, tmp_path: Path) -> None:
    other = RunningSandbox(tmp_path / "other", free_ports(), "--walk")
    try:
        other.wait_until_ready()
        assert other.manifest["issuers"] != sandbox.manifest["issuers"]
        other.wait_until_said("\nThe whole path holds.\n")
    finally:
        status = other.stop()
    assert status == 0
    assert_the_whole_path_held(other.said(), other.directory)
    assert not (tmp_path / "other" / "ready").exists()


@pytest.mark.long
def test_a_setting_can_be_changed_for_one_party(tmp_path: Path) -> None:
    other = RunningSandbox(tmp_path / "other", free_ports(), "--set", "edp.metadata.authorization_alias=false")
    try:
        other.wait_until_ready()
        from consent_server.sandbox.client import Client

        client = Client(other.manifest["clients"]["cap"], other.manifest["trust"]["server_ca"])
        aliases = client.discover(other.manifest["issuers"]["edp"])["mtls_endpoint_aliases"]
        assert "authorization_endpoint" not in aliases
        aliases = client.discover(other.manifest["issuers"]["cap"])["mtls_endpoint_aliases"]
        assert "authorization_endpoint" in aliases
    finally:
        other.stop()


def test_a_taken_port_is_one_sentence_and_make_moves_it(tmp_path: Path) -> None:
    first = free_ports()
    command = [sys.executable, "-m", "consent_server", "sandbox", "up", "--dir", str(tmp_path / "sandbox")]
    with socket.create_server(("127.0.0.1", first + 3)):
        done = subprocess.run([*command, "--base-port", str(first)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"the sandbox cannot go on: port {first + 3} is taken; "
        "choose another first port, with --base-port or `make demo PORT=…`\n"
    )
    assert not (tmp_path / "sandbox").exists()
    made = subprocess.run(
        ["make", "--dry-run", "demo", "PORT=9440"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--base-port 9440" in made.stdout


def test_a_wrong_setting_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "consent_server", "sandbox", "up", "--dir", str(tmp_path / "sandbox")]
    done = subprocess.run(
        [*command, "--base-port", str(free_ports()), "--set", "metadata.authorization_alias=false"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "edp.metadata.authorization_alias" in done.stderr
    assert "Traceback" not in done.stderr
