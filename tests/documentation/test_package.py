"""What is shipped: the wheel works where it is installed alone, and the lock files hold what they promise."""

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(ROOT.glob("requirements/*.lock")) + sorted(ROOT.glob("tests/interop/*.lock"))

#: Versions below which a known fault is open again; a scanner without network finds nothing, so this list does it.
FLOORS = {
    "authlib": (1, 9),
    "joserfc": (1, 6, 8),
    "pyjwt": (2, 13),
    "flask": (3, 1, 3),
    "gunicorn": (26,),
    "cryptography": (48,),
}

OF_DEBIAN_12 = "3.11.2"

GUARD_MODULES = ("protect", "asgi", "gate", "gate_settings", "sign", "signing_settings")
BANK_MODULES = ("client", "held", "settings", "table", "verified")

# Run without the server's libraries, as the guard's own lock file installs it.
GUARD_ALONE = """
import importlib
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ImportError(f"{{name}} is not installed with the guard alone")

sys.meta_path.insert(0, Absent())
for module in {modules!r}:
    importlib.import_module(module)
"""

# Run by the interpreter of a clean environment: both parties open both doors from what the wheel holds.
STARTS = """
import sys
from pathlib import Path

import consent_server
from consent_server import create_app, shipped
from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout
from consent_server.settings import load
from consent_server.store.schema import migrate

inside = Path(consent_server.__file__).parent
assert inside.is_relative_to(sys.prefix), inside
assert shipped("templates") == inside / "templates" and shipped("config") == inside / "config"
assert (shipped("config") / "gunicorn.conf.py").is_file()
assert (inside / "web/translations/cy/LC_MESSAGES/messages.mo").is_file()
layout = Layout(Path("box").resolve(), 18440)
parties.prepare(layout)
for party in ("edp", "cap"):
    for door in ("public", "mutual_tls"):
        app = create_app(load(layout.settings(party)), door)
        with app.app_context():
            migrate()
        if door == "public":  # the other door has no pages
            pages = [name for name in app.jinja_env.list_templates(extensions=["html"]) if "sandbox/" not in name]
            assert len(pages) > 20
            for name in pages:
                app.jinja_env.get_template(name)
        assert app.test_client().get("/health").status_code == 200
        print(party, door)
assert create_app(load(layout.settings("edp")), "public").test_client().get("/static/style.css").status_code == 200
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a new environment with the wheel in it. Its dependencies are borrowed from ours, so that nothing is
    fetched; the source tree is not on its path."""
    folder = tmp_path_factory.mktemp("installed")
    venv.EnvBuilder(with_pip=False).create(folder)
    scheme = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), *install], check=True)
    return folder


def run(folder: Path, *command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(folder / "bin" / command[0]), *command[1:]], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_what_the_server_needs_and_nothing_of_the_tests(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    for folder in ("templates", "config"):
        there = {
            f"consent_server/{path.relative_to(ROOT)}" for path in (ROOT / folder).rglob("*") if path.suffix != ".pyc"
        }
        assert {name for name in there if (ROOT / name.removeprefix("consent_server/")).is_file()} <= names
    assert "consent_server/web/static/style.css" in names
    assert "consent_server/store/migrations/alembic.ini" in names
    assert any(name.startswith("consent_server/sandbox/texts/") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "bench/", "scripts/", "docs/"))]
    assert not [name for name in names if name.endswith((".key", ".pem", ".sqlite"))]


def test_the_installed_wheel_has_its_command(installed: Path) -> None:
    for command in ("serve", "work", "db", "keys", "outbox", "sandbox"):
        assert command in run(installed, "consent-server", "--help")


def test_the_installed_wheel_opens_both_doors_of_both_parties(installed: Path) -> None:
    assert len(run(installed, "python", "-c", STARTS).splitlines()) == 4


def test_what_is_locked_can_be_installed_on_the_oldest_python_that_is_named() -> None:
    """`requires-python` is 3.11, and the oldest 3.11 that people have is that of Debian 12."""
    locked = {name for lock in LOCKS for name in requirements(lock)}
    wanted = {each.name: each.metadata["Requires-Python"] or "" for each in importlib.metadata.distributions()}
    newer = {name: versions for name, versions in wanted.items() if OF_DEBIAN_12 not in SpecifierSet(versions)}
    newer = {name: versions for name, versions in newer.items() if canonicalize_name(name) in locked}
    assert newer == {}


def requirements(lock: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return {name.lower(): version for name, version in found}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_file_has_hashes_and_names_no_place(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[A-Za-z0-9])", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    pinned = [entry for entry in entries if entry.strip()]
    assert len(pinned) == len(requirements(lock)) > 3
    assert [entry.split("==")[0] for entry in pinned if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert not re.search(r"^--?(index|extra|find|trusted)", text, re.MULTILINE)


@pytest.mark.parametrize(
    "lock", [ROOT / "requirements/production.lock", ROOT / "requirements/dev.lock"], ids=lambda lock: lock.name
)
@pytest.mark.parametrize("name", FLOORS)
def test_no_pinned_version_is_below_its_floor(lock: Path, name: str) -> None:
    numbers = re.match(r"[0-9.]+", requirements(lock)[name])
    assert numbers is not None
    assert tuple(int(part) for part in numbers[0].strip(".").split(".")) >= FLOORS[name]


def test_development_runs_on_the_versions_of_production() -> None:
    production, dev = (requirements(ROOT / f"requirements/{name}.lock") for name in ("production", "dev"))
    assert production.items() <= dev.items()


def test_what_we_ask_for_is_no_wider_than_the_floors() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # joserfc comes with Authlib alone: it is Authlib that asks for its floor.
    ours = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    wanted = [*(importlib.metadata.requires("authlib") or ()), *ours]
    asked = dict(re.match(r"([A-Za-z-]+)[^>]*>=([0-9.]+)", each).groups() for each in wanted)  # type: ignore[union-attr]
    for name, floor in FLOORS.items():
        version = next(found for each, found in asked.items() if each.lower() == name)
        assert tuple(int(part) for part in version.split(".")) >= floor


def test_guard_and_bank_need_none_of_the_servers_libraries() -> None:
    locked = {
        name: set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / f"requirements/{name}.lock").read_text(), re.MULTILINE))
        for name in ("production", "guard")
    }
    assert locked["guard"] < locked["production"]
    only_servers = {canonical(name) for name in locked["production"] - locked["guard"]}
    absent = {
        module
        for module, distributions in importlib.metadata.packages_distributions().items()
        if {canonical(each) for each in distributions} <= only_servers
    }
    assert {"sqlalchemy", "authlib", "psycopg"} <= absent
    modules = [f"consent_server.resource.{name}" for name in GUARD_MODULES]
    commands = ["consent_server.cli.guard", "consent_server.cli.provenance"]
    code = GUARD_ALONE.format(absent=sorted(absent), modules=[*modules, *commands])
    subprocess.run([sys.executable, "-c", code], check=True)
    bank = [f"consent_server.bank.{name}" for name in BANK_MODULES]
    code = GUARD_ALONE.format(absent=sorted(absent | {"flask", "werkzeug", "gevent", "gunicorn"}), modules=bank)
    subprocess.run([sys.executable, "-c", code], check=True)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
