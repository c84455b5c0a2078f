"""The import table of the house: who may import whom. A row here is a row of docs/architecture.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "consent_server"

# Every room may also import these four; of them, only audit imports another (clock).
COMMON = {"settings", "refusal", "clock", "audit"}

MAY_IMPORT: dict[str, set[str]] = {
    "scheme": set(),
    "caller": {"scheme"},
    "tokens": {"scheme", "caller"},
    "store": {"scheme"},
    "client": {"scheme"},
    "web": {"scheme", "caller", "store.sessions", "store.limits", "store"},
    "metering": {"scheme", "store", "client"},
    "withdrawal": {"scheme", "caller", "tokens", "store", "client"},
    "issuer": {"scheme", "caller", "tokens", "store", "client", "withdrawal"},
    "journey": {"scheme"},
    "release": {"scheme", "caller", "tokens", "client"},
    "collect": {"scheme", "store", "client"},
    "portal": {"scheme", "store", "client", "collect", "withdrawal"},
    "doors": set(),
    "jobs": {"scheme", "store", "client", "withdrawal", "metering", "collect"},
    "parties": {
        *("scheme", "caller", "tokens", "store", "client", "web", "metering", "withdrawal", "issuer", "journey"),
        *("release", "collect", "portal", "jobs"),
    },
    "__init__": {"parties", "jobs", "store", "web"},
    "__main__": {"cli"},
    "cli": {"doors", "parties", "jobs", "store", "web", "sandbox", "__init__"},
}
VIEWS_ALSO_IMPORT_WEB = {"withdrawal", "issuer", "journey", "release", "portal"}
WEB_SEES_OF_STORE = {"sessions", "limits", "digests", "reading", "writing"}
NO_COMMON = {"scheme", "settings", "refusal", "clock"}

FLASK_ROOMS = ("web/", "sandbox/")
FLASK_FILES = {"issuer/server.py", "release/protect.py", "__init__.py", "cli.py"}


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if "migrations" not in path.parts]


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it, with what a `from` takes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str) -> str | None:
    """`scheme.roles.EDP` for `consent_server.scheme.roles.EDP`; None for what is not ours."""
    head, _, rest = name.partition(".")
    return (rest or "__init__") if head == "consent_server" else None


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules(), ids=names)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    if room == "sandbox":
        return  # it may import anything; nobody but the command line imports it
    allowed = set(MAY_IMPORT.get(room, set()))
    if path.name == "views.py" and room in VIEWS_ALSO_IMPORT_WEB:
        allowed.add("web")
    if room not in NO_COMMON:
        allowed |= COMMON if room != "audit" else {"clock"}
    for name in imports(path):
        target = own(name)
        if target is None:
            continue
        first, *more = target.split(".")
        if first[0].isupper() or first in {"shipped", "create_app", "application", "__version__"}:
            first = "__init__"
        if first == room:
            continue
        if room == "web" and first == "store":
            seen = more[0] if more else "nothing"
            assert seen in WEB_SEES_OF_STORE, f"{names(path)} imports {name}: of store, web sees {WEB_SEES_OF_STORE}"
            continue
        assert first in allowed, f"{names(path)} imports {name}: {room} may import {sorted(allowed)}"


@pytest.mark.parametrize("path", modules(), ids=names)
def test_flask_sql_time_and_network_stay_in_their_rooms(path: Path) -> None:
    relative = names(path)
    room = room_of(path)
    for name in imports(path):
        library = name.split(".")[0]
        if library == "flask":
            allowed = relative.startswith(FLASK_ROOMS) or relative in FLASK_FILES or path.name == "views.py"
            allowed |= relative == "store/database.py"  # Flask-SQLAlchemy's engine lives in an application
            assert allowed, f"{relative} imports {name}"
        elif library in {"flask_sqlalchemy", "flask_migrate", "sqlalchemy", "sqlite3", "psycopg", "alembic"}:
            assert room in {"store", "sandbox"}, f"{relative} imports {name}: the only SQL is in store"
        elif library == "time" or name in {"datetime.now", "datetime.utcnow"}:
            # Durations on a socket are measured where the socket is; instants come from clock.py alone.
            assert relative == "clock.py" or room in {"sandbox", "client", "doors"}, f"{relative} imports {name}"
        elif library in {"httpx", "requests", "urllib3", "socket", "http", "smtplib"} or name.startswith(
            "urllib.request"
        ):
            allowed = room in {"client", "sandbox", "doors"} or name.startswith("http.HTTPStatus")
            assert allowed, f"{relative} imports {name}: the only network is in client"
        elif library in {"ib1", "ib1_directory", "ib1_provenance"}:
            pytest.fail(f"{relative} imports {name}: it holds cryptography years back")


def test_nobody_but_the_command_line_imports_the_sandbox() -> None:
    for path in modules():
        if room_of(path) in {"sandbox", "cli"}:
            continue
        assert not any((own(name) or "").startswith("sandbox") for name in imports(path)), names(path)


def test_every_room_has_a_row() -> None:
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert rooms - {"sandbox"} <= MAY_IMPORT.keys()
