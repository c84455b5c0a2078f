"""The main pages of a journey and after it, judged by axe-core and html-validate, which nobody here wrote; and by keyboard.

tests/pages judges every page in every view.
"""

from pathlib import Path
from typing import Any

import pytest

from consent_server.receipts import links
from consent_server.sandbox.layout import LOGOS
from tests.journey.conftest import GOOD, with_meters
from tests.pages.judge import State, View, invalid_html, judging

# The group that needs npm's packages anyway.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("sandbox")]
VIEWS = (View(320, "light"), View(390, "dark", 200))


def states_of(party: Any) -> list[State]:
    found: list[State] = []

    def seen(browser: Any) -> Any:
        found.append(State.of(browser.path, browser.html))
        return browser

    browser = seen(party.begun())
    seen(browser.click("continue"))
    seen(browser.click("continue", **GOOD))
    seen(browser.click("allow"))
    browser.click("allow", agree="yes")
    with party.app.app_context():
        receipt = links.make_path(party.grant().permission.id)
    seen(party.browser().open(receipt))
    seen(party.browser().open("/manage").click("continue", **GOOD))
    seen(party.browser().open(f"/evidence/{party.grant().evidence.id}"))
    seen(party.browser().open("/nowhere"))
    return found


def test_the_main_pages_have_no_fault(build_party: Any, chromium: Any, node_folder: Path, tmp_path: Path) -> None:
    party = with_meters(build_party("edp"))
    states = states_of(party)
    style = party.browser().client.get("/static/style.css", base_url="https://localhost").text
    faults: dict[str, list[str]] = {}
    with judging(chromium, node_folder, style, (LOGOS / "edp.svg").read_bytes()) as judge:
        for state in states:
            if found := judge.faults(state, VIEWS):
                faults[f"{state.path} {state.heading}"] = found
    assert faults | invalid_html(states, node_folder, tmp_path) == {}
