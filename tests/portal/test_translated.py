"""The portal's pages in Welsh, whose every message stands between marks: nothing else is to be read on them."""

import threading
from typing import Any

import pytest

from consent_server.web import background
from tests.web.sentences import mark_messages, read

#: What a provider may have on record without ending the connection here.
FOUND: tuple[dict[str, Any], ...] = (
    {},
    {"license": "https://registry.example/another"},
    {"expires": 1, "evidence": "https://elsewhere.example/"},
    {"revoked": True, "revoked_at": 1_773_307_800},
)


@pytest.fixture(autouse=True)
def between_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    mark_messages(monkeypatch)


def test_from_the_first_page_to_the_result_and_back(portal: Any) -> None:
    browser = read(portal.browser().open("/"), "/")
    read(browser.open("/sign-in"), "/sign-in")
    read(browser.click("continue", email="nobody"), "/sign-in", 422)
    read(browser.click("continue", email="new@business.example"), "/sign-in/code")
    read(browser.click("continue", code="0"), "/sign-in/code", 422)
    browser = read(portal.signed_in(browser=browser), "/account")
    read(browser.open("/connect/declined"), "/connect/declined")
    read(browser.open("/connect"), "/connect")
    read(browser.click("continue", provider="another"), "/connect", 422)
    provider = f"{portal.directory.data_services('')[1].id}"
    read(browser.click("continue", provider=provider), "/connect/permission")
    read(browser.click("continue"), "/connect/permission", 422)
    browser.click("continue", agree="yes")
    read(portal.back(browser), "/connected")
    (row,) = portal.connections()
    portal.collected(row.id, lacking={("gas", 1743465600): "partial"})
    read(browser.open("/connected"), "/connected")
    read(browser.open("/account"), "/account")
    read(browser.open("/result"), "/result")
    for path in ("/forecast", "/passkeys", "/permissions/held", f"/permissions/receipt?permission={row.id}"):
        read(browser.open(path), browser.path)
    portal.released("bank", on=[row.id])
    read(browser.open("/permissions"), "/permissions")
    read(browser.open("/evidence/evidence-of-bank"), "/evidence/evidence-of-bank")
    read(browser.open("/permissions/receipt?permission=bank"), browser.path)
    for recorded in FOUND:
        portal.upstream.recorded = recorded
        read(browser.open(f"/permissions/record?permission={row.id}"), "/permissions/record")
    read(browser.open("/permissions").click("withdraw-2"), "/permissions/withdraw")
    read(browser.click("confirm"), "/permissions/withdrawn")
    read(browser.open(f"/permissions/record?permission={row.id}"), "/permissions/record")
    read(browser.open("/permissions"), "/permissions")


def test_without_cookies(portal: Any) -> None:
    read(portal.browser().open("/sign-in?cookie=set"), "/sign-in", 400)


def test_while_a_provider_is_slow(portal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()
    before = portal.upstream.push

    def push(*asked: Any) -> Any:
        opened.wait(30)
        return before(*asked)

    portal.upstream.push = push
    monkeypatch.setattr(background, "WAIT_S", 0)
    read(portal.sent_off(), "/connect/leaving")
    monkeypatch.setattr(background, "MOST", 0)
    read(portal.at_permission().click("continue", agree="yes"), "/connect/permission", 503)
    opened.set()
