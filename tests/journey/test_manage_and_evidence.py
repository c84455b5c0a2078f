"""Looking after permissions at an EDP, and the evidence page (D09, D10)."""

from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import store
from consent_server.metering.register import STRENGTH
from consent_server.parties.operator.records import withdraw_as_operator
from consent_server.scheme import instant
from consent_server.store import released
from consent_server.store.rows import table_of
from consent_server.store.tables.metering import Meter
from tests.journey import conftest
from tests.journey.conftest import ELECTRICITY, meter

GOOD = {**conftest.GOOD, "mprn": ""}


@pytest.fixture
def managed(edp: Any, held_clock: Any) -> Any:
    edp.keep_grant(1)
    edp.keep_grant(2)
    edp.keep_grant(3, ended=held_clock.instant - 50, ended_as="withdrawn")
    edp.keep_grant(4, expires=held_clock.instant)
    edp.keep_grant(5, sme="sme-2")
    return edp


def signed_in(edp: Any) -> Any:
    return edp.browser().open("/manage").click("continue", **GOOD)


def test_live_and_past_permissions_are_listed(managed: Any) -> None:
    browser = signed_in(managed)
    assert browser.path == "/manage/permissions"
    buttons = [name for name in browser.page.ids() if name.startswith("withdraw")]
    assert buttons == ["withdraw", "withdraw-2"]
    for word in ("Live", "Withdrawn", "Expired", "8902"):
        assert word in browser.html


def test_a_card_says_what_was_fetched_and_when_last(managed: Any) -> None:
    assert "<dt>Fetched</dt>" not in signed_in(managed).html
    with managed.app.app_context(), store.writing() as c:
        released.note(
            c, "account-1", instant.parse("2025-10-01T00:00:00Z"), instant.parse("2026-03-01T00:00:00Z"), 1773307800
        )
    fetched = signed_in(managed).html.partition("<dt>Fetched</dt>")[2].partition("</dd>")[0]
    assert "1 October 2025 to 28 February 2026" in fetched
    assert "last on 12 March 2026 at 09:30, UK time" in fetched


def test_S24_what_was_never_collected_is_not_live_and_can_be_withdrawn(managed: Any) -> None:
    managed.keep_grant(6, redeemed=None, granted=9)
    managed.keep_grant(7, redeemed=None, granted=8)
    browser = signed_in(managed)
    assert [name for name in browser.page.ids() if name.startswith("withdraw")] == [
        *("withdraw", "withdraw-2", "withdraw-3", "withdraw-4")
    ]
    assert browser.html.count(">Live<") == browser.html.count(">Not finished</span>") == 2
    assert "Not finished" in managed.browser().open(f"/evidence/{managed.grants()[-1].evidence.id}").html
    browser.click("withdraw-3")
    assert "They never collected this permission" in browser.html
    browser.click("confirm")
    assert "never collected it" in browser.html
    assert managed.withdrawn() == ["p-6"]


def test_withdraw_confirm_done(managed: Any) -> None:
    browser = signed_in(managed).click("withdraw")
    assert browser.path == "/manage/withdraw"
    action, fields, _ = browser.form_of("confirm")
    browser.post(action, fields)
    assert (browser.path, managed.withdrawn()) == ("/manage/withdrawn", ["p-1"])
    assert "Permission withdrawn" in browser.html
    assert '<a href="/manage/receipt?permission=p-1">' in browser.html
    assert browser.post(action, fields).path == "/manage/withdrawn", "a second click"
    assert managed.withdrawn() == ["p-1"]
    browser.open("/manage/permissions").click("withdraw")
    assert browser.response.request.args["permission"] == "p-2"


def moved_out(managed: Any, held_clock: Any) -> None:
    table = table_of(Meter)
    with managed.app.app_context(), store.writing() as c:
        c.execute(sa.update(table).where(table.c.id == "m-el").values(until=held_clock.instant))
    managed.keep(meter(ELECTRICITY, "1212345678902", "sme-9", "Florist Ltd")._replace(since=held_clock.instant))


def test_H23_the_new_occupier_does_not_see_the_permission_of_the_old(managed: Any, held_clock: Any) -> None:
    moved_out(managed, held_clock)
    browser = signed_in(managed)
    assert browser.path == "/manage/permissions"
    assert "Florist Ltd" in browser.html
    assert "withdraw" not in browser.page.ids()
    for other in ("p-1", "p-2"):
        assert browser.open(f"/manage/receipt?permission={other}").status == 404


def test_a_business_withdraws_what_it_gave_for_a_meter_that_it_has_left(managed: Any, held_clock: Any) -> None:
    """By the bill of any meter that is its own today; without one, by the operator (docs/guessing.md)."""
    moved_out(managed, held_clock)
    by_gas = managed.browser().open("/manage").click("continue", **{**conftest.GOOD, "mpan": ""})
    by_gas.click("withdraw").click("confirm")
    assert managed.withdrawn() == ["p-1"]
    with managed.app.app_context():
        assert withdraw_as_operator("p-2", "asked by telephone") == ["p-2"]


def test_withdrawing_takes_our_form(managed: Any) -> None:
    browser = signed_in(managed).click("withdraw")
    action, fields, _ = browser.form_of("confirm")
    assert browser.post(action, {**fields, "csrf": "0"}).status == 403
    for other in ("unknown", "p-5", ""):
        assert browser.post(action, {**fields, "permission": other}).status == 404
    assert managed.withdrawn() == []


def test_the_receipt_shows_what_was_read(managed: Any) -> None:
    browser = signed_in(managed).open("/manage/receipt?permission=p-2")
    assert "<li>your gas</li>" in browser.html
    assert "Director" in browser.html
    for other in ("p-9", "p-5"):
        assert browser.open(f"/manage/receipt?permission={other}").status == 404


@pytest.mark.parametrize(
    "path", ["/manage/permissions", "/manage/withdraw?permission=p-1", "/manage/receipt?permission=p-1"]
)
def test_nothing_without_a_session(managed: Any, path: str) -> None:
    assert managed.browser().open(path).path == "/manage"


def test_e12_sessions_end_here_and_not_in_the_browser_alone(managed: Any, held_clock: Any) -> None:
    browser = signed_in(managed)
    cookie = browser.client.get_cookie("__Host-edp-manage", domain="localhost").value
    browser.click("leave")
    browser.client.set_cookie("__Host-edp-manage", cookie, domain="localhost", secure=True)
    assert browser.open("/manage/permissions").path == "/manage"
    browser = signed_in(managed)
    held_clock.step(1800)
    assert browser.open("/manage/permissions").path == "/manage"


def test_e03_signing_in_again_ends_the_session_before(managed: Any) -> None:
    browser = signed_in(managed)
    before = browser.client.get_cookie("__Host-edp-manage", domain="localhost").value
    browser.open("/manage").click("continue", **GOOD)
    assert browser.path == "/manage/permissions"
    browser.client.set_cookie("__Host-edp-manage", before, domain="localhost", secure=True)
    assert browser.open("/manage/permissions").path == "/manage"


def test_signing_in_has_the_same_words_and_limits_as_a_journey(managed: Any) -> None:
    browser = managed.browser().open("/manage")
    for _ in range(11):
        browser.click("continue", **{**GOOD, "postcode": "SW8 2BB"})
        assert (browser.status, browser.path) == (422, "/manage/bill")
    assert browser.click("continue", **GOOD).status == 429


def test_a_form_sent_without_having_been_shown(managed: Any) -> None:
    shown = managed.browser().open("/manage")
    action, fields, _ = shown.form_of("continue", **GOOD)
    stranger = managed.browser()
    assert stranger.post(action, fields).status == 403


def test_d10_the_evidence_is_full_masked_and_inert(managed: Any) -> None:
    managed.keep_grant(6, client_id="https://directory.example/a/other")
    browser = managed.browser().open(f"/evidence/{managed.grants()[0].evidence.id}")
    assert browser.status == 200
    headers = browser.response.headers
    assert "Set-Cookie" not in headers
    assert "frame-ancestors https:" in headers["Content-Security-Policy"]
    assert "X-Frame-Options" not in headers
    assert "noindex" in headers["X-Robots-Tag"]
    tags = {tag for tag, _ in browser.page.found}
    assert not tags & {"form", "button", "input", "script"}
    assert "1212345678902" not in browser.html
    for told in ("<li>your gas</li>", STRENGTH, "Director", "192.0.2.7", managed.grants()[0].evidence.shown_sha256):
        assert told in browser.html
    assert "<b>Smith" not in browser.html
    assert browser.html.count("<details") == 3, "all other grants of that SME to that client"


@pytest.mark.parametrize("sought", ["unknown", "x" * 500, "%00", "..%2f"])
def test_d09_unknown_evidence_is_the_same_404(managed: Any, sought: str) -> None:
    response = managed.browser().open(f"/evidence/{sought}")
    assert response.status == 404


def test_d09_guessing_is_limited(managed: Any) -> None:
    browser = managed.browser()
    statuses = [browser.open(f"/evidence/guess{number}").status for number in range(10)]
    assert statuses == [404] * 5 + [429] * 5


def test_H12_evidence_is_shown_whatever_was_opened_before_it(managed: Any) -> None:
    browser = managed.browser()
    for number in range(10):
        browser.open(f"/evidence/guess{number}")
    assert browser.open(f"/evidence/{managed.grants()[0].evidence.id}").status == 200
