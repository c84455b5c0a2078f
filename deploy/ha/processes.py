"""Programs of one trial on loopback: each is started with a log of its own, and stopped before those that it needs."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Template

HERE = Path(__file__).parent
STOP_S = 20


class CannotStart(Exception):
    """A program is missing, ended by itself, or was not ready in time; the message says which, and what it said last."""


def program(name: str) -> str:
    """Return the path of a program. Raise CannotStart."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise CannotStart(f"this machine has no {name}")
    return found


class Processes:
    """Programs in the folder of a trial. Those of the database run as `user`: PostgreSQL does not run as root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = "postgres" if os.geteuid() == 0 else None
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        (folder / "logs").mkdir(exist_ok=True)

    def own_folder(self, name: str) -> Path:
        """Return a new folder that the database's user alone may open."""
        made = self.folder / name
        made.mkdir(mode=0o700, exist_ok=True)
        if self.user is not None:
            shutil.chown(made, self.user, self.user)
        return made

    def fill(self, template: str, to: Path, **values: object) -> Path:
        """Write a template with its values."""
        return self.write(to, Template((HERE / template).read_text(encoding="utf-8")).substitute(values))

    def write(self, to: Path, text: str) -> Path:
        """Write a file that the database's user alone may read."""
        to.touch(mode=0o600)
        to.write_text(text, encoding="utf-8")
        if self.user is not None:
            shutil.chown(to, self.user, self.user)
        return to

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None, *, as_user: bool = False
    ) -> None:
        """Start a program in a session of its own."""
        who = {"user": self.user, "group": self.user, "extra_groups": []} if as_user and self.user else {}
        kept = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command,
                env={**kept, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/" if who else None,
                start_new_session=True,
                **who,  # type: ignore[call-overload]
            )

    def wait(self, what: str, ready: Callable[[], object], within_s: float = 60) -> float:
        """Wait until `ready` returns something true; return how many seconds that took. Raise CannotStart."""
        started = time.monotonic()
        while not ready():
            self.check()
            if time.monotonic() - started > within_s:
                raise CannotStart(f"{what}: not within {within_s:.0f} s; see {self.folder}/logs")
            time.sleep(0.1)
        return time.monotonic() - started

    def check(self) -> None:
        """Raise CannotStart when a program has ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                said = (self.folder / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")
                raise CannotStart(f"{name} ended with {process.returncode}:\n" + "\n".join(said.splitlines()[-12:]))

    def signal(self, name: str, number: signal.Signals, *more: int) -> None:
        """Send a signal to a program, to all that it started, and to the trees of other process ids."""
        send(number, self.running[name].pid, *more)

    def stop(self, *names: str) -> None:
        """Stop some programs, or all, the last started first; what does not end by itself is killed."""
        for name in names or [*reversed(self.running)]:
            process = self.running.pop(name)
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                send(signal.SIGKILL, process.pid)
                process.wait()


def send(number: signal.Signals, *roots: int) -> None:
    """Send a signal to processes and to all that descend from them."""
    for pid in [found for root in roots for found in tree(root)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        parent = int(text.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found
