"""What was typed is there again after an error, Back and reload, in its own browser and while its page may be idle."""

from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import store
from consent_server.store.rows import table_of
from consent_server.store.tables.journeys import Journey
from consent_server.store.tables.sessions import SessionRow
from tests.journey.conftest import EMAIL, GOOD, Start

WRONG = {**GOOD, "postcode": "SW8 2BB", "name": "Ada Smith"}
COOKIE = "__Host-edp-typed-identify"


def typed(browser: Any, button: str = "continue") -> dict[str, str]:
    fields = browser.form_of(button)[1]
    return {name: fields[name] for name in ("postcode", "mpan", "mprn", "name", "email") if fields.get(name)}


def kept_by(world: Any) -> str:
    """Everything that the store has of journeys and sessions."""
    with world.app.app_context(), store.reading() as c:
        return repr([list(c.execute(sa.select(table_of(kind)))) for kind in (Journey, SessionRow)])


def test_an_error_stays_until_it_is_mended_and_what_was_typed_until_the_end(edp: Any) -> None:
    browser = edp.begun().click("continue", **WRONG)
    path = browser.form_of("continue")[0]
    for _ in range(2):  # as a reload does
        assert ("errors-title" in browser.page.ids(), typed(browser)) == (True, WRONG)
        browser.open(path)
    browser.click("continue", postcode=GOOD["postcode"])
    assert browser.path == "/journey/permission"
    decide = browser.form_of("allow", agree="yes")
    assert typed(browser.open(path)) == {**WRONG, "postcode": GOOD["postcode"]}
    assert "errors-title" not in browser.page.ids()
    browser.post(decide[0], decide[1])
    assert browser.landed["code"]
    assert "3938424403" not in browser.open(path).html
    assert browser.client.get_cookie(COOKIE, domain="localhost") is None


def test_E_the_store_and_the_cookie_have_nothing_of_it_to_read(edp: Any) -> None:
    browser = edp.begun().click("continue", **WRONG)
    cookie = browser.client.get_cookie(COOKIE, domain="localhost")
    assert (cookie.secure, cookie.http_only, cookie.same_site, cookie.max_age) == (True, True, "Lax", 900)
    for text in (cookie.value, kept_by(edp)):
        assert not [each for each in (*WRONG.values(), "1212345678902", "SW8 2BB") if each in text]


def test_E03_who_planted_the_journey_reads_nothing_that_is_typed_into_it(edp: Any) -> None:
    browser = edp.begun()
    planted = browser.secret()
    browser.click("continue", **WRONG)
    thief = edp.browser(Start("", browser.cookie, planted))
    assert typed(thief.open(browser.form_of("continue")[0])) == {}


@pytest.mark.parametrize("spoilt", ["", "x", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo=", "é"])
def test_what_is_no_cookie_of_ours_is_nothing(edp: Any, spoilt: str) -> None:
    browser = edp.begun()
    browser.client.set_cookie(COOKIE, spoilt, domain="localhost", secure=True)
    assert typed(browser.open(browser.form_of("continue")[0])) == {}


def test_one_journeys_words_are_not_shown_in_another(edp: Any) -> None:
    browser = edp.begun().click("continue", **WRONG)
    other = edp.journey()
    browser.client.set_cookie(other.cookie, other.value, domain="localhost", secure=True)
    assert typed(browser.open(other.path)) == {}


def test_what_is_too_long_for_a_cookie_is_not_kept_and_what_to_mend_is(edp: Any) -> None:
    browser = edp.begun().click("continue", **{**WRONG, "postcode": "9" * 1900, "mpan": "8" * 1900})
    assert (browser.path, typed(browser)) == ("/journey/identify", {})
    assert 'href="#mpan"' in browser.html


def test_a_guess_too_many_loses_nothing(edp: Any) -> None:
    browser = edp.begun()
    for _ in range(20):
        browser.click("continue", **WRONG)
        if browser.status == 429:
            break
        path = browser.form_of("continue")[0]
    assert browser.status == 429
    assert typed(browser.open(path)) == WRONG


def test_a_code_is_not_kept_and_an_address_is(cap: Any) -> None:
    browser = cap.begun().click("continue", email=EMAIL).click("continue", code="999999")
    assert "999999" not in browser.html
    assert "errors-title" in browser.page.ids()
    assert typed(browser.open(browser.form_of("continue")[0].replace("code", "sign-in"))) == {"email": EMAIL}


def test_where_permissions_are_looked_after_nothing_is_left_once_somebody_is_in(edp: Any) -> None:
    bill = {name: text for name, text in WRONG.items() if name != "name"}
    browser = edp.browser().open("/manage").click("continue", **bill)
    assert (browser.status, browser.path, typed(browser)) == (422, "/manage/bill", bill)
    browser.click("continue", postcode=GOOD["postcode"])
    assert browser.path == "/manage/permissions"
    browser.click("leave")
    assert typed(browser.open("/manage/bill")) == {}
