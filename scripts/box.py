"""A sandbox of one's own for as long as a script needs it: its own directory, its own ports."""

import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consent_server.sandbox.layout import Layout

SERVICES = 7


@contextmanager
def running() -> Iterator[Layout]:
    """Start a sandbox, wait until it says `ready`, and stop it afterwards. Raises RuntimeError when it does not come up."""
    with tempfile.TemporaryDirectory(prefix="consent-server-") as folder:
        layout = Layout(Path(folder) / "box", _free_ports())
        command = [sys.executable, "-m", "consent_server", "sandbox", "up"]
        place = ["--dir", str(layout.directory), "--base-port", str(layout.base_port)]
        with subprocess.Popen([*command, *place], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                if not any(line.strip() == "ready" for line in process.stdout):
                    raise RuntimeError("the sandbox did not come up: its reason is above")
                yield layout
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(20)


def _free_ports() -> int:
    """The first of seven ports in a row that nobody listens on."""
    for first in range(8440, 20000, 10):
        probes = []
        try:
            for port in range(first, first + SERVICES):
                probes.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        else:
            return first
        finally:
            for probe in probes:
                probe.close()
    raise RuntimeError("no seven free ports in a row")
