"""What the hand-written pages say, held to the code: examples run, commands exist, tables agree."""

import importlib.util
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from consent_server.outbound import jwks
from consent_server.resource import protect
from consent_server.sandbox.authority import Authority
from consent_server.tokens import keys

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


def test_pre_commit_runs_what_ci_runs_and_fetches_nothing() -> None:
    hooks = re.findall(r"entry: (make \w+)", text(".pre-commit-config.yaml"))
    assert hooks == ["make lint", "make types"]
    assert set(hooks) < set(text(".ci/run").splitlines())
    assert re.findall(r"repo: (.+)", text(".pre-commit-config.yaml")) == ["local"]


def test_the_contributors_page_names_what_is_there() -> None:
    page = text("CONTRIBUTING.md")
    named = re.findall(r"`((?:consent_server|web|store|metering|tests|components)/[\w/]+(?:\.\w+)?)`", page)
    assert named
    package = ROOT / "consent_server"
    for path in named:
        assert any((base / path).exists() for base in (ROOT, package, ROOT / "templates")), path


def test_the_operators_guide_says_when_a_new_key_is_used_and_why_then() -> None:
    """Once every copy of the key set has run out, whoever keeps it: for as long as we say, or as our own guard does."""
    minutes = {10: "ten"}[keys.PUBLISHED_BEFORE_USE // 60]
    assert [text(f"docs/{page}.md").count(f"{minutes} minutes") for page in ("operator", "commands")] == [2, 1]
    assert max(keys.JWKS_MAX_AGE, jwks.REFRESH_S) < keys.PUBLISHED_BEFORE_USE


def test_the_order_of_rooms_is_the_one_that_is_held() -> None:
    spec = importlib.util.spec_from_file_location("the_import_table", ROOT / "tests/test_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    architecture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(architecture)
    page = text("docs/architecture.md")
    table = page[page.index("## The rooms") : page.index("## The walls")]
    written = re.findall(r"^\| `consent_server/([a-z_]+)(?:\.py|/)` \|", table, re.MULTILINE)
    assert written == [room for room in architecture.ROOMS if room != "__main__"]
    walls = page[page.index("## The walls") : page.index("## Three walks")]
    for pattern, _ in (*architecture.NOTHING_ELSE, *architecture.NEVER):
        assert f"`{pattern}`" in walls, pattern


PAGES = sorted(
    str(page.relative_to(ROOT)) for where in ("*.md", "docs/**/*.md", "deploy/**/*.md") for page in ROOT.glob(where)
)


@pytest.mark.parametrize("page", PAGES)
def test_each_row_of_a_table_is_one_line_with_as_many_cells_as_the_row_before(page: str) -> None:
    """A row that goes on in the next line ends the table there, and the rest is shown as text."""
    cells = 0
    for line in re.sub(r"```.*?```", "", text(page), flags=re.DOTALL).splitlines():
        row = line.strip()
        if not row.startswith("|"):
            assert not row.endswith(" |"), line
            cells = 0
            continue
        assert row.endswith("|"), line
        found = len(re.findall(r"(?<!\\)\|", row))
        assert cells in {0, found}, line
        cells = found
