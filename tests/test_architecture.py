"""The rooms in the order of reading, and the walls between them. A row here is a row of docs/architecture.md."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "consent_server"

#: A room may import the rooms that stand before it, and itself.
ROOMS = (
    *("clock", "refusal", "brand", "settings", "audit", "traces", "aside", "signing"),
    *("pki", "scheme", "documents", "tokens", "outbound", "caller", "bank", "store", "readiness", "deployment", "web"),
    *("status", "metering", "accounts", "receipts", "withdrawal", "issuer", "journey", "collect", "resource", "portal"),
    *("metrics", "serving", "jobs", "parties", "__init__", "sandbox", "cli", "__main__"),
)

#: What a resource server on another machine takes from its own room: the guard, and nothing that needs our store.
ELSEWHERE = {
    "resource/guard.py": set[str](),
    "resource/routes.py": set[str](),
    "resource/remote_meters.py": {"guard"},
    "resource/remote.py": {"guard", "remote_meters", "routes"},
    "resource/protect.py": {"guard", "remote", "routes"},
    "resource/asgi.py": {"guard", "remote", "routes"},
    "resource/gate.py": {"guard", "remote", "routes"},
    "resource/gate_settings.py": {"remote", "routes"},
    "resource/sign.py": set(),
    "resource/signing_settings.py": {"sign"},
}

#: (modules, the only rooms of ours that they may import): a wall that protects something.
NOTHING_ELSE = (
    ("signing/*", {"signing", "aside", "settings", "refusal"}),
    ("pki/*", {"pki"}),
    ("scheme/*", {"scheme", "pki", "signing"}),
    ("documents/*", {"documents", "scheme", "pki"}),
    ("bank/*", {"bank", "scheme", "pki", "caller", "tokens", "outbound", "refusal", "audit", "clock", "settings"}),
    *(
        (module, {"scheme", "pki", "caller", "tokens", "outbound", "refusal", "audit", "clock", "settings", "resource"})
        for module in ELSEWHERE
    ),
)
#: (modules, rooms of ours that they may not import).
NEVER = (
    ("journey/*", {"tokens"}),
    ("portal/*", {"tokens"}),
    ("accounts/*", {"tokens"}),
)
#: (libraries, modules of ours that may import them).
LIBRARIES = (
    (
        {"flask"},
        ("web/*", "sandbox/*", "*/views.py", "*/views/*", "deployment.py", "__init__.py", "store/database.py",
         "store/waiting.py",
         "resource/protect.py"),
    ),
    ({"flask_sqlalchemy", "flask_migrate", "sqlalchemy", "sqlite3", "psycopg", "alembic"}, ("store/*", "sandbox/*")),
    ({"time"}, ("clock.py", "outbound/*", "store/database.py", "store/writers.py", "serving/*", "sandbox/*")),
    ({"httpx", "httpcore", "requests", "urllib3", "socket", "smtplib"}, ("outbound/*", "serving/*", "sandbox/*")),
    ({"opentelemetry"}, ("traces.py",)),
    ({"pkcs11"}, ("signing/hsm.py",)),
    ({"prometheus_client"}, ("metrics/*", "serving/exporter.py", "serving/worker_counts.py", "cli/process.py")),
    ({"ib1", "ib1_directory", "ib1_provenance"}, ()),
)  # fmt: skip

#: No function is longer than this, so that a reader has it on one screen.
LONGEST_FUNCTION = 60


@cache
def modules() -> tuple[Path, ...]:
    return tuple(path for path in sorted(ROOT.rglob("*.py")) if "migrations" not in path.parts)


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it, with what a `from` takes."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(room, the rest of the dotted name) of each import of ours."""
    for name in imports(path):
        head, _, rest = name.partition(".")
        if head == "consent_server":
            first, *more = rest.split(".")
            yield (first, more) if first in ROOMS else ("__init__", [first, *more])


def test_a_room_imports_only_rooms_before_it() -> None:
    behind = [
        f"{names(path)} imports {first}.{'.'.join(more)}"
        for path in modules()
        for first, more in own(path)
        if first != room_of(path) and ROOMS.index(first) >= ROOMS.index(room_of(path))
    ]
    assert not behind


@pytest.mark.parametrize(("pattern", "allowed"), NOTHING_ELSE)
def test_walls_that_name_what_may_be_imported(pattern: str, allowed: set[str]) -> None:
    found = [path for path in modules() if fnmatch(names(path), pattern)]
    assert found
    for path in found:
        for first, more in own(path):
            assert first in allowed, f"{names(path)} imports {first}.{'.'.join(more)}"


@pytest.mark.parametrize(("pattern", "forbidden"), NEVER)
def test_walls_that_name_what_may_not(pattern: str, forbidden: set[str]) -> None:
    for path in modules():
        if fnmatch(names(path), pattern):
            assert not {first for first, _ in own(path)} & forbidden, names(path)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_resource_server_elsewhere_needs_nothing_of_ours_here(name: str) -> None:
    seen = {more[0] for first, more in own(ROOT / name) if first == "resource"}
    assert seen <= ELSEWHERE[name]


def test_nobody_but_the_command_line_imports_the_sandbox() -> None:
    for path in modules():
        if room_of(path) not in {"sandbox", "cli"}:
            assert "sandbox" not in {first for first, _ in own(path)}, names(path)


def test_flask_sql_time_and_network_stay_in_their_rooms() -> None:
    elsewhere = [
        f"{names(path)} imports {name}"
        for path in modules()
        for name in imports(path)
        for libraries, allowed in LIBRARIES
        if ("time" if name in {"datetime.now", "datetime.utcnow"} else name.split(".")[0]) in libraries
        and not any(fnmatch(names(path), pattern) for pattern in allowed)
    ]
    assert not elsewhere


def test_every_room_has_its_place() -> None:
    rooms = {room_of(path) for path in modules()}
    assert rooms <= set(ROOMS)


def test_class_names_are_unique() -> None:
    seen: dict[str, str] = {}
    for path in modules():
        for node in nodes(path):
            if isinstance(node, ast.ClassDef) and room_of(path) != "sandbox":
                assert node.name not in seen, f"{node.name}: {names(path)} and {seen[node.name]}"
                seen[node.name] = names(path)


def test_functions_are_short() -> None:
    long = [
        f"{names(path)}: {node.name}: {length} lines"
        for path in modules()
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long
