"""H13: a bill opens the meters whose numbers were typed. Other sites are offered where the register vouches for the link."""

import dataclasses
from typing import Any

import pytest

from consent_server import clock, store
from consent_server.metering.register import LINKED, TYPED
from consent_server.receipts import links, receipt
from consent_server.store.tables.metering import Meter
from tests.journey.conftest import with_meters

BILL = {"postcode": "SW8 1AA", "mpan": "1212345678902"}


def row(meter: str, number: str, postcode: str, site: str, fuel: str = "electricity", **tenancy: Any) -> Meter:
    place = (number, postcode, postcode.split()[0])
    return Meter(meter, "sme-1", "Acme Widgets Ltd", fuel, *place, measures=["import"], site=site, **tenancy)


@pytest.fixture
def chain(edp: Any, held_clock: Any) -> Any:
    """A business with the meters of the bill, two further sites, one that it has left and one that it has not moved into."""
    now = held_clock.instant
    edp.keep(
        row("y-el", "2300000000001", "YO1 7HH", "Yard"),
        row("y-gas", "2000000001", "YO1 7HH", "Yard", "gas"),
        row("shop", "2300000000002", "LS1 4AP", ""),
        row("left", "2300000000003", "LS1 4AP", "Old shop", until=now),
        row("soon", "2300000000004", "LS1 4AP", "New shop", since=now + 1),
    )
    return edp


def identified(world: Any, **typed: str) -> Any:
    return world.begun().click("continue", **{**BILL, **typed})


def granted(world: Any) -> list[tuple[str, str]]:
    return [(meter["id"], meter["proof"]) for meter in world.grant().permission.meters]


def test_H13_other_sites_are_offered_by_name_and_none_is_ticked(chain: Any) -> None:
    browser = identified(chain)
    assert browser.path == "/journey/sites"
    assert "checked" not in browser.html.partition("<form")[2]
    for told in ("Yard", "Meters in LS1", "Acme Widgets Ltd", "Step 2 of 3"):
        assert told in browser.html
    for untold in ("2300000000001", "YO1 7HH", "Old shop", "New shop"):
        assert untold not in browser.html
    assert browser.click("continue").path == "/journey/permission"
    browser.click("allow", agree="yes")
    assert granted(chain) == [("m-el", TYPED)]


def test_H13_what_is_ticked_is_in_the_permission_and_the_evidence_says_why(chain: Any) -> None:
    browser = identified(chain)
    browser.click("continue", **{"site-2": "yes"})
    assert "Yard" in browser.html
    browser.click("allow", agree="yes")
    assert granted(chain) == [("m-el", TYPED), ("y-el", LINKED), ("y-gas", LINKED)]
    evidence = chain.browser().open(f"/evidence/{chain.grant().evidence.id}").html
    assert "1 meter: its number was typed" in evidence
    assert "2 meters, each: the business ticked it, and our records link it to the business" in evidence


def test_P6_a_single_meter_of_a_site_is_ticked_by_itself(chain: Any) -> None:
    """Its gas is left out everywhere: permission, token's data sources, evidence, receipt."""
    browser = identified(chain).click("continue", **{"meter-1": "yes"})
    path = browser.form_of("allow")[0].replace("permission", "sites")
    ticked = [found["id"] for tag, found in browser.open(path).page.found if tag == "input" and "checked" in found]
    assert ticked == ["meter-1"]
    browser.click("continue", **{"meter-1": "yes"}).click("allow", agree="yes")
    assert granted(chain) == [("m-el", TYPED), ("y-el", LINKED)]
    kept = chain.grant()
    assert [each["meter"] for each in kept.permission.datasources] == ["m-el", "y-el"]
    assert [each["id"] for each in kept.evidence.meters] == ["m-el", "y-el"]
    with chain.app.app_context():
        link = links.make_path(kept.permission.id)
        with store.reading() as c:
            about = receipt.find(c, kept.permission.id, clock.now())
    assert about is not None
    assert about.meter_names == ["electricity, SW8, ••••••••• 8902", "electricity, Yard, YO1, ••••••••• 0001"]
    for page in (link, f"/evidence/{kept.evidence.id}"):
        html = chain.browser().open(page).html
        assert "Yard" in html
        assert "Gas</span>" not in html


def test_all_sites_are_one_tick(chain: Any) -> None:
    identified(chain).click("continue", all="yes").click("allow", agree="yes")
    assert [meter for meter, _ in granted(chain)] == ["m-el", "shop", "y-el", "y-gas"]


def test_only_fuels_of_the_license_are_offered(chain: Any) -> None:
    licenses = chain.deployment.licenses
    licenses[chain.license] = dataclasses.replace(licenses[chain.license], fuels=frozenset({"electricity"}))
    identified(chain).click("continue", all="yes").click("allow", agree="yes")
    assert [meter for meter, _ in granted(chain)] == ["m-el", "shop", "y-el"]


def test_going_back_keeps_the_ticks_and_changes_them(chain: Any) -> None:
    browser = identified(chain).click("continue", **{"site-2": "yes"})
    browser.open(browser.form_of("allow")[0].replace("permission", "sites"))
    ticked = [found["id"] for tag, found in browser.page.found if tag == "input" and "checked" in found]
    assert ticked == ["site-2"]
    browser.click("continue", **{"site-1": "yes"}).click("allow", agree="yes")
    assert [meter for meter, _ in granted(chain)] == ["m-el", "shop"]


def test_another_bill_starts_the_choice_anew(chain: Any) -> None:
    browser = identified(chain).click("continue", all="yes")
    browser.open(browser.form_of("allow")[0].replace("permission", "identify"))
    browser.click("continue", **BILL)
    assert browser.path == "/journey/sites"
    assert "checked" not in browser.html.partition("<form")[2]


def test_H13_a_tick_is_for_what_was_shown(chain: Any) -> None:
    browser = identified(chain)
    chain.keep(row("first", "2300000000009", "AB1 2CD", ""))  # a site that would take the place of another's number
    action, fields, _ = browser.form_of("continue")
    browser.post(action, {**fields, "site-1": "yes"})
    assert (browser.status, browser.path) == (409, "/journey/sites")
    assert "changed since" in browser.html
    assert browser.post(action, {**fields, "offered": "0" * 64, "all": "yes"}).status == 409
    assert browser.click("continue", **{"site-1": "yes"}).path == "/journey/permission"


@pytest.mark.parametrize("sent", [{"site-9": "yes"}, {"site-1": "no"}, {"all": "on"}, {"site-0": "yes", "m": "y-el"}])
def test_H13_what_is_on_no_box_ticks_nothing(chain: Any, sent: dict[str, str]) -> None:
    identified(chain).click("continue", **sent).click("allow", agree="yes")
    assert granted(chain) == [("m-el", TYPED)]


def test_H13_the_other_meters_at_the_bills_own_place_are_not_offered(chain: Any) -> None:
    """Who does not share its gas does not type the number."""
    assert "•••• 4403" not in identified(chain).html


def test_one_site_is_no_further_page(edp: Any) -> None:
    browser = identified(edp)
    assert browser.path == "/journey/permission"
    assert "Step 2 of 2" in browser.html
    journey = browser.form_of("allow")[0].partition("?")[2]
    assert browser.open(f"/journey/sites?{journey}").path == "/journey/permission"


def test_the_choice_cannot_be_skipped(chain: Any) -> None:
    browser = identified(chain)
    action, fields, _ = browser.form_of("continue")
    path = action.replace("sites", "permission")
    assert browser.post(path, {"csrf": fields["csrf"], "agree": "yes", "decision": "allow"}).path == "/journey/sites"
    assert not chain.grants()


def test_H13_a_register_that_does_not_vouch_offers_nothing(build_party: Any) -> None:
    world = with_meters(build_party("edp", changes={"metering.vouches_for_sites": "false"}))
    world.keep(row("y-el", "2300000000001", "YO1 7HH", "Yard"))
    assert identified(world).path == "/journey/permission"
