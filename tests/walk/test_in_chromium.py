"""The SME's part of the whole path, done by Debian's Chromium through the sandbox's real pages, as the manifest says."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from bench import journey
from tests.conftest import RunningSandbox

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("sandbox")]

MOST_LOOKS = 120


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
        scrolls = tab.evaluate("document.documentElement.scrollWidth")
        assert scrolls <= tab.viewport_size["width"], f"{tab.url} scrolls sideways"
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


def walk(sandbox: RunningSandbox, tab: Any, sme: str, start: str, until: str) -> None:
    """Do on each page what an SME does there (bench/journey.py), from the first page of a party until an address."""
    pages, acts = sandbox.manifest["pages"], journey.acts_of(sandbox.manifest, sme)
    parties = {urlsplit(url).netloc: party for party, url in pages.items()}
    tab.goto(pages[start])
    for _ in range(MOST_LOOKS):
        if tab.url.startswith(until):
            return
        at = urlsplit(tab.url)
        act = acts[parties[at.netloc], at.path]
        if tab.locator(f"#{act.click}").count():
            follow(tab, [{"path": at.path, "fill": act.fill, "check": act.check, "click": act.click}])
        else:  # the page waits for somebody
            tab.wait_for_timeout(500)
            tab.reload()
    raise AssertionError(f"never came to {until}, and is at {tab.url}")


def test_from_a_banks_invitation_to_the_figures_at_the_bank(sandbox: RunningSandbox, tab: Any) -> None:
    """The policies of the pages let a real browser through: each form may lead to whom it leads, redirects included."""
    walk(sandbox, tab, "electricity_only", "fsp", f"{sandbox.manifest['pages']['fsp']}/emissions/")
    assert len(tab.context.pages) == 1


@pytest.mark.long
@pytest.mark.parametrize("language", ["en-GB", "cy-GB"])
@pytest.mark.parametrize("width", [360, 1280])
def test_each_flow_on_each_screen_in_each_language(
    sandbox: RunningSandbox, chromium: Any, width: int, language: str
) -> None:
    """Declined at the provider, with every page sent empty first; then from the CAP, and from the bank, each withdrawn."""
    pages = sandbox.manifest["pages"]
    context = chromium.new_context(
        ignore_https_errors=True, viewport={"width": width, "height": 740}, java_script_enabled=False, locale=language
    )
    tab = context.new_page()
    tab.set_default_timeout(30_000)
    connect = steps_of(sandbox, "export", "connect", "cap")
    tab.goto(pages["cap"] + connect[0]["path"])
    for step in connect[:-1]:
        if step["check"] or step["fill"].keys() & {"email", "code", "postcode"}:
            tab.wait_for_selector(f"#{step['click']}")
            tab.click(f"#{step['click']}")
            assert tab.locator(".errors").count() == 1, tab.url
        follow(tab, [step])
    tab.click("#decline")
    tab.wait_for_url(f"{pages['cap']}/connect/declined")
    for start in ("cap", "fsp"):
        context.clear_cookies()
        walk(sandbox, tab, "export", start, f"{pages['fsp']}/emissions/")
        tab.goto(f"{pages['cap']}/permissions")
        while tab.locator("button[id^='withdraw']").count():
            tab.locator("button[id^='withdraw']").last.click()  # the connection's, with all that depends on it
            tab.click("#confirm")
            tab.wait_for_url(f"{pages['cap']}/permissions/withdrawn**")
            assert tab.get_attribute("html", "lang") == {"en-GB": "en-GB", "cy-GB": "cy"}[language]
            tab.goto(f"{pages['cap']}/permissions")
    context.close()


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
