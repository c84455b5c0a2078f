"""The journey's pages in Welsh, whose every message stands between marks: nothing else is to be read on them."""

from typing import Any

import pytest

from tests.journey.conftest import GOOD
from tests.web.sentences import mark_messages, read


@pytest.fixture(autouse=True)
def between_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    mark_messages(monkeypatch)


def test_the_journey_at_an_edp(edp: Any) -> None:
    edp.names["FSP"] = "Wharfside Bank"
    browser = read(edp.begun(), "/journey/identify")
    read(browser.click("continue", postcode="x", mpan="1", mprn="2"), "/journey/identify", 422)
    read(browser.click("continue", **GOOD), "/journey/permission")
    read(browser.click("allow"), "/journey/permission", 422)
    browser.click("allow", agree="yes")
    page = edp.browser()
    page.client.set_cookie(browser.cookie, browser.secret(), domain="localhost", secure=True)
    journey = browser.response.request.args["journey"]
    read(page.open(f"/journey/permission?journey={journey}"), "/journey/permission")
    read(page.open(f"/journey/receipt?journey={journey}"), page.path)


def test_the_journey_at_a_cap(cap: Any) -> None:
    browser = read(cap.begun(), "/journey/sign-in")
    read(browser.click("continue", email="nobody"), "/journey/sign-in", 422)
    read(browser.click("continue", email="owner@acme.example"), "/journey/code")
    read(browser.click("continue", code="999999"), "/journey/code", 422)
    read(browser.click("continue", code="123456"), "/journey/permission")
    cap.disconnect()
    browser = cap.begun().click("continue", email="owner@acme.example").click("continue", code="123456")
    read(browser, "/journey/permission")
    assert "connect-first" in browser.page.ids()


def test_looking_after_permissions(edp: Any, held_clock: Any) -> None:
    edp.keep_grant(1)
    edp.keep_grant(2, ended=held_clock.instant - 50, ended_as="withdrawn")
    edp.keep_grant(3, expires=held_clock.instant)
    browser = read(edp.browser().open("/manage"), "/manage")
    read(browser.click("continue", **GOOD), "/manage/permissions")
    read(browser.open("/manage/held"), "/manage/held")
    read(browser.open("/manage/receipt?permission=p-1"), "/manage/receipt")
    read(browser.open("/manage/withdraw?permission=p-2"), "/manage/withdraw")
    read(browser.open("/manage/withdraw?permission=p-1"), "/manage/withdraw")
    read(browser.click("confirm"), "/manage/withdrawn")
    read(browser.open(f"/evidence/{edp.grants()[0].evidence.id}"), browser.path)


@pytest.mark.parametrize(
    ("path", "status"), [("/nowhere", 404), ("/journey/identify", 403), ("/errors/too_many_attempts", 200)]
)
def test_errors(edp: Any, path: str, status: int) -> None:
    read(edp.browser().open(path), path, status)


def test_too_many(edp: Any) -> None:
    browser = edp.browser()
    for _ in range(5):
        browser.open("/evidence/none")
    read(browser.open("/evidence/none"), "/evidence/none", 429)
