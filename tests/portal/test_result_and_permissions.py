"""What an SME reads of its result, what stands in its name, and how it takes that back."""

from typing import Any

import pytest

from consent_server import clock, store
from consent_server.scheme import instant
from consent_server.store import collecting, connections, outbox, permissions, rows

MARCH_2025 = instant.parse("2025-03-01T00:00:00Z")
MAY_2025 = instant.parse("2025-05-01T00:00:00Z")


def with_result(portal: Any, **lacking: Any) -> Any:
    browser = portal.connected()
    portal.collected(portal.connections()[0].id, **lacking)
    return browser


def test_the_last_twelve_whole_months_and_totals_rounded_after_summing(portal: Any) -> None:
    browser = with_result(portal).open("/result")
    html = browser.html
    assert browser.status == 200
    assert "1 March 2025" in html
    assert "28 February 2026" in html
    assert html.count('<th scope="row">') == 13
    assert html.count("<td>1.000</td>") == 12
    # 12 x 1.0001234 is 12.0014808; twelve rounded months would say 12.000. 12 x 0.5000006 is 6.0000072.
    assert "<td>12.001</td>" in html
    assert "<td>6.000</td>" in html
    assert "every half-hour of these twelve months has a reading" in html
    assert "UTC" in html
    assert "Hartlebury Meters" in html
    assert portal.connections()[0].id in html


def test_sources_are_named_as_their_licenses_ask(portal: Any) -> None:
    html = with_result(portal).open("/result").html
    for needed in (
        "creativecommons.org/licenses/by/4.0/",
        "National Energy System Operator",
        "nationalarchives.gov.uk/doc/open-government-licence/version/3/",
        "2.04542",
        "2.06672",
    ):
        assert needed in html
    assert "2.02633" not in html, "a set published after the last month was not used"


def test_what_is_missing_is_said_with_its_reason(portal: Any) -> None:
    lacking = {("electricity", MARCH_2025): "partial", ("gas", MAY_2025): "empty"}
    html = with_result(portal, lacking=lacking).open("/result").html
    missing = html[html.index("What is missing") : html.index("Where the readings come from")]
    assert "March 2025. Some half-hours" in missing
    assert "May 2025. We got no readings" in missing
    assert missing.count("It is missing at S3.") == 2
    assert "in 11 of 12 months" in html
    assert "<td>11.001</td>" in html


def test_a_fuel_without_a_whole_month_has_no_figure_and_not_none_emitted(portal: Any) -> None:
    every = {("gas", instant.months_later(MARCH_2025, number)): "partial" for number in range(12)}
    html = with_result(portal, lacking=every).open("/result").html
    assert "in 0 of 12 months" in html
    assert "0.000" not in html
    # twelve months, their total, and the total above the chart
    assert html.count('<span aria-hidden="true">–</span><span class="hidden">left out</span>') == 14


def test_thousands_are_told_apart_as_in_the_report(portal: Any) -> None:
    browser = with_result(portal)
    with store.writing() as c:
        month, *_ = collecting.figures(c, portal.connections()[0].id, MARCH_2025, MARCH_2025 + 1)
        rows.put(c, month._replace(amount=8_000_000.4, kilograms=1_234_567.8))
    html = browser.open("/result").html
    # and eleven months of 1.0001234 t
    assert ("<td>1,234.568</td>" in html, html.count("1,245.569")) == (True, 2)


def test_a_figure_that_later_readings_changed_is_said(portal: Any) -> None:
    browser = with_result(portal)
    assert "later readings" not in browser.open("/result").html
    with store.writing() as c:
        month, *_ = collecting.figures(c, portal.connections()[0].id, MARCH_2025, MARCH_2025 + 1)
        rows.put(c, month._replace(revised=clock.now()))
    assert "March 2025: later readings changed this figure on 12 March 2026." in browser.open("/result").html


def test_a_district_that_the_grid_does_not_know_is_said(portal: Any) -> None:
    browser = with_result(portal)
    assert "no figures of its own" not in browser.open("/result").html
    connection = portal.connections()[0].id
    with store.writing() as c:
        for meter in collecting.meters(c, connection):
            rows.put(c, meter._replace(outcode="W3"))
        months = collecting.figures(c, connection, MARCH_2025, clock.now())
        rows.put(
            c, *(each._replace(region=13, region_by="distributor") for each in months if each.fuel == "electricity")
        )
    html = browser.open("/result").html
    assert "For <bdi>W3</bdi> the grid’s operator has no figures of its own, so those of <bdi>London</bdi> were" in html


def test_the_result_states_its_estimates(portal: Any) -> None:
    browser = with_result(portal)
    with store.writing() as c:
        month, *_ = collecting.figures(c, portal.connections()[0].id, MARCH_2025, MARCH_2025 + 1)
        rows.put(c, month._replace(half_hours=month.half_hours - 2, filled=2))
    html = browser.open("/result").html
    assert "2 half-hours had no reading and are estimates" in html
    assert "every half-hour of these twelve months has a reading" not in html


def test_a_fuel_that_is_not_connected_is_said(portal: Any) -> None:
    browser = portal.connected()
    connection = portal.connections()[0].id
    portal.collected(connection)
    with store.writing() as c:
        collecting.drop_meters(c, connection, ["source-gas"])
    html = browser.open("/result").html
    assert "no meter of this kind is connected" in html
    assert "2.06672" not in html


def test_no_result_without_connection_or_readings(portal: Any) -> None:
    browser = portal.signed_in()
    assert browser.open("/result").path == "/connect"
    portal.connected(browser=browser)
    assert browser.open("/result").path == "/connected"


def test_one_account_never_sees_anothers(portal: Any) -> None:
    with_result(portal)
    other = portal.signed_in("hello@wensum.example")
    assert other.open("/result").path == "/connect"
    assert "Hartlebury" not in other.open("/permissions").html


def test_permissions_newest_first_live_and_past(portal: Any, held_clock: Any) -> None:
    browser = with_result(portal)
    held_clock.step(60)
    portal.released("bank", on=[portal.connections()[0].id])
    browser.open("/permissions")
    ids = [name for name in browser.page.ids() if name.startswith("withdraw")]
    assert ids == ["withdraw", "withdraw-2"]
    html = browser.html
    assert html.index("Wharfside Bank") < html.index("Hartlebury Meters")
    assert "/evidence/evidence-of-bank" in html
    assert html.count("What you agreed to") == 2
    assert "12 March 2027" in html
    assert browser.click("withdraw").form_of("confirm")[1]["permission"] == "bank"


def test_what_was_given_in_the_same_second_still_comes_first(portal: Any) -> None:
    browser = with_result(portal)
    portal.released("bank", on=[portal.connections()[0].id])
    assert browser.open("/permissions").click("withdraw").form_of("confirm")[1]["permission"] == "bank"


def test_withdrawing_a_connection_says_exactly_what_went_and_who_is_told(portal: Any, held_clock: Any) -> None:
    browser = with_result(portal)
    (row,) = portal.connections()
    held_clock.step(60)
    portal.released("bank", on=[row.id])
    browser.open("/permissions").click("withdraw-2")
    before = browser.html
    browser.click("confirm")
    assert browser.path == "/permissions/withdrawn"
    for html in (before, browser.html):
        assert "Hartlebury Meters" in html
        assert "Wharfside Bank" in html
        assert "all readings of 2 meters" in html
        assert "1 February 2025 to 28 February 2026" in html
        assert "the 2 signed records" in html
        assert "26 months of one fuel each" in html
    with store.reading() as c:
        assert connections.collected(c, row.id) == collecting.figures(c, row.id, 0, 1 << 40) == []
        fallen = permissions.find(c, "bank")
        assert fallen is not None
        assert fallen.ended_as == "withdrawn"
        assert {(owed.kind, owed.subject) for owed in outbox.waiting(c)} == {
            ("revocation", row.id),
            ("message", "bank"),
        }
    assert browser.open("/result").path == "/connect"
    past = browser.open("/permissions").html
    assert past.count('class="state withdrawn"') == 2


def test_withdrawing_a_banks_permission_leaves_the_connection(portal: Any) -> None:
    browser = with_result(portal)
    (row,) = portal.connections()
    portal.released("bank", on=[row.id])
    browser.open("/permissions").click("withdraw").click("confirm")
    assert "telling them now" in browser.html
    assert "Hartlebury" not in browser.html
    assert portal.connections()[0].ended is None
    assert browser.open("/result").status == 200


def test_S24_what_a_bank_never_collected_is_not_live(portal: Any) -> None:
    browser = with_result(portal)
    portal.released("bank", redeemed=False)
    browser.open("/account")
    assert "Nobody but you" in browser.html
    browser.click("permissions")
    assert (browser.html.count(">Live<"), browser.html.count(">Not finished</span>")) == (1, 1)
    assert browser.html.index('id="withdraw"') < browser.html.index('id="withdraw-2"')
    browser.click("withdraw-2")
    assert "They never collected this permission" in browser.html


def test_a_bank_that_never_collected_its_permission_is_not_told(portal: Any) -> None:
    browser = with_result(portal)
    portal.released("bank", redeemed=False)
    browser.open("/permissions").click("withdraw-2").click("confirm")
    assert "nobody to tell" in browser.html


def test_what_rests_on_two_connections_stays_while_one_does(portal: Any, held_clock: Any) -> None:
    browser = portal.connected()
    held_clock.step(1)
    portal.connected("northmoor", browser=browser)
    portal.released("bank", on=[row.id for row in portal.connections()])
    held_clock.step(1)
    browser.open("/permissions").click("withdraw-2")
    assert "Wharfside" not in browser.html
    assert "No readings have come yet" in browser.html
    browser.click("confirm")
    with store.reading() as c:
        left = permissions.find(c, "bank")
        assert left is not None
        assert left.ended is None


def test_reloading_or_confirming_twice_changes_nothing_more(portal: Any) -> None:
    browser = with_result(portal)
    browser.open("/permissions").click("withdraw")
    action, fields, _ = browser.form_of("confirm")
    browser.post(action, fields)
    ended = portal.connections()[0].ended
    browser.post(action, fields)
    assert (browser.status, browser.path) == (200, "/permissions/withdrawn")
    assert portal.connections()[0].ended == ended
    assert browser.open(f"/permissions/withdraw?permission={fields['permission']}").path == "/permissions"


@pytest.mark.parametrize("kind", ["connection", "release", "unknown"])
def test_another_accounts_permission_is_unknown(portal: Any, kind: str) -> None:
    with_result(portal)
    portal.released("bank")
    subject = {"connection": portal.connections()[0].id, "release": "bank", "unknown": "nothing"}[kind]
    other = portal.signed_in("hello@wensum.example")
    _, form, _ = other.form_of("leave")
    assert other.open(f"/permissions/withdraw?permission={subject}").status == 404
    assert other.post("/permissions/withdraw", {**form, "permission": subject}).status == 404
    assert portal.connections()[0].ended is None


def test_withdrawing_needs_no_directory(portal: Any) -> None:
    browser = with_result(portal)
    portal.directory.down = True
    browser.open("/permissions").click("withdraw")
    assert "<bdi>Hartlebury Meters</bdi>" in browser.html, "the name that was read when it was agreed"
    assert browser.click("confirm").path == "/permissions/withdrawn"


def test_an_expired_permission_is_past(portal: Any, held_clock: Any) -> None:
    portal.connected()
    held_clock.step(365 * 86400)
    browser = portal.signed_in().open("/permissions")
    assert "Expired" in browser.html
    assert "withdraw" not in browser.page.ids()
    assert browser.open("/connected").path == "/connect"


def test_P16_a_card_says_which_meters_what_was_fetched_and_who_was_told(portal: Any) -> None:
    browser = with_result(portal)
    connection = portal.connections()[0].id
    cards = browser.open("/permissions").html
    assert "Electricity in S3: 1<br>Gas in S3: 1" in cards
    assert "1 February 2025 to 28 February 2026" in cards
    assert 'Hartlebury Meters</bdi> <span class="soft">given on 12 March 2026 at 09:30, UK time</span></h3>' in cards
    browser.click("withdraw").click("confirm")
    assert "is being told" in browser.open("/permissions").html
    with store.writing() as c:
        (call,) = outbox.of_subject(c, connection)
        outbox.delivered(c, [call._replace(leased=None)], clock.now())
    assert "told 12 March 2026" in browser.open("/permissions").html
