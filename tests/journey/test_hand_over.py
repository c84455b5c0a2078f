"""At a CAP's issuer under the combined license: what was allowed before is handed on to the bank that it names alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consent_server import clock, store
from consent_server.outbound.directory import Member
from consent_server.scheme.permission import Act
from consent_server.store import connections, permissions
from consent_server.store.digests import digest
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Evidence
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.deployments import layout
from tests.journey.conftest import ASKER, CALLBACK, DIRECTORY, EMAIL, World

OTHER = "other@brewer.example"
OTHER_BANK = f"{DIRECTORY}/m/another-bank"
COMBINED = layout().license("one_permission")
READ = "Carbon Accounting R Us may tell Wharfside Bank:\n\n* your electricity\n* your gas\n"
DAY = 86_400


class Cap:
    """A CAP with two accounts; the first has a connection whose permission names the bank."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.license = COMBINED
        fsp = world.deployment.settings.scheme.fsp_roles
        for url, name in ((ASKER, "Wharfside Bank"), (OTHER_BANK, "Ember Lane Finance")):
            world.directory.members[url] = Member(url, f"{name} plc", name, fsp, None, True)
        for url, name in ((f"{DIRECTORY}/m/edp", "Hartlebury Meters"),):
            world.directory.members[url] = Member(url, f"{name} Ltd", name, (), None, True)
        world.keep(
            SmeAccount("account-1", EMAIL, "Acme Widgets Ltd", created=0),
            SmeAccount("account-2", OTHER, "Brewers Ltd", created=0),
        )

    def connect(
        self,
        account: str = "account-1",
        *,
        fsp: str = ASKER,
        license: str = COMBINED,
        age: int = DAY,
        name: str = "connection",
    ) -> str:
        """Keep a connection, and what was read for it; return its id."""
        name = f"{name}-of-{account}"
        row = ProviderConnection(
            id=name,
            account=account,
            issuer="https://edp.example",
            resource="https://edp.example",
            member=f"{DIRECTORY}/m/edp",
            application=f"{DIRECTORY}/a/edp",
            license=license,
            refresh_sealed=b"",
            refresh_mac=digest(name),
            granted=clock.now() - age,
            expires=clock.now() - age + 365 * DAY,
            fsp=fsp,
        )
        self.world.keep(row)
        self.world.keep(
            Evidence(
                id=f"evidence-of-{name}",
                subject=name,
                at=row.granted,
                license=license,
                text_shown=READ,
                shown_sha256=digest(READ),
                raw_sha256=self.world.deployment.licenses[COMBINED].text_sha256,
                client_id=f"{DIRECTORY}/a/edp",
                names={"CAP": "Carbon Accounting R Us", "FSP": "Wharfside Bank", "license": "Combined License"},
                who={"business": "Acme Widgets Ltd"},
                meters=[],
                address="192.0.2.1",
                user_agent="A browser",
                correlation_id="c0ffee",
            )
        )
        return name

    def signed_in(self, email: str = EMAIL) -> Any:
        browser = self.world.browser()
        browser.cookie = "__Host-cap-portal"
        return browser.open("/sign-in").click("continue", email=email).click("continue", code="123456")

    def press(self, browser: Any) -> str:
        """Press “Share with Wharfside Bank” in the account; return the login_hint that the bank is given."""
        browser.open("/account").click("share")
        assert browser.location.startswith("https://bank.example/apply?"), browser.location
        assert browser.landed["scope"] == COMBINED
        return str(browser.landed.get("login_hint", ""))

    def asked(self, browser: Any, **pushed: Any) -> Any:
        """The bank pushes, and this browser is sent to the authorization endpoint."""
        return browser.open(self.world.pushed(**pushed))

    def end(self, connection: str) -> None:
        with self.world.app.app_context(), store.writing() as c:
            row = connections.find(c, connection)
            assert row is not None
            assert connections.end(c, row, Act.WITHDRAW, at=clock.now(), by="sme", why="a test")


@pytest.fixture
def cap(build_party: Any, tmp_path: Path) -> Cap:
    codes = tmp_path / "codes.json"
    codes.write_text(json.dumps({EMAIL: "123456", OTHER: "123456"}), encoding="utf-8")
    banks = [{"member": ASKER, "start": "https://bank.example/apply"}]
    changes = {"sandbox.fixed_codes": str(codes), "portal.banks": banks}
    return Cap(build_party("cap", changes=changes))


def test_one_press_at_the_portal_and_the_browser_is_back_at_the_bank(cap: Cap) -> None:
    connection = cap.connect()
    browser = cap.signed_in()
    browser.open("/account")
    assert "on 11 March 2026" in browser.html, "the day on which it was allowed"
    hint = cap.press(browser)
    cap.asked(browser, hint=hint)
    assert browser.location.startswith(CALLBACK)
    kept = cap.world.grant()
    assert cap.world.permission_of(browser.landed["code"]) == kept.permission.id
    assert (kept.permission.sme, kept.permission.license, kept.permission.member) == ("account-1", COMBINED, ASKER)
    assert kept.permission.expires == clock.now() + 364 * DAY, "as long as what it hands on, not a year from now"
    assert (kept.evidence.text_shown, kept.evidence.shown_sha256) == (READ, digest(READ)), "the text that was read then"
    assert kept.evidence.names["agreed"] == "2026-03-11T09:30:00Z"
    # It rests on that connection alone.
    with cap.world.app.app_context():
        withdraw(connection, Withdrawal("sme", "portal", "a test"))
    assert cap.world.grant().permission.ended is not None


def test_B_after_a_withdrawal_the_account_says_that_it_ended_and_no_longer_urges_to_share(
    cap: Cap, held_clock: Any
) -> None:
    cap.connect()
    browser = cap.signed_in()
    cap.asked(browser, hint=cap.press(browser))
    held_clock.step(60)
    with cap.world.app.app_context():
        withdraw(cap.world.grant().permission.id, Withdrawal("sme", "portal", "a test"))
    browser.open("/account")
    assert "You stopped sharing with <bdi>" in browser.html
    assert "You allowed" not in browser.html
    assert [a.get("class") for tag, a in browser.page.found if a.get("id") == "share"] == ["second"]


def test_without_a_press_one_page_says_what_was_allowed_and_one_click_hands_it_on(cap: Cap) -> None:
    cap.connect()
    browser = cap.asked(cap.signed_in())
    assert browser.path == "/journey/permission", "no code: the session counts"
    assert not {"agree", "permission-text"} & set(browser.page.ids()), "nothing is read a second time"
    assert "You allowed this on 11 March 2026" in browser.html
    assert "Acme Widgets Ltd" in browser.html
    assert not cap.world.grants()
    browser.click("allow")
    assert browser.landed["code"]
    assert cap.world.grant().evidence.who["method"] == "Signed in to its account with a code sent by e-mail"


def test_without_a_session_it_signs_in_first(cap: Cap) -> None:
    cap.connect()
    browser = cap.world.begun().click("continue", email=EMAIL).click("continue", code="123456")
    assert browser.path == "/journey/permission"
    assert browser.click("allow").landed["code"]


EMISSIONS = layout().license("emissions")


def test_B_a_bank_without_such_a_permission_asks_for_its_own_and_no_code_is_typed(cap: Cap) -> None:
    cap.connect(fsp="", license=layout().license("electricity_and_gas"))
    browser = cap.signed_in()
    browser.open("/account").click("share")
    assert browser.landed["scope"] == EMISSIONS
    cap.asked(browser, license=EMISSIONS, hint=browser.landed["login_hint"])
    assert browser.path == "/journey/permission"
    assert browser.click("allow").status == 422, "the text must be agreed to"
    assert browser.click("allow", agree="yes").landed["code"]
    assert cap.world.grant().permission.license == EMISSIONS


def test_B_a_bank_asks_again_once_another_provider_is_connected(cap: Cap) -> None:
    def connect(name: str) -> None:
        cap.connect(fsp="", license=layout().license("electricity_and_gas"), name=name)

    def share(browser: Any) -> None:
        browser.open("/account").click("share")
        cap.asked(browser, license=EMISSIONS, hint=browser.landed["login_hint"]).click("allow", agree="yes")
        with cap.world.app.app_context(), store.writing() as c:
            permissions.redeem(c, cap.world.permission_of(browser.landed["code"]), clock.now())
        assert "share" not in browser.open("/account").page.ids()

    connect("first")
    browser = cap.signed_in()
    share(browser)
    connect("second")
    share(browser)


def test_B_who_comes_from_the_bank_by_itself_goes_on_as_it_is_signed_in(cap: Cap) -> None:
    cap.connect(fsp="", license=layout().license("electricity_and_gas"))
    browser = cap.asked(cap.signed_in(), license=EMISSIONS)
    assert browser.path == "/journey/sign-in"
    assert {"email", "continue", "as-signed-in"} <= set(browser.page.ids())
    assert EMAIL in browser.html
    assert browser.click("as-signed-in").path == "/journey/permission"
    other = cap.asked(cap.signed_in(), license=EMISSIONS)
    other.click("continue", email=OTHER).click("continue", code="123456")
    assert "connect-first" in other.page.ids(), "the account that was typed, not the one of the session"


def test_nobody_goes_on_by_a_session_that_there_is_not(cap: Cap) -> None:
    cap.connect()
    browser = cap.world.begun()
    action, fields, _ = browser.form_of("continue")
    assert browser.post(action, {**fields, "as": "session"}).path == "/journey/sign-in"
    assert browser.status == 422


def test_a_hand_over_can_be_declined(cap: Cap) -> None:
    cap.connect()
    browser = cap.asked(cap.signed_in()).click("decline")
    assert browser.landed["error"] == "access_denied"
    assert not cap.world.grants()


def not_connected(cap: Cap) -> None:
    pass


def names_another_bank(cap: Cap) -> None:
    cap.connect(fsp=OTHER_BANK)


def names_no_bank(cap: Cap) -> None:
    cap.connect(license=layout().license("electricity_and_gas"))


def was_withdrawn(cap: Cap) -> None:
    cap.end(cap.connect())


def has_expired(cap: Cap) -> None:
    cap.connect(age=366 * DAY)


def is_another_accounts(cap: Cap) -> None:
    cap.connect("account-2")


@pytest.mark.parametrize(
    ("state", "page"),
    [
        (not_connected, "connect-first"),
        (names_another_bank, "not-named"),
        (names_no_bank, "not-named"),
        (was_withdrawn, "connect-first"),
        (has_expired, "connect-first"),
        (is_another_accounts, "connect-first"),
    ],
)
def test_no_permission_that_names_this_bank(cap: Cap, state: Any, page: str) -> None:
    state(cap)
    browser = cap.signed_in()
    cap.asked(browser)
    assert page in browser.page.ids()
    assert "allow" not in browser.page.ids()
    assert not cap.world.grants()
    assert browser.click("cancel").landed["error"] == "access_denied"


def test_what_changes_after_the_press_hands_nothing_on(cap: Cap) -> None:
    connection = cap.connect()
    browser = cap.signed_in()
    hint = cap.press(browser)
    cap.end(connection)
    cap.asked(browser, hint=hint)
    assert browser.location == ""
    assert not cap.world.grants()


def test_what_changes_while_the_page_is_open_hands_nothing_on(cap: Cap) -> None:
    connection = cap.connect()
    browser = cap.asked(cap.signed_in())
    cap.end(connection)
    assert "connect-first" in browser.click("allow").page.ids()
    assert not cap.world.grants()


# Attacks


def test_a_forwarded_link_of_the_bank_does_not_use_the_press(cap: Cap) -> None:
    """Another's application at the same bank, opened within seconds of the press in the browser that pressed."""
    cap.connect()
    browser = cap.signed_in()
    hint = cap.press(browser)
    for pushed in ({}, {"hint": hint[:-1] + "x"}, {"hint": ""}):
        cap.asked(browser, **pushed)
        assert (browser.status, browser.path) == (200, "/journey/permission"), "it is asked, and the bank is named"
        assert not cap.world.grants()


def test_a_press_counts_for_two_minutes(cap: Cap, held_clock: Any) -> None:
    cap.connect()
    browser = cap.signed_in()
    hint = cap.press(browser)
    held_clock.step(120)
    cap.asked(browser, hint=hint)
    assert not cap.world.grants()


def test_a_press_counts_once(cap: Cap) -> None:
    cap.connect()
    browser = cap.signed_in()
    hint = cap.press(browser)
    cap.asked(browser, hint=hint)
    assert len(cap.world.grants()) == 1
    cap.asked(browser, hint=hint)
    assert browser.path == "/journey/permission"
    assert len(cap.world.grants()) == 1


def test_a_press_of_another_browser_does_not_count(cap: Cap) -> None:
    cap.connect()
    hint = cap.press(cap.signed_in())
    other = cap.asked(cap.signed_in(), hint=hint)
    assert other.path == "/journey/permission"
    assert not cap.world.grants()


def test_a_press_for_one_bank_is_not_one_for_another(cap: Cap) -> None:
    cap.connect()
    browser = cap.signed_in()
    hint = cap.press(browser)
    cap.asked(browser, hint=hint, member=OTHER_BANK)
    assert "not-named" in browser.page.ids()
    assert not cap.world.grants()


def test_who_signs_in_as_another_meanwhile_is_asked_as_that_one(cap: Cap) -> None:
    """Login CSRF: whoever is signed in when the button is pressed must be the one that the page has named."""
    cap.connect("account-1")
    browser = cap.asked(cap.signed_in())
    opened = browser.form_of("allow")[:2]
    browser.open("/account").click("leave")
    browser.open("/sign-in").click("continue", email=OTHER).click("continue", code="123456")
    browser.post(*opened)
    assert "connect-first" in browser.page.ids(), "the other account, which has nothing to share"
    assert not cap.world.grants()


def test_who_has_signed_out_meanwhile_signs_in_again(cap: Cap) -> None:
    cap.connect()
    browser = cap.asked(cap.signed_in())
    opened = browser.form_of("allow")[:2]
    browser.open("/account").click("leave")
    assert browser.post(*opened).path == "/journey/sign-in"
    assert not cap.world.grants()


def test_another_account_can_be_used(cap: Cap) -> None:
    cap.connect()
    browser = cap.asked(cap.signed_in())
    link = next(a["href"] for tag, a in browser.page.found if a.get("id") == "another")
    browser.open(link)
    assert browser.path == "/journey/sign-in"
    browser.click("continue", email=OTHER).click("continue", code="123456")
    assert "connect-first" in browser.page.ids()


def test_no_form_leads_to_a_bank_that_is_not_in_the_settings(cap: Cap) -> None:
    cap.connect()
    browser = cap.signed_in().open("/account")
    action, fields, _ = browser.form_of("share")
    for bank in (OTHER_BANK, "https://evil.example/", "//evil.example", "", f"{ASKER}/"):
        browser.post(action, {**fields, "bank": bank})
        assert (browser.status, browser.location) == (404, ""), bank


def test_a_bank_that_the_directory_has_no_more_is_not_offered(cap: Cap) -> None:
    cap.connect()
    browser = cap.signed_in().open("/account")
    action, fields, _ = browser.form_of("share")
    members = cap.world.directory.members
    members[ASKER] = replace(members[ASKER], roles=())
    assert browser.post(action, fields).status == 404
    assert "share" not in browser.open("/account").page.ids()


def test_a_press_from_another_site_is_refused(cap: Cap) -> None:
    cap.connect()
    browser = cap.signed_in().open("/account")
    action, fields, _ = browser.form_of("share")
    assert browser.post(action, {**fields, "csrf": "x"}).status == 403


def test_without_what_the_page_said_the_sme_is_asked(cap: Cap) -> None:
    """What is handed on is what the page showed: with another digest the browser goes on, and is asked at our issuer."""
    cap.connect()
    browser = cap.signed_in().open("/account")
    action, fields, _ = browser.form_of("share")
    browser.post(action, {**fields, "covers": "0" * 64})
    assert cap.asked(browser, hint=browser.landed["login_hint"]).path == "/journey/permission"
    assert not cap.world.grants()
