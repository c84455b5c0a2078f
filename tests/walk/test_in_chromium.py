"""The SME's part of the whole path, done by Debian's Chromium through the sandbox's real pages, as the manifest says."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from bench import journey
from tests.conftest import RunningSandbox

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("sandbox")]


def steps_of(sandbox: RunningSandbox, name: str, what: str, party: str) -> list[dict[str, Any]]:
    sme = next(each for each in sandbox.manifest["smes"] if each["name"] == name)
    return sme[what][party]


def follow(tab: Any, steps: list[dict[str, Any]]) -> None:
    for step in steps:
        tab.wait_for_selector(f"#{step['click']}")  # while a page waits for somebody it looks again by itself
        assert urlsplit(tab.url).path == step["path"], f"expected {step['path']}, but {tab.url} shows {tab.title()}"
        assert tab.locator("h1").count() == 1
        for name, text in step["fill"].items():
            if tab.locator(f"#{name}").count():
                tab.fill(f"#{name}", text)
        for name in step["check"]:
            if tab.locator(f"#{name}").count():
                tab.check(f"#{name}")
        scrolls = tab.evaluate("document.documentElement.scrollWidth") if tab.context else 0
        assert scrolls <= 320, f"{tab.url} scrolls sideways on a small phone"
        tab.click(f"#{step['click']}")
        tab.wait_for_load_state()


def on_record(tab: Any, pages: dict[str, str]) -> None:
    """Open the record of the newest connection at the CAP: the EDP's evidence is in a frame, styled, and can do nothing."""
    tab.goto(f"{pages['cap']}/permissions")
    tab.locator("a[href^='/permissions/record']").first.click()
    tab.wait_for_load_state()
    assert "the permission is in force" in tab.inner_text("#comparison")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320
    element = tab.locator("iframe").element_handle()
    frame = element.content_frame()
    frame.wait_for_selector("#permission-text")
    assert frame.url.startswith(f"{pages['edp']}/evidence/")
    assert frame.url == tab.get_attribute("main .links a", "href")
    assert "Evidence of a permission" in frame.inner_text("h1")
    assert frame.evaluate("innerWidth") == frame.evaluate("document.documentElement.scrollWidth") == 320
    assert frame.evaluate("getComputedStyle(document.querySelector('.card')).borderTopLeftRadius") == "14px", (
        "its style"
    )


@pytest.mark.parametrize("sme", ["several_sites", "log_in"])
def test_connect_give_to_the_bank_and_withdraw(sandbox: RunningSandbox, tab: Any, sme: str) -> None:
    pages = sandbox.manifest["pages"]
    connect = steps_of(sandbox, sme, "connect", "cap")
    tab.goto(pages["cap"] + connect[0]["path"])
    follow(tab, connect)
    # From the CAP to the provider and back: the journey ended on another origin than the one that it was on.
    assert tab.url == f"{pages['cap']}/connected"
    on_record(tab, pages)
    tab.goto(pages["fsp"])
    tab.click("#apply")
    tab.wait_for_load_state()
    follow(tab, steps_of(sandbox, sme, "journey", "cap"))
    assert tab.url.startswith(f"{pages['fsp']}/emissions/")
    withdraw = steps_of(sandbox, sme, "withdraw", "edp")
    tab.goto(pages["edp"] + withdraw[0]["path"])
    follow(tab, withdraw)
    assert "withdrawn" in tab.locator("h1").inner_text().lower()


def test_from_a_banks_invitation_to_the_figures_at_the_bank(sandbox: RunningSandbox, tab: Any) -> None:
    """The policies of the pages let a real browser through: each form may lead to whom it leads, redirects included."""
    pages = sandbox.manifest["pages"]
    parties = {urlsplit(url).netloc: party for party, url in pages.items()}
    acts = journey.acts_of(sandbox.manifest, "electricity_only")
    tab.goto(pages["fsp"])
    while not tab.url.startswith(f"{pages['fsp']}/emissions/"):
        at = urlsplit(tab.url)
        act = acts[parties[at.netloc], at.path]
        follow(tab, [{"path": at.path, "fill": act.fill, "check": act.check, "click": act.click}])
    assert len(tab.context.pages) == 1


def test_no_page_asks_anybody_else_for_anything(sandbox: RunningSandbox, tab: Any) -> None:
    pages = sandbox.manifest["pages"]
    asked: list[str] = []
    tab.on("request", lambda sent: asked.append(sent.url))
    for url in (
        pages["cap"],
        f"{pages['cap']}/sign-in",
        f"{pages['edp']}/manage",
        f"{pages['edp']}/errors/no_certificate",
    ):
        tab.goto(url, wait_until="networkidle")
        own = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}/"
        assert all(each.startswith(own) for each in asked), asked
        asked.clear()
