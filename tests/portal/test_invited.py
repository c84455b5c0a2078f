"""A bank's invitation at the portal: the combined license, which names that bank, and which bank a renewal names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consent_server import clock, store
from consent_server.outbound.directory import Member
from consent_server.parties.cap import Cap
from consent_server.receipts import links
from consent_server.settings import BadSettings
from consent_server.store import accounts, evidence
from consent_server.store.tables.accounts import SmeAccount
from tests.deployments import deploy, in_new_database, layout, settings_of
from tests.portal.conftest import BANK, DIRECTORY, FSP_ROLE, LICENSE, SETTINGS, Portal

COMBINED, EMISSIONS = (layout().license(name) for name in ("one_permission", "emissions"))
OTHER_BANK = f"{DIRECTORY}/m/ember"
INVITED = {
    **SETTINGS,
    "portal.banks": [
        {"member": BANK, "start": "https://wharfside.example/apply"},
        {"member": OTHER_BANK, "start": "https://ember.example/apply"},
    ],
}


@pytest.fixture
def portal(tmp_path: Path, held_clock: Any) -> Iterator[Portal]:
    """On SQLite alone: nothing here is the database's."""
    portal = Portal(deploy(settings_of("cap", f"sqlite:///{tmp_path / 'store.db'}", INVITED)))
    portal.directory.members[OTHER_BANK] = Member(OTHER_BANK, "Ember Lane plc", "Ember Lane", (FSP_ROLE,), None, True)
    with in_new_database(portal.app):
        with store.writing() as c:
            accounts.add(c, SmeAccount("kelham", "office@kelham.example", "Kelham Crumb Bakery Ltd", created=0))
        yield portal


def invited(portal: Portal, bank: str = BANK) -> Any:
    """A browser that has followed a bank's link and signed in on the first page."""
    browser = portal.browser().open(f"/start?fsp={bank}")
    return browser.click("continue", email="office@kelham.example").click("continue", code=portal.mail.code)


def agreed(portal: Portal, bank: str = BANK) -> Any:
    browser = invited(portal, bank).open("/connect")
    browser.click("continue", provider=f"{DIRECTORY}/catalogue/hartlebury")
    return browser.click("continue", agree="yes")


def test_from_the_invitation_to_the_press(portal: Portal) -> None:
    browser = invited(portal)
    assert browser.path == "/connect", "there is nothing to see in an account without a connection"
    browser.click("continue", provider=f"{DIRECTORY}/catalogue/hartlebury")
    assert "give the result to <bdi>Wharfside Bank</bdi>?" in browser.html
    browser.click("continue", agree="yes")
    assert portal.upstream.pushed[-1].license == COMBINED
    assert portal.upstream.beside == {
        "fsp": BANK,
        "permission_text_sha256": portal.deployment.licenses[COMBINED].text_sha256,
    }
    portal.back(browser)
    assert browser.path == "/connected"
    (row,) = portal.connections()
    assert (row.license, row.fsp) == (COMBINED, BANK)
    with store.reading() as c:
        seen = evidence.of_subject(c, row.id)
    assert seen is not None
    assert (seen.license, seen.names["FSP"]) == (COMBINED, "Wharfside Bank")
    policy = browser.response.headers["Content-Security-Policy"]
    assert "form-action 'self' https://wharfside.example " in policy
    receipt = portal.browser().open(links.make_path(row.id))
    assert "half-hourly readings of your meters. Wharfside Bank may see your monthly emissions." in receipt.html
    browser.click("share")
    assert browser.location.startswith("https://wharfside.example/apply?iss=")
    assert browser.landed["scope"] == COMBINED


def test_without_a_bank_nothing_is_said_of_one(portal: Portal) -> None:
    portal.connected()
    (row,) = portal.connections()
    assert (row.license, row.fsp) == (LICENSE, None)
    assert portal.upstream.beside == {"permission_text_sha256": "a" * 64}


@pytest.mark.parametrize("second", [OTHER_BANK, BANK])
def test_a_renewal_names_the_bank_that_the_permission_names(portal: Portal, second: str) -> None:
    portal.back(agreed(portal))
    portal.back(agreed(portal, second))
    newest, before = sorted(portal.connections(), key=lambda row: row.ended is not None)
    assert (newest.license, newest.fsp, before.ended) == (COMBINED, BANK, clock.now())
    browser = invited(portal, OTHER_BANK).open("/account")
    names = [fields["bank"] for fields in (form["fields"] for form in browser.page.forms) if "bank" in fields]
    assert names == [OTHER_BANK, BANK], "whoever has sent the business stands first"
    browser.click("share")
    assert browser.landed["scope"] == EMISSIONS, "the other bank asks for a permission of its own"


def test_a_connection_without_a_bank_stays_without_one(portal: Portal) -> None:
    portal.connected()
    portal.back(agreed(portal))
    assert {row.license for row in portal.connections()} == {LICENSE}


def test_what_is_no_bank_is_passed_over(portal: Portal) -> None:
    for fsp in (
        f"{DIRECTORY}/m/hartlebury",
        f"{DIRECTORY}/m/unknown",
        "https://evil.example/m/bank",
        f"{BANK}?next=https://evil.example",
    ):
        browser = portal.browser().open(f"/start?fsp={fsp}")
        assert (browser.status, browser.path) == (200, "/"), fsp
        assert "You come from" not in browser.html, fsp
    browser.click("continue", email="office@kelham.example").click("continue", code=portal.mail.code)
    assert browser.path == "/account"


def test_a_bank_that_has_left_meanwhile_is_not_named(portal: Portal) -> None:
    browser = invited(portal)
    del portal.directory.members[BANK]
    browser.open("/connect").click("continue", provider=f"{DIRECTORY}/catalogue/hartlebury")
    assert "Wharfside" not in browser.html
    browser.click("continue", agree="yes")
    assert portal.upstream.pushed[-1].license == LICENSE


def test_a_bank_that_leaves_between_reading_and_agreeing_is_read_again(portal: Portal) -> None:
    browser = invited(portal).open("/connect").click("continue", provider=f"{DIRECTORY}/catalogue/hartlebury")
    del portal.directory.members[BANK]
    assert browser.click("continue", agree="yes").status == 409
    assert not portal.upstream.pushed


def test_a_combined_license_that_our_issuer_does_not_take_stops_the_start() -> None:
    settings = settings_of("cap", "sqlite://")
    taken = tuple(each for each in settings.scheme.licenses if each.url != COMBINED)
    scheme = settings.scheme.model_copy(update={"licenses": taken})
    with pytest.raises(BadSettings, match="combined_license"):
        Cap(settings.model_copy(update={"scheme": scheme}))
