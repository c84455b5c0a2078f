"""The journey in Debian's Chromium, over TLS, ending on another origin: what no test client shows.

Chromium holds form-action against the whole redirect chain, sends `Origin: null` under no-referrer, and believes the
`__Host-` prefix; so each of these is tried where it counts.
"""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.serving import make_server

from tests.journey.conftest import GOOD, with_meters

pytestmark = pytest.mark.browser


class Served:
    """An app behind TLS on a free port of localhost."""

    def __init__(self, app: Flask) -> None:
        self.server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context="adhoc")
        self.origin = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def client_app() -> Iterator[Served]:
    app = Flask("client")
    page = "<title>back</title><h1>back</h1><p id=code>{}</p>"
    app.add_url_rule("/callback", view_func=lambda: page.format(request.args.get("code", "")))
    served = Served(app)
    yield served
    served.server.shutdown()


@pytest.fixture
def party(build_party: Any) -> Iterator[Any]:
    served = Served(Flask("placeholder"))
    world = with_meters(build_party("edp", origin=served.origin))
    served.server.app = world.app
    yield world
    served.server.shutdown()


def begin(tab: Any, party: Any, client_app: Served) -> None:
    tab.goto(f"{party.origin}{party.pushed(redirect_uri=f'{client_app.origin}/callback?a=1')}")


def identify(tab: Any, party: Any, client_app: Served) -> None:
    begin(tab, party, client_app)
    for name, text in GOOD.items():
        tab.fill(f"#{name}", text)
    tab.click("#continue")
    tab.wait_for_selector("#permission-text")


def test_allow_ends_on_another_origin(tab: Any, party: Any, client_app: Served) -> None:
    asked: list[str] = []
    tab.on("request", lambda sent: asked.append(sent.url))
    identify(tab, party, client_app)
    tab.check("#agree")
    tab.click("#allow")
    tab.wait_for_url(f"{client_app.origin}/callback**")
    assert party.permission_of(tab.inner_text("#code")) == party.grant().permission.id
    assert all(url.startswith((party.origin, client_app.origin)) for url in asked), "a third party was asked"


@pytest.mark.parametrize(("arrive", "button"), [(identify, "decline"), (begin, "cancel")])
def test_no_ends_on_another_origin_too(tab: Any, party: Any, client_app: Served, arrive: Any, button: str) -> None:
    arrive(tab, party, client_app)
    tab.click(f"#{button}")
    tab.wait_for_url(f"{client_app.origin}/callback**error=access_denied**")


def test_E02_who_opened_a_page_in_a_window_has_no_hold_on_it(tab: Any, party: Any, client_app: Served) -> None:
    """But an address that is read, and not decided on, opens everywhere: evidence, and a logo by itself."""
    tab.goto(f"{client_app.origin}/callback")
    identify_path = party.pushed(redirect_uri=f"{client_app.origin}/callback")
    party.keep_grant(1)
    evidence, logo = f"/evidence/{party.grant().evidence.id}", "/logos/own"
    for path, shown, held in ((identify_path, "h1", False), (evidence, "h1", True), (logo, "svg", True)):
        with tab.context.expect_page() as opened:
            tab.evaluate("url => { window.opened = window.open(url) }", f"{party.origin}{path}")
        opened.value.wait_for_selector(shown)
        assert tab.evaluate("window.opened.closed") is not held, path
        opened.value.close()


def test_a_double_click_on_each_button_still_ends_well(tab: Any, party: Any, client_app: Served) -> None:
    begin(tab, party, client_app)
    for name, text in GOOD.items():
        tab.fill(f"#{name}", text)
    tab.dblclick("#continue")
    tab.wait_for_selector("#permission-text")
    tab.check("#agree")
    tab.dblclick("#allow")
    # Which of the two answers the browser shows is a matter of milliseconds: the client's page, or the one that says that
    # the answer is recorded, from which one more click leads there with the same code.
    tab.wait_for_selector("h1:text('back'), h1:text('recorded')")
    if tab.locator("h1", has_text="recorded").count():
        tab.click("#continue")
    tab.wait_for_url(f"{client_app.origin}/callback**")
    assert party.permission_of(tab.inner_text("#code")) == party.grant().permission.id
    assert len(party.grants()) == 1


def test_back_after_the_end_says_that_it_is_done(tab: Any, party: Any, client_app: Served) -> None:
    identify(tab, party, client_app)
    tab.check("#agree")
    tab.click("#allow")
    tab.wait_for_url(f"{client_app.origin}/callback**")
    tab.go_back()
    tab.wait_for_selector("h1")
    assert "Your answer is recorded" in tab.content()
    assert len(party.grants()) == 1


def test_nothing_scrolls_sideways_at_320_pixels(tab: Any, party: Any, client_app: Served) -> None:
    identify(tab, party, client_app)
    box = tab.locator("main").bounding_box()
    assert box["x"] >= 0
    assert box["width"] <= 320
    for control in ("#agree", "#allow", "#decline"):
        edges = tab.locator(control).bounding_box()
        assert edges["x"] >= 0
        assert edges["x"] + edges["width"] <= 320
    for control in ("#allow", "#decline"):
        assert tab.locator(control).bounding_box()["height"] >= 44


def test_H23_the_receipt_beside_allow_withdraws_in_any_browser(tab: Any, party: Any, client_app: Served) -> None:
    identify(tab, party, client_app)
    with tab.context.expect_page() as opened:
        tab.click("text=opens in a new tab")
    beside = opened.value
    tab.check("#agree")
    tab.click("#allow")
    tab.wait_for_url(f"{client_app.origin}/callback**")
    beside.click("#refresh")
    beside.wait_for_url(f"{party.origin}/receipt/*")
    address = beside.url
    beside.context.clear_cookies()
    beside.goto(address)
    beside.click("#confirm")
    beside.wait_for_selector("text=It ended on")
    assert party.grant().permission.ended_where == "receipt"


def test_back_shows_what_was_typed_after_an_error_and_after_it_was_mended(
    tab: Any, party: Any, client_app: Served
) -> None:
    begin(tab, party, client_app)
    for name, text in {**GOOD, "postcode": "SW8 2BB"}.items():
        tab.fill(f"#{name}", text)
    tab.click("#continue")
    tab.wait_for_selector("#errors-title")
    tab.fill("#postcode", GOOD["postcode"])
    tab.click("#continue")
    tab.wait_for_selector("#permission-text")
    tab.go_back()
    assert {name: tab.input_value(f"#{name}") for name in GOOD} == GOOD
    assert tab.locator("#errors-title").count() == 0


def tab_to(tab: Any, name: str) -> None:
    """Press Tab until the element with this id has the focus, which must be seen."""
    for _ in range(40):
        tab.keyboard.press("Tab")
        focused = "document.activeElement"
        if tab.evaluate(f"{focused}.id") == name:
            assert tab.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
            return
    raise AssertionError(f"Tab never comes to {name}")


def test_P18_the_keyboard_alone_goes_the_whole_way_and_an_error_has_the_focus(
    tab: Any, party: Any, client_app: Served
) -> None:
    begin(tab, party, client_app)
    tab_to(tab, "continue")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".errors")
    tab.wait_for_function("document.activeElement.className === 'errors'")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.activeElement.id === 'postcode'")
    tab.keyboard.type(GOOD["postcode"])
    for name in ("mpan", "mprn"):
        tab_to(tab, name)
        tab.keyboard.type(GOOD[name])
    tab_to(tab, "continue")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#permission-text")
    tab_to(tab, "agree")
    tab.keyboard.press("Space")
    tab_to(tab, "allow")
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"{client_app.origin}/callback**")
    assert party.permission_of(tab.inner_text("#code")) == party.grant().permission.id
