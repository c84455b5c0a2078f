"""Every page and state that the tests of journey, portal and web see, judged by axe-core and html-validate in every view.

They keep what they see (tests/browser.py); so a page that gets a test is judged here as well. With ACCESSIBILITY_TABLE=FILE
(`make accessibility`) the result is written as docs/accessibility.md has it.
"""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from consent_server.sandbox.layout import LOGOS
from tests.conftest import RunningSandbox
from tests.deployments import deploy, opened, settings_of
from tests.pages.judge import VIEWS, State, invalid_html, judging

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.xdist_group("sandbox")]

ROOT = Path(__file__).resolve().parents[2]
FEWEST = 100
INTRODUCTION = """<!-- Made by `make accessibility`; change the code, not this page. -->

# Accessibility

The pages are made for WCAG 2.2 AA, and work without script. `make test-long` records every page and every state that the tests
of journey, portal and web see, in English and in Welsh, and shows each in Debian's Chromium: {views}. In each view axe-core
checks it with all of its default rules, best practice among them, and `target-size` of WCAG 2.2, and it must not scroll
sideways. In forced colours, whatever can be pressed or filled in must have an edge; on paper, nothing may be cut. html-validate
checks the HTML against the standard. `make test` does the same for the main pages of a journey in two views. Other tests go
through the journey by keyboard alone, and check where the focus is after an error.

Programs find only some of the possible faults. No user of a screen reader has tried the pages yet, and nobody whose first
language is Welsh has read the Welsh.

- **Contrast.** Text has at least 4.5:1, in the party's own colour as well: the server does not start with a weaker one
  (`public.brand`).
- **Errors.** A list at the top has the focus when the page opens; each entry leads to its field, which shows the message too.
- **Time.** A page of the journey waits {idle} minutes, and as long again each time it is loaded; a journey lasts {whole}
  minutes in all. Both are settings (`lifetimes`). A waiting page reloads every 30 seconds, can be stopped, and
  keeps the focus.
- **Print.** Every page prints in black on white, without controls, and content that scrolls on a screen is printed in full. An
  external link is followed by its address, except in a permission's text.

| Page | Heading | States | Views | axe-core | HTML |
|---|---|---|---|---|---|
"""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[State]:
    """What the tests see. Whether they pass is their own affair."""
    folder = tmp_path_factory.mktemp("kept")
    rooms = [f"tests/{room}" for room in ("journey", "portal", "web")]
    chosen = ["-m", "not browser and not long", "-k", "not postgresql", "-p", "no:cacheprovider", "-q", "-n", "2"]
    command = [sys.executable, "-m", "pytest", *rooms, *chosen]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "KEEP_PAGES": str(folder)}, check=False, capture_output=True)
    return State.kept(folder)


def test_every_page_in_every_view(states: list[State], chromium: Any, node_folder: Path, tmp_path: Path) -> None:
    assert len(states) >= FEWEST
    settings = settings_of("edp", f"sqlite:///{tmp_path / 'store.db'}")
    style = opened(deploy(settings), "public").test_client().get("/static/style.css", base_url="https://localhost").text
    faults: dict[str, list[str]] = defaultdict(list)
    with judging(chromium, node_folder, style, (LOGOS / "edp.svg").read_bytes()) as judge:
        for state in states:
            faults[f"{state.path} {state.heading}"] += judge.faults(state, VIEWS)
    invalid = invalid_html(states, node_folder, tmp_path)
    if target := os.environ.get("ACCESSIBILITY_TABLE"):
        (ROOT / target).write_text(_table(states, faults, invalid, settings), encoding="utf-8")
    assert {page: found for page, found in faults.items() if found} | invalid == {}


def _table(states: list[State], faults: dict[str, list[str]], invalid: dict[str, list[str]], settings: Any) -> str:
    lifetimes = settings.lifetimes
    text = INTRODUCTION.format(
        views="; ".join(map(str, VIEWS)), idle=lifetimes.journey_idle // 60, whole=lifetimes.journey // 60
    )
    pages: dict[tuple[str, str], int] = defaultdict(int)
    for state in states:
        pages[state.path, state.heading] += 1
    for (path, heading), count in sorted(pages.items()):
        page = f"{path} {heading}"
        judged = (str(len(found)) if (found := each.get(page)) else "none" for each in (faults, invalid))
        text += f"| `{path}` | {heading.replace('|', '/')} | {count} | {count * len(VIEWS)} | {' | '.join(judged)} |\n"
    return text


def test_the_pages_of_the_sandbox(sandbox: RunningSandbox, chromium: Any, node_folder: Path) -> None:
    """Its bank and its control page are no product, but people look at them first."""
    pages = sandbox.manifest["pages"]
    faults: dict[str, list[str]] = {}
    axe = (node_folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    assert axe
    for url in (pages["fsp"], f"{pages['fsp']}/portfolio", sandbox.manifest["control"]):
        answer = chromium.new_context(ignore_https_errors=True).new_page()
        answer.goto(url)
        answer.evaluate(axe)
        found = answer.evaluate("axe.run().then(found => found.violations.map(each => each.id))")
        if found:
            faults[url] = found
        answer.context.close()
    assert faults == {}
