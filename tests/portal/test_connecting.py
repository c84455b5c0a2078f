"""Connect: choose, read, tick, go there, come back once. Whatever else comes back connects nothing."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import clock, store
from consent_server.caller import catalogue
from consent_server.outbound.directory import Agreement
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.outbound.upstream import Tokens
from consent_server.store import collecting, connections, evidence, links, outbox, readings, rows
from consent_server.store.tables.permissions import Evidence


def evidence_of(connection: str) -> Any:
    with store.reading() as c:
        return evidence.of_subject(c, connection)


def test_a_connection_from_choice_to_result(portal: Any) -> None:
    browser = portal.sent_off()
    assert browser.location.startswith("https://login.hartlebury.example/authorize?")
    assert portal.connections() == []
    portal.back(browser)
    assert (browser.status, browser.path) == (200, "/connected")
    (row,) = portal.connections()
    assert (row.issuer, row.member) == ("https://hartlebury.example", "https://directory.example/m/hartlebury")
    assert row.expires == row.granted + 365 * 86400
    assert row.collect_due == row.granted
    assert portal.deployment.sealer.unseal(row.refresh_sealed).startswith("refresh-")
    assert portal.upstream.redeemed == [("the-code", portal.upstream.pushed[0].code_verifier)]


def test_what_was_agreed_to_is_kept_before_the_provider_hears_of_it(portal: Any) -> None:
    browser = portal.at_permission()
    portal.upstream.fault = OAuthRefused("invalid_client", "hartlebury.example", 401)
    assert browser.click("continue", agree="yes").status == 502
    portal.upstream.fault = None
    portal.connected()
    seen = evidence_of(portal.connections()[0].id)
    assert "Hartlebury Meters" in seen.text_shown
    assert (seen.raw_sha256, seen.who["business"]) == ("a" * 64, "Kelham Crumb Bakery Ltd")
    assert seen.names["client"] == "Hartlebury Meters Limited"
    assert seen.who["method"]
    assert seen.user_agent


def test_only_providers_can_be_chosen(portal: Any) -> None:
    browser = portal.signed_in().open("/connect")
    assert browser.html.index("Hartlebury") < browser.html.index("Northmoor")
    assert "Impostor" not in browser.html
    for service in ("", "https://directory.example/catalogue/impostor", "https://evil.example"):
        assert browser.click("continue", provider=service).status == 422
    assert browser.click("continue", provider="https://directory.example/catalogue/northmoor").status == 200


def test_a_single_provider_is_chosen_already(portal: Any) -> None:
    portal.directory.members["https://directory.example/m/northmoor"] = portal.directory.members[
        "https://directory.example/m/impostor"
    ]
    browser = portal.signed_in().open("/connect")
    assert browser.html.count("checked") == 1
    assert browser.click("continue").path == "/connect/permission"


def test_a_new_business_says_its_name_once(portal: Any) -> None:
    browser = portal.signed_in("new@bakery.example")
    assert browser.open("/connect/permission").path == "/connect"
    chosen = {"provider": "https://directory.example/catalogue/hartlebury"}
    for name in ("", " ", "x" * 121, "a\u202eb"):
        assert browser.click("continue", business=name, **chosen).status == 422
    browser.click("continue", business="  Ada & <b>Sons</b>  Ltd ", **chosen)
    assert browser.path == "/connect/permission"
    assert "Ada &amp; &lt;b&gt;Sons&lt;/b&gt; Ltd" in browser.html
    assert "business" not in browser.open("/connect").page.ids()


def test_the_page_lets_its_form_end_at_the_provider_and_nowhere_else(portal: Any) -> None:
    policy = portal.at_permission().response.headers["Content-Security-Policy"]
    assert "form-action 'self' https://login.hartlebury.example;" in policy


def test_a_missing_tick(portal: Any) -> None:
    browser = portal.at_permission().click("continue")
    assert (browser.status, browser.path) == (422, "/connect/permission")
    assert "permission-text" in browser.page.ids()
    assert portal.upstream.pushed == []
    assert browser.click("continue", agree="yes").location


def test_a_text_that_has_changed_is_shown_again(portal: Any) -> None:
    browser = portal.at_permission()
    portal.directory.members["https://directory.example/m/hartlebury"] = portal.directory.members[
        "https://directory.example/m/northmoor"
    ]
    browser.click("continue", agree="yes")
    assert (browser.status, portal.upstream.pushed) == (409, [])
    assert browser.click("continue", agree="yes").location


def test_two_tabs_never_mix(portal: Any) -> None:
    """What is ticked in the first tab is never taken for what was chosen in the second."""
    first = portal.at_permission("hartlebury")
    action, fields, _ = first.form_of("continue", agree="yes")
    first.open("/connect").click("continue", provider="https://directory.example/catalogue/northmoor")
    first.post(action, fields)
    assert (first.status, portal.upstream.pushed) == (409, [])


def test_two_journeys_of_one_browser_each_come_back(portal: Any) -> None:
    browser = portal.sent_off("hartlebury")
    first = portal.upstream.pushed[-1]
    browser.open("/connect").click("continue", provider="https://directory.example/catalogue/northmoor")
    browser.click("continue", agree="yes")
    portal.back(browser)
    browser.open(f"/callback?code=c&state={first.state}&iss=https://hartlebury.example")
    assert browser.path == "/connected"
    assert {row.issuer for row in portal.connections()} == {"https://hartlebury.example", "https://northmoor.example"}


def test_cancel(portal: Any) -> None:
    browser = portal.at_permission().click("cancel")
    assert (browser.path, portal.upstream.pushed) == ("/account", [])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"state": "another"}, id="another state"),
        pytest.param({"state": ""}, id="no state"),
        pytest.param({"iss": "https://northmoor.example"}, id="another issuer"),
        pytest.param({"iss": ""}, id="no issuer"),
        pytest.param({"code": ""}, id="no code"),
        pytest.param({"code": "", "error": "access_denied", "iss": "https://evil.example"}, id="a stranger's refusal"),
    ],
)
def test_what_comes_back_wrong_connects_nothing(portal: Any, changes: dict[str, str]) -> None:
    browser = portal.back(portal.sent_off(), **changes)
    assert (browser.status, portal.connections(), portal.upstream.redeemed) == (400, [], [])


def test_a_doubled_parameter(portal: Any) -> None:
    browser = portal.sent_off()
    state = portal.upstream.pushed[-1].state
    for extra in (f"state={state}&state={state}", f"state={state}&code=a&code=b"):
        browser.open(f"/callback?iss=https://hartlebury.example&code=c&{extra}")
        assert (browser.status, portal.connections()) == (400, [])


def test_a_return_without_a_request(portal: Any) -> None:
    assert portal.signed_in().open("/callback?code=c&state=s&iss=https://hartlebury.example").status == 400
    assert portal.browser().open("/callback?code=c&state=s&iss=https://hartlebury.example").status == 400


def test_a_return_in_another_account(portal: Any) -> None:
    """Signed out and in as somebody else in between: the request was the first one's."""
    browser = portal.sent_off()
    portal.signed_in("hello@wensum.example", browser=browser)
    assert portal.back(browser).status == 400
    assert portal.connections() == portal.connections("wensum") == []


def test_a_return_in_another_browser(portal: Any) -> None:
    portal.sent_off()
    assert portal.back(portal.signed_in()).status == 400
    assert portal.connections() == []


def test_a_second_click_on_allow_brings_the_same_answer_again(portal: Any) -> None:
    browser = portal.connected()
    assert portal.back(browser).path == "/connected"
    assert len(portal.upstream.redeemed) == 1


def test_a_return_after_a_failure_is_not_tried_again(portal: Any) -> None:
    browser = portal.sent_off()
    portal.upstream.fault = OAuthRefused("invalid_grant", "hartlebury.example", 400)
    assert portal.back(browser).status == 502
    assert "/connect" in [a.get("href") for tag, a in browser.page.found if tag == "a"], "a way to begin again"
    portal.upstream.fault = None
    assert portal.back(browser).path == "/connect"
    assert (portal.connections(), portal.upstream.redeemed) == ([], [])


def test_declined(portal: Any) -> None:
    browser = portal.back(portal.sent_off(), code="", error="access_denied")
    assert (browser.status, browser.path, portal.connections()) == (200, "/connect/declined", [])
    assert portal.back(browser, code="", error="access_denied").path == "/connect/declined"


@pytest.mark.parametrize(
    ("error", "status"),
    [pytest.param("server_error", 502, id="fault"), pytest.param("<script>", 502, id="odd")],
)
def test_an_error_from_the_provider(portal: Any, error: str, status: int) -> None:
    browser = portal.back(portal.sent_off(), code="", error=error)
    assert (browser.status, portal.connections()) == (status, [])
    assert "<script>" not in browser.html


def test_a_provider_or_directory_that_is_down(portal: Any) -> None:
    browser = portal.at_permission()
    portal.upstream.fault = Unreachable("time", "hartlebury.example")
    assert browser.click("continue", agree="yes").status == 503
    portal.upstream.fault = None
    portal.directory.down = True
    assert portal.signed_in().open("/connect").status == 503


def test_it_shows_whether_readings_are_there_yet(portal: Any) -> None:
    browser = portal.connected()
    (row,) = portal.connections()
    for look in ("1", "2"):  # each goes to another address: to one that differs by its fragment alone nothing is loaded
        assert browser.response.headers["Refresh"] == f"30;url=/connected?look={look}#waiting"
        assert {"refresh", "stop", "waiting"} <= set(browser.page.ids())
        browser.open(f"/connected?look={look}")
    (stop,) = [a["href"] for tag, a in browser.page.found if a.get("id") == "stop"]
    assert "Refresh" not in browser.open(stop.partition("#")[0]).response.headers
    assert "go-on" in browser.page.ids()
    for hostile in ("-1", "1e9", "x;url=//evil.example", "%D9%A1", "9" * 50):
        assert (
            browser.open(f"/connected?look={hostile}")
            .response.headers["Refresh"]
            .startswith("30;url=/connected?look=1#")
        )
    with store.writing() as c:
        connections.settle(c, row, due=1, trouble="The provider is still collecting the readings.", failures=1)
    assert "still collecting" in browser.open("/connected").html
    portal.collected(row.id)
    browser.open("/connected")
    assert "Refresh" not in browser.response.headers
    assert browser.click("result").path == "/result"


def test_a_renewal_moves_links_and_forgets_old_data(portal: Any) -> None:
    browser = portal.connected()
    (old,) = portal.connections()
    portal.collected(old.id)
    bank = portal.released("bank", on=[old.id])
    browser.open("/connect").click("continue", provider="https://directory.example/catalogue/hartlebury")
    portal.back(browser.click("continue", agree="yes"))
    new, before = sorted(portal.connections(), key=lambda row: row.ended is not None)
    assert (before.id, before.ended_as) == (old.id, "superseded")
    assert new.ended is None
    with store.reading() as c:
        assert links.dependents(c, new.id) == [bank]
        assert connections.collected(c, old.id) == collecting.figures(c, old.id, 0, 1 << 40) == []
        assert readings.extent(c, old.id, "source-electricity", "import") is None
        assert [(row.kind, row.subject) for row in outbox.waiting(c)] == [("revocation", old.id)]
    assert "Replaced by a newer one" in browser.open("/permissions").html
    assert evidence_of(old.id) is not None
    assert evidence_of(new.id) is not None


def test_a_refresh_token_that_another_business_has_connects_nothing(
    portal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A withdrawal names a permission by it: the one of the other business would end."""
    monkeypatch.setattr(portal.upstream, "redeem", lambda *_: Tokens("access", "one for all", 600))
    portal.connected()
    (first,) = portal.connections()
    browser = portal.connected(email="hello@wensum.example")
    assert (browser.status, "had given for another permission" in browser.html) == (502, True)
    assert portal.connections() == [first]


def test_another_provider_leaves_the_first_alone(portal: Any) -> None:
    browser = portal.connected()
    portal.connected("northmoor", browser=browser)
    assert [row.ended for row in portal.connections()] == [None, None]


def test_one_entry_that_cannot_be_read_takes_no_other_provider_away(portal: Any) -> None:
    members = portal.directory.members
    gone = [url for url in members if url.endswith("/northmoor")]
    del members[gone[0]]
    page = portal.signed_in().open("/connect")
    assert page.status == 200
    assert "Hartlebury Meters" in page.html
    assert "Northmoor" not in page.html
    members.clear()
    assert portal.signed_in().open("/connect").status == 503


def test_an_entry_in_the_catalogues_specified_form_is_connected(portal: Any) -> None:
    """It has no id and no application, and the issuer has a slash that the issuer itself does not write."""
    [listed] = [each for each in portal.directory.data_services("") if "hartlebury" in each.id]
    as_specified = replace(listed, id=listed.endpoint, application=None, issuer=f"{listed.issuer}/")
    portal.directory.data_services = lambda _standard: [as_specified]
    browser = portal.signed_in().open("/connect").click("continue", provider=listed.endpoint)
    portal.back(browser.click("continue", agree="yes"))
    (row,) = portal.connections()
    assert (row.resource, row.application, row.issuer) == (listed.endpoint, "", listed.issuer)


@pytest.mark.parametrize(("policy", "shown"), [("refuse", False), ("warn", True)])
@pytest.mark.parametrize("agreement", ["none", "ended", "another-role", "in-force"])
def test_a_provider_or_bank_without_an_agreement_in_force_is_not_offered(
    portal: Any, policy: str, shown: bool, agreement: str
) -> None:
    settings = portal.deployment.settings
    clients = settings.clients.model_copy(update={"lapsed_agreements": policy})
    portal.deployment.settings = settings.model_copy(update={"clients": clients})
    at = clock.now()
    for url, member in portal.directory.members.items():
        agreements = {
            "none": (),
            "ended": (Agreement(member.roles, 0, at),),
            "another-role": (Agreement(("https://registry.example/role",), 0, at + 1),),
            "in-force": (Agreement(member.roles, 0, at + 1),),
        }[agreement]
        if "northmoor" in url:  # never lapsed, so that the page has a list
            agreements = (Agreement(member.roles, 0, at + 1),)
        portal.directory.members[url] = replace(member, agreements=agreements)
    page = portal.signed_in().open("/connect")
    assert "Northmoor" in page.html
    assert ("Hartlebury" in page.html) is (shown or agreement == "in-force")
    invited = portal.browser().open("/start?fsp=https://directory.example/m/bank")
    assert ("Wharfside Bank" in invited.html) is (shown or agreement == "in-force")


VICTIM = "hartlebury"
#: What a hostile entry says, beside naming itself as the publisher.
CLAIMS = {
    "issuer": {"issuer": f"https://{VICTIM}.example"},
    "id": {"id": f"https://directory.example/catalogue/{VICTIM}"},
    "application": {
        "issuer": f"https://{VICTIM}.example",
        "application": f"https://directory.example/a/{VICTIM}",
        "endpoint": f"https://data.{VICTIM}.example",
    },
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("who", ["no-role", "suspended", "provider"])
def test_H05_S3_a_false_claim_costs_the_entry_that_makes_it_and_no_other(
    portal: Any, caplog: pytest.LogCaptureFixture, claim: str, who: str
) -> None:
    """Whoever writes an entry that claims another provider's issuer or id, that provider stays, and its own page."""
    caplog.set_level("INFO", "consent_server.audit")
    catalogue._alarm.cache_clear()
    directory = portal.directory
    northmoor = next(each for each in directory.data_services("") if "northmoor" in each.id)
    impostor = f"https://directory.example/m/{'impostor' if who == 'no-role' else 'rival'}"
    if who != "no-role":
        honest = directory.members[northmoor.member]
        directory.members[impostor] = replace(
            honest, url=impostor, brand_name="Aardvark Power", membership_ok=who == "provider"
        )
    ours = {"id": "https://directory.example/catalogue/x", "application": "https://directory.example/a/rival"}
    directory.claims = [replace(northmoor, **(ours | CLAIMS[claim] | {"member": impostor}))]
    page = portal.signed_in().open("/connect")
    assert page.status == 200
    for name, there in (("Northmoor", True), ("Hartlebury Meters", True), ("Aardvark", False), ("Impostor", False)):
        assert (name in page.html) is there
    page.click("continue", provider=f"https://directory.example/catalogue/{VICTIM}")
    assert "Hartlebury Meters" in page.html
    page.open("/connect")
    assert caplog.text.count("catalogue_claim_refused") == (who == "provider"), "an alarm, once"


def test_H05_a_page_asks_no_more_of_the_directory_however_many_entries_a_member_writes(portal: Any) -> None:
    directory = portal.directory
    rival = "https://directory.example/m/rival"
    directory.members[rival] = replace(
        directory.members["https://directory.example/m/northmoor"], brand_name="Aardvark"
    )
    honest = next(each for each in directory.data_services("") if VICTIM in each.id)
    directory.claims = [
        replace(honest, id=f"{honest.id}-{number}", application=f"https://directory.example/a/{number}", member=rival)
        for number in range(500)
    ]
    asked: list[str] = []

    def application(url: str) -> Any:
        asked.append(url)
        raise Unreachable("status 404", "directory.example")

    directory.application = application
    browser = portal.signed_in()
    asked.clear()
    assert browser.open("/connect").status == 200
    assert 0 < len(asked) <= catalogue.MOST_OF_MEMBER + 1


def test_H05_of_two_claims_that_the_directory_confirms_alike_the_one_that_we_deal_with_stays(portal: Any) -> None:
    """A provider may write another's addresses into its own application as well."""
    directory = portal.directory
    directory.members["https://directory.example/m/rival"] = replace(
        directory.members["https://directory.example/m/northmoor"], brand_name="Aardvark Power"
    )
    honest = next(each for each in directory.data_services("") if VICTIM in each.id)
    before = directory.application

    def application(url: str) -> Any:
        return replace(before(url), home_page=honest.issuer)

    directory.application = application
    portal.connected(VICTIM)
    for number in range(2):
        if number:
            directory.claims = [
                replace(
                    honest,
                    id="https://directory.example/catalogue/x",
                    application="https://directory.example/a/rival",
                    member="https://directory.example/m/rival",
                )
            ]
        page = portal.signed_in().open("/connect")
        assert "Hartlebury Meters" in page.html
        assert "Aardvark" not in page.html


def test_a_renewal_says_so_with_both_dates_and_cancel_leaves_what_there_is(portal: Any, held_clock: Any) -> None:
    browser = portal.connected()
    assert "instead of" not in browser.html
    held_clock.step(40 * 86400)
    before = portal.connections()
    browser = portal.at_permission()
    first = browser.html.partition("In short")[0]
    assert "<h1>Renew your permission for" in first
    assert "21 April 2027</strong> instead of 12 March 2027" in first
    browser.click("cancel")
    assert portal.connections() == before


def test_an_upgrade_from_electricity_shows_gas_as_new(portal: Any) -> None:
    portal.connected()
    with store.writing() as c:
        kept = evidence.of_subject(c, portal.connections()[0].id)
        older = {"text_shown": "Tallyleaf may fetch your electricity consumption."}
        c.execute(sa.update(rows.table_of(Evidence)).where(rows.table_of(Evidence).c.id == kept.id).values(older))
    first = portal.at_permission().html.partition("In short")[0]
    assert "<h1>Change your permission for" in first
    assert "New: readings of your use of <strong>gas</strong>" in first
