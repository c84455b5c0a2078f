"""Child processes of one sandbox: started, waited for, and stopped within ten seconds."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

STOP_S = 8


class ChildDied(Exception):
    """A process of the sandbox ended by itself; the message names it and shows the end of its log."""


@dataclass
class Supervisor:
    """Starts processes with their output in one log file each, under `logs`."""

    logs: Path
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _files: list[IO[Any]] = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a Python process (`python -m …`) in a process group of its own."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = (self.logs / f"{name}.log").open("ab")
        self._files.append(log)
        self.children[name] = subprocess.Popen(
            [sys.executable, *arguments],
            # DATABASE_URL would override every party's own database.
            env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | {**environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def check(self) -> None:
        """Raise ChildDied when one has ended."""
        for name, child in self.children.items():
            if child.poll() is not None:
                log = self.logs / f"{name}.log"
                end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
                raise ChildDied(f"{name} ended with status {child.returncode}; the end of {log}:\n{end}")

    def stop(self) -> None:
        """Send SIGTERM to every process, and SIGKILL to those that still run after STOP_S seconds."""
        for child in self.children.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_S
        for child in self.children.values():
            try:
                child.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        for file in self._files:
            file.close()
