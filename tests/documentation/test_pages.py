"""What the hand-written pages say, held to the code: examples run, commands exist, tables agree."""

import importlib.util
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import click
import pytest

from consent_server.cli import main
from consent_server.resource import protect
from consent_server.sandbox.authority import Authority

ROOT = Path(__file__).resolve().parents[2]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def python_example(name: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", text(name), re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


def docstring_example() -> str:
    """The example that tests/resource/test_protect.py serves with gunicorn and calls over mutual TLS."""
    block = re.search(r"\n\n(    from flask.*)", inspect.getdoc(protect) or "", re.DOTALL)
    assert block is not None
    return textwrap.dedent(block[1])


@pytest.mark.parametrize("page", ["README.md", "docs/integrator.md"])
def test_the_example_is_the_one_that_is_tested(page: str) -> None:
    assert python_example(page).strip() == docstring_example().strip()


def test_the_readmes_example_runs_and_lets_nobody_in_without_a_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Authority(tmp_path / "ca").create().client_root
    (tmp_path / "client_root.pem").write_bytes(root.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "__name__": "example",
        "LICENSE_URL": "https://registry.example/license/1",
        "DIGEST": "d" * 64,
    }
    exec(compile(python_example("README.md"), "README.md", "exec"), names)
    answer = names["app"].test_client().get("/my/data/meter-1")
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")


def test_the_readmes_first_screen_has_the_two_commands_and_the_picture() -> None:
    first_screen = "\n".join(text("README.md").splitlines()[:20])
    makefile = text("Makefile")
    for target in ("demo", "test"):
        assert f"make {target}" in first_screen
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    pictures = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', first_screen)
    assert pictures
    assert all((ROOT / source).is_file() and alt for source, alt in pictures)


def commands(group: click.Group, above: str = "consent-server") -> list[str]:
    found = []
    for name, command in group.commands.items():
        path = f"{above} {name}"
        found += commands(command, path) if isinstance(command, click.Group) else [path]
    return found


def test_the_operators_guide_names_every_command_and_no_other() -> None:
    guide = text("docs/operator.md")
    table = guide[guide.index("## Every command") :]
    named = re.findall(r"^\| `(consent-server(?: [a-z][a-z-]*)+)", table, re.MULTILINE)
    assert sorted(named) == sorted(commands(main))


def test_what_pages_tell_to_type_is_a_command() -> None:
    known = commands(main)
    for page in ["README.md", "docs/operator.md", "docs/integrator.md", "config/edp.toml"]:
        for typed in re.findall(r"consent-server(?:  ?[a-z-]+)+(?=[ `\n])", text(page)):
            words = " ".join(typed.split())
            assert any(command.startswith(words) or words.startswith(command) for command in known), (page, typed)


def test_the_import_table_is_the_one_that_is_held() -> None:
    spec = importlib.util.spec_from_file_location("the_import_table", ROOT / "tests/test_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    architecture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(architecture)
    page = text("docs/architecture.md")
    table = page[page.index("## Who may import whom") : page.index("## Processes")]
    written = dict(re.findall(r"^\| ([a-z]+) \| (.*) \|$", table, re.MULTILINE))
    rooms = {room for room in architecture.MAY_IMPORT if not room.startswith("__") and room != "cli"}
    assert written.keys() - {"sandbox"} == rooms
    for room in rooms - {"parties"}:
        allowed = {name.split(".")[0] for name in architecture.MAY_IMPORT[room]}
        views = "its views also web" in written[room]
        words = set(re.findall(r"[a-z]+", written[room].split(";")[0])) & rooms
        assert words == allowed, room
        assert views == (room in architecture.VIEWS_ALSO_IMPORT_WEB), room
