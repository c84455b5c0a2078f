"""The Dockerfile's own steps, without a container engine: its build stage in a clean folder, and what comes of it as it is run.

The folders of the image are those of a temporary one, and its base is this machine: `python` is Debian's 3.11. Processes run as
the image's user, the first in a namespace of their own, without a capability, on a root that nobody can write.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout
from tests.conftest import free_ports, missing

ROOT = Path(__file__).resolve().parents[2]
#: The program that the image's base has as `python`: every user must be able to run it.
PYTHON = "/usr/bin/python3.11"

pytestmark = pytest.mark.long


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, with what follows them."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    instructions = [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]
    starts = [number for number, (name, _) in enumerate(instructions) if name == "FROM"]
    return [instructions[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def variables(stage: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for name, value in stage if name == "ENV" for pair in value.split())


def said(stage: list[tuple[str, str]], instruction: str) -> str:
    (value,) = [value for name, value in stage if name == instruction]
    return value


class Image:
    """What the Dockerfile makes, below `folder` in place of the root of the image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.build_stage, self.stage = stages()
        (folder / "bin").mkdir()
        (folder / "bin/python").symlink_to(PYTHON)

    def here(self, text: str) -> str:
        return re.sub(r"(?<![\w./-])/(opt|src|etc/consent-server)\b", rf"{self.folder}/\1", text)

    def build(self) -> None:
        """Do what the first stage says, in its order."""
        within = self.folder
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= variables(self.build_stage)
        environment["PATH"] = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        for instruction, value in self.build_stage[1:]:
            if instruction == "WORKDIR":
                within = Path(self.here(value))
                within.mkdir(parents=True)
            elif instruction == "COPY":
                *sources, target = value.split()
                for source in sources:
                    self.copy(ROOT / source, within / target)
            elif instruction == "RUN":
                command = ["sh", "-e", "-c", self.here(value)]
                done = subprocess.run(command, cwd=within, env=environment, capture_output=True, text=True)
                assert done.returncode == 0, f"{value}\n{done.stdout}{done.stderr}"
            else:
                assert instruction == "ENV", instruction

    def copy(self, source: Path, target: Path) -> None:
        if source.is_dir():
            ignored = shutil.ignore_patterns(
                "__pycache__", "*.pyc", "*.key", "*.pem", "*.sqlite*", "certificates", "keys"
            )
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy(source, target / source.name if target.is_dir() else target)

    def finish(self) -> None:
        """What the second stage copies from outside the first: its health check."""
        assert ("COPY", "--from=build /opt/consent-server /opt/consent-server") in self.stage
        (check,) = [value.split() for name, value in self.stage if name == "COPY" and "--from" not in value]
        self.copy(ROOT / check[0], Path(self.here(check[1])))

    def started(self, arguments: list[str], **more: str) -> list[str]:
        """The command that runs one command of the image, confined as its containers are."""
        user, group = said(self.stage, "USER").split(":")
        given = {name: self.here(value) for name, value in variables(self.stage).items()} | more
        given["PATH"] = given["PATH"].replace("$PATH", "/usr/bin:/bin")
        confined = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"]
        confined += [
            "--inh-caps=-all",
            "--bounding-set=-all",
            "env",
            "-i",
            *(f"{name}={value}" for name, value in given.items()),
        ]
        tree, volume = self.folder / "opt", self.folder / "volume"
        read_only = (
            f"mount --make-rprivate / && mkdir -p {volume} && mount --bind {volume} {volume} "
            f"&& mount -o remount,bind,ro / && mount --bind {tree} {tree} "
            f"&& mount -o remount,bind,ro {tree} && mount -t tmpfs tmpfs /tmp && cd {said(self.stage, 'WORKDIR')} "
            '&& exec "$@"'
        )
        space = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", read_only, "sh"]
        return [*space, *confined, *arguments]

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.started([*arguments], **more), capture_output=True, text=True)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The built image. Not below pytest's own folder, which is closed to other users, nor /tmp, which a container has anew."""
    confined = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    if os.geteuid() != 0 or shutil.which("unshare") is None or subprocess.run(confined, capture_output=True).returncode:
        missing("namespaces (unshare as root)")
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", "import ensurepip"], capture_output=True).returncode:
        missing(f"{PYTHON} with venv")
    with tempfile.TemporaryDirectory(prefix="consent-server-image-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = Image(folder)
        made.build()
        made.finish()
        yield made


def test_what_is_built_has_its_command_and_nothing_that_installs(image: Image) -> None:
    done = image.run("consent-server", "--help")
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
    assert image.run("python", "-c", "import pip").returncode == 1
    assert not list((image.folder / "opt/consent-server").rglob("*.sqlite"))


@pytest.mark.parametrize("path", ["/opt/consent-server/here", "/etc/here", "/home/here"])
def test_the_image_can_be_written_nowhere(image: Image, path: str) -> None:
    done = image.run("python", "-c", f"open({image.here(path)!r}, 'w')")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr


@pytest.fixture
def settings(image: Image) -> Iterator[Path]:
    """Settings, certificates, keys and a database that belong to the image's user, as a volume does."""
    layout = Layout(image.folder / "volume", free_ports())
    parties.prepare(layout)
    config = layout.settings("edp")  # it names a logo of this checkout, which the image's user may not read
    text, logos = re.subn(r'"logo" = "[^"]+"', '"logo" = ""', config.read_text(encoding="utf-8"))
    assert logos == 1
    config.write_text(text, encoding="utf-8")
    user = int(said(image.stage, "USER").split(":")[0])
    for path in (layout.directory, *layout.directory.rglob("*")):
        os.chown(path, user, user)
    yield config
    shutil.rmtree(layout.directory)


@pytest.mark.parametrize(
    "arguments", [None, ["serve", "--door", "mutual_tls"], ["work"]], ids=["as-it-is", "mutual-tls", "work"]
)
def test_it_serves_and_its_health_check_says_so(image: Image, settings: Path, arguments: list[str] | None) -> None:
    config = {"CONSENT_CONFIG": str(settings)}
    entry = json.loads(said(image.stage, "ENTRYPOINT"))
    upgraded = image.run(*entry, "db", "upgrade", **config)
    assert upgraded.returncode == 0, upgraded.stderr
    command = [*entry, *(arguments or json.loads(said(image.stage, "CMD")))]
    log = (settings.parent / "log").open("wb")
    process = subprocess.Popen(image.started(command, **config), stdout=log, stderr=log)
    check = json.loads(image.here(said(image.stage, "HEALTHCHECK").partition("CMD ")[2]))
    try:
        end = time.monotonic() + 60
        while not healthy(image, process.pid, check):
            gone_wrong = process.poll() is not None or time.monotonic() > end
            assert not gone_wrong, (settings.parent / "log").read_text()
            time.sleep(0.3)
    finally:
        if process.poll() is None:
            os.kill(int(inside(process.pid)[0]), signal.SIGKILL)  # with it everything in its namespace ends
        process.wait()
        log.close()


def inside(pid: int) -> list[str]:
    """The first process of the namespace that `unshare` made, while there is one."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def healthy(image: Image, pid: int, check: list[str]) -> bool:
    """Run the health check where the first process of the container is, as that process's user."""
    if not inside(pid):
        return False
    user, group = said(image.stage, "USER").split(":")
    entered = ["nsenter", "--target", inside(pid)[0], "--mount", "--pid", "setpriv", "--reuid", user, "--regid", group]
    path = f"{image.folder / 'opt/consent-server/bin'}:/usr/bin:/bin"
    done = subprocess.run([*entered, "--clear-groups", "env", "-i", f"PATH={path}", *check], capture_output=True)
    return done.returncode == 0
