"""Passkeys on the portal's pages, with a device in software. What a passkey must be: tests/accounts."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from consent_server import store
from consent_server.accounts import passkeys
from consent_server.jobs import retention
from consent_server.parties.operator import subjects
from consent_server.portal.views.passkeys import FRESH_S
from consent_server.receipts import mails
from consent_server.scheme.instant import DAY
from consent_server.settings.storage import RetentionSettings
from consent_server.store import evidence, rows
from consent_server.store.tables.accounts import Passkey, SmeAccount, UsedChallenge
from consent_server.web.limits import TooMany
from tests.passkey import SoftwarePasskey

EMAIL, OTHER = "office@kelham.example", "hello@wensum.example"
ACCOUNT = SmeAccount("kelham", EMAIL, "Kelham Crumb Bakery Ltd", 0)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite alone: tests/store has the statements on both databases."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def origin(portal: Any) -> str:
    return str(portal.deployment.settings.public.origin)


def options(browser: Any) -> str:
    """The options in the page's form for a passkey."""
    (found,) = [a["data-options"] for tag, a in browser.page.found if tag == "form" and "data-passkey" in a]
    return str(found)


def added(portal: Any, origin: str, email: str = EMAIL, **how: Any) -> SoftwarePasskey:
    """A passkey of an account, which was added a moment ago."""
    device = SoftwarePasskey(**how)
    browser = portal.signed_in(email).open("/passkeys")
    browser.click("add", name="Office laptop", passkey=device.made(options(browser), origin))
    assert (browser.status, browser.path) == (200, "/passkeys"), browser.html
    return device


def signing_in(portal: Any, next_: str = "") -> Any:
    return portal.browser().open(f"/sign-in{'?next=' + next_ if next_ else ''}")


def count(kind: Any) -> int:
    with store.reading() as c:
        return len(rows.every(c, kind, rows.table_of(kind).select()))


def posted(portal: Any) -> list[tuple[str, str]]:
    portal.mail.sent.clear()
    mails.send_due()
    return [(to, f"{subject}\n{text}") for to, subject, text in portal.mail.sent]


def test_a_passkey_that_is_added_while_its_business_is_erased_is_not_kept(
    portal: Any, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection refers to the account, which therefore stays."""
    browser, registered = portal.connected().open("/passkeys"), passkeys._registered

    def erased_meanwhile(*asked: Any) -> Any:
        subjects.erase("kelham", "Privacy desk")
        return registered(*asked)

    monkeypatch.setattr(passkeys, "_registered", erased_meanwhile)
    browser.click("add", name="Office laptop", passkey=SoftwarePasskey().made(options(browser), origin))
    assert count(Passkey) == 0


def test_a_passkey_is_added_signs_in_and_is_removed_and_each_change_is_mailed(portal: Any, origin: str) -> None:
    brand, device = portal.deployment.settings.brand, added(portal, origin)
    ((to, text),) = posted(portal)
    assert (to, text.partition("\n")[0]) == (EMAIL, f"A passkey was added to your {brand} account")
    assert "Office laptop" in text
    browser = signing_in(portal, "/permissions")
    browser.click("use-passkey", passkey=device.used(options(browser), origin))
    assert (browser.status, browser.path) == (200, "/permissions")
    browser.open("/passkeys")
    assert "Last used on" in browser.html
    browser.click("remove")
    assert (browser.path, "You have none." in browser.html) == ("/passkeys", True)
    ((to, text),) = posted(portal)
    assert (to, "A passkey was removed" in text) == (EMAIL, True)
    browser = signing_in(portal)
    browser.click("use-passkey", passkey=device.used(options(browser), origin))
    assert (browser.status, browser.open("/account").path) == (422, "/sign-in")
    assert portal.signed_in().path == "/account", "the code works as before"


def test_the_evidence_says_how_the_business_signed_in(portal: Any, origin: str) -> None:
    device = added(portal, origin)
    browser = signing_in(portal, "/connect")
    browser.click("use-passkey", passkey=device.used(options(browser), origin))
    browser.click("continue", provider="https://directory.example/catalogue/hartlebury").click("continue", agree="yes")
    portal.back(browser)
    (connection,) = portal.connections()
    with store.reading() as c:
        seen = evidence.of_subject(c, connection.id)
    assert seen is not None
    assert (seen.who["method"], seen.who["strength"]) == (passkeys.METHOD, passkeys.STRENGTH)


def test_a_passkey_is_added_soon_after_signing_in_alone(portal: Any, origin: str, held_clock: Any) -> None:
    browser = portal.signed_in().open("/passkeys")
    made = SoftwarePasskey().made(options(browser), origin)
    action, fields, _ = browser.form_of("add", name="Phone", passkey=made)
    held_clock.step(FRESH_S)
    browser.post(action, fields)
    assert (browser.path, browser.page.ids().count("sign-in-again"), count(Passkey)) == ("/passkeys", 1, 0)
    browser.click("sign-in-again").click("continue", email=EMAIL).click("continue", code=portal.mail.code)
    assert (browser.path, browser.page.ids().count("add")) == ("/passkeys", 1)


def test_E01_another_accounts_passkey_cannot_be_removed_and_no_form_is_anybodys(portal: Any, origin: str) -> None:
    added(portal, origin)
    (ours,) = passkeys.of_account(ACCOUNT)
    browser = portal.signed_in(OTHER).open("/passkeys")
    csrf = next(form["fields"]["csrf"] for form in browser.page.forms if "csrf" in form["fields"])
    assert browser.post("/passkeys/remove", {"id": ours.id, "csrf": csrf}).status == 404
    own = portal.signed_in()
    for path in ("/passkeys/remove", "/passkeys/add", "/sign-in/passkey"):
        assert own.post(path, {"id": ours.id, "passkey": "{}", "name": "x", "csrf": csrf}).status == 403, path
    assert portal.browser().post("/passkeys/remove", {"id": ours.id}).path == "/sign-in"
    assert passkeys.of_account(ACCOUNT) == [ours]


def test_a_passkey_gets_another_name_from_its_account_alone(portal: Any, origin: str) -> None:
    added(portal, origin)
    with store.reading() as c:
        (ours,) = rows.every(c, Passkey, rows.table_of(Passkey).select())
    browser = portal.signed_in(EMAIL).open("/passkeys").open(f"/passkeys/rename?id={ours.id}")
    assert 'value="Office laptop"' in browser.html
    for wrong in ("", " ", "a\u202eb", "x" * 61):
        browser.click("rename", name=wrong)
        assert (browser.status, "Type a name by which" in browser.html) == (422, True), wrong
    browser.click("rename", name="The  <b>phone</b>")
    assert (browser.path, "The &lt;b&gt;phone&lt;/b&gt;" in browser.html) == ("/passkeys", True)
    other = portal.signed_in(OTHER)
    assert other.open(f"/passkeys/rename?id={ours.id}").status == 404
    csrf = next(form["fields"]["csrf"] for form in other.open("/account").page.forms if "csrf" in form["fields"])
    assert other.post("/passkeys/rename", {"id": ours.id, "name": "Mine", "csrf": csrf}).status == 404
    assert browser.post("/passkeys/rename", {"id": ours.id, "name": "Mine", "csrf": csrf}).status == 403
    assert "Mine" not in portal.signed_in(EMAIL).open("/passkeys").html


def test_E11_strangers_passkeys_are_limited_and_neither_the_owner_nor_codes_are(portal: Any, origin: str) -> None:
    device = added(portal, origin)
    known = portal.signed_in()
    stranger = signing_in(portal)
    with contextlib.suppress(TooMany):
        for _ in range(100):
            passkeys.sign_in("{}", "127.0.0.1", "", "a stranger's browser")
    stranger.click("use-passkey", passkey="{}")
    assert stranger.status == 429
    assert "passkeys from your network" in stranger.html
    known.open("/sign-in")
    known.click("use-passkey", passkey=device.used(options(known), origin))
    assert (known.status, known.path) == (200, "/account"), "a browser in which the owner was before does not wait"
    assert portal.signed_in().path == "/account"


def test_E03_a_passkey_begins_a_new_session_and_keeps_to_our_pages(portal: Any, origin: str) -> None:
    device = added(portal, origin)
    browser = portal.signed_in(OTHER)
    before = browser.secret()
    browser.open("/sign-in?next=//evil.example/")
    browser.click("use-passkey", passkey=device.used(options(browser), origin))
    assert (browser.path, browser.secret() != before) == ("/account", True)
    assert EMAIL in browser.html
    assert OTHER not in browser.html


def test_what_is_not_needed_any_more_is_deleted(portal: Any, origin: str, held_clock: Any) -> None:
    added(portal, origin)
    browser = portal.signed_in().open("/passkeys").click("remove")
    posted(portal)
    assert (count(Passkey), count(UsedChallenge)) == (1, 1)
    kept = RetentionSettings()
    held_clock.step(kept.requests_days * DAY + 1)
    retention.apply(kept)
    assert (count(Passkey), count(UsedChallenge)) == (1, 0)
    held_clock.step(kept.passkeys_days * DAY)
    retention.apply(kept)
    assert (count(Passkey), browser.status) == (0, 200)


def test_the_script_is_ours_alone_and_other_pages_have_none(portal: Any) -> None:
    script = portal.browser().client.get("/static/passkeys.js", base_url="https://localhost")
    assert (script.status_code, script.mimetype) == (200, "text/javascript")
    for path in ("/account", "/permissions", "/connect"):
        policy = portal.signed_in().open(path).response.headers["Content-Security-Policy"]
        assert "script-src" not in policy
    assert "script-src 'self'; form-action" in signing_in(portal).response.headers["Content-Security-Policy"]


def test_an_account_adds_so_many_passkeys_a_day_whatever_it_removes(portal: Any, origin: str, monkeypatch: Any) -> None:
    """Each is mailed, and all mails wait in one line."""
    monkeypatch.setattr("consent_server.web.budgets.PASSKEYS_ADDED_PER_DAY", 2)
    for _ in range(2):
        added(portal, origin)
        (mine,) = passkeys.of_account(ACCOUNT)
        passkeys.remove(ACCOUNT, mine.id)
    with pytest.raises(TooMany):
        passkeys.add(ACCOUNT, "one more", "{}", "a browser")
