"""What is on record of a connection: our log, the provider's record held against it, and its evidence in a frame."""

from typing import Any

import pytest

from consent_server import clock, store
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.scheme import instant
from consent_server.scheme.permission import Act
from consent_server.store import connections, outbox, permissions
from tests.portal.conftest import LICENSE

EVIDENCE = "https://hartlebury.example/evidence/unguessable"
GONE = "https://registry.example/scheme/perseus/license/another/2026-03-12"
IN_FORCE, OVER = {}, {"revoked": True, "revoked_at": 1}  # an instant that is long past
NOW = instant.parse("2026-03-12T09:30:00Z")


def on_record(portal: Any, browser: Any, number: int = 0) -> Any:
    return browser.open(f"/permissions/record?permission={portal.connections()[number].id}")


def test_what_was_logged_when_the_sme_agreed(portal: Any, held_clock: Any) -> None:
    held_clock.instant = instant.parse("2026-07-12T22:59:00Z")
    browser = portal.connected()
    held_clock.step(60)
    html = on_record(portal, browser.open("/permissions")).html
    for logged in (
        "12 July 2026 at 23:59, UK time",
        "Kelham Crumb Bakery Ltd",
        "signed in as <bdi>office@kelham.example</bdi>",
        "127.0.0.1",
        "Werkzeug/",
        "Energy Consumption Data License",
        LICENSE,
        "Tallyleaf may fetch from",
        "your gas consumption",
    ):
        assert logged in html, logged


def test_each_connection_leads_to_its_record_and_back(portal: Any) -> None:
    browser = portal.connected()
    portal.released("bank", on=[portal.connections()[0].id])
    links = [a["href"] for tag, a in browser.open("/permissions").page.found if tag == "a" and "record" in a["href"]]
    assert links == [f"/permissions/record?permission={portal.connections()[0].id}"]
    assert "/permissions" in [a["href"] for tag, a in browser.open(links[0]).page.found if tag == "a"]


def test_the_evidence_is_in_an_inert_frame_and_the_policy_names_its_origin_here_alone(portal: Any) -> None:
    browser = on_record(portal, portal.connected())
    (frame,) = (a for tag, a in browser.page.found if tag == "iframe")
    assert (frame["src"], frame["sandbox"], frame["title"]) == (
        EVIDENCE,
        "allow-same-origin",
        "Evidence page of Hartlebury Meters",
    )
    assert "; frame-src https://hartlebury.example; form-action" in browser.response.headers["Content-Security-Policy"]
    for path in ("/permissions", "/account", "/connect"):
        assert "frame-src" not in browser.open(path).response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "address",
    [
        "https://elsewhere.example/evidence/1",
        "https://hartlebury.example.elsewhere.example/",
        "https://hartlebury.example@elsewhere.example/",
        "https://hartlebury.example;script-src/evidence",
        "https://hartlebury.example:99999/",
        "https://*.example/",
        "http://hartlebury.example/evidence/1",
        "javascript:alert(1)",
    ],
)
def test_a_page_that_is_not_on_a_members_server_is_not_shown(portal: Any, address: str) -> None:
    portal.upstream.recorded = {"evidence": address}
    browser = on_record(portal, portal.connected())
    assert "so we do not show it" in browser.html
    assert "iframe" not in browser.html
    assert address not in browser.html


@pytest.mark.parametrize(
    ("ended_here", "there", "words", "ends"),
    [
        (False, IN_FORCE, "has the same on record as we have: the permission is in force", False),
        (True, OVER, "has the same on record as we have: the permission is over", False),
        (False, OVER, "withdrawn there. So it has ended here too", True),
        (False, {"revoked": True}, "withdrawn there. So it has ended here too", True),
        (False, {"revoked": True, "revoked_at": NOW - 120}, "withdrawn there. So it has ended here too", True),
        (False, {"revoked": True, "revoked_at": NOW + 120}, "withdrawn there. So it has ended here too", True),
        (False, {"revoked": True, "revoked_at": NOW - 119}, "ended there just now", False),
        (False, {"revoked": True, "revoked_at": NOW + 119}, "ended there just now", False),
        (False, {"expires": NOW}, "has expired there", False),
        (True, IN_FORCE, "has it on record as in force", False),
        (False, {"license": GONE}, "under another license", False),
        (False, OVER | {"license": GONE}, "withdrawn there. So it has ended here too", True),
        (False, OAuthRefused("invalid_grant", "hartlebury.example", 400), "gave us no record", False),
        (False, Unreachable("time", "hartlebury.example"), "cannot be reached just now", False),
    ],
    ids=[
        *("in force at both", "over at both", "withdrawn there", "the key alone says so", "two minutes ago"),
        *("a clock that is ahead", "perhaps a renewal", "a renewal, and a clock that is ahead", "expired there"),
        *("over here alone", "another license", "withdrawn counts first", "no record", "unreachable"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_their_record_is_held_against_ours(portal: Any, ended_here: bool, there: Any, words: str, ends: bool) -> None:
    browser = portal.connected()
    (row,) = portal.connections()
    if ended_here:
        with store.writing() as c:
            connections.end(c, row, Act.WITHDRAW, at=clock.now(), by="sme", why="a test")
    if isinstance(there, Exception):
        portal.upstream.fault = there
    else:
        portal.upstream.recorded = there
    browser = on_record(portal, browser)
    assert browser.status == 200
    assert words in browser.html
    assert "What we logged when you agreed" in browser.html, "whatever the provider says"
    assert ("iframe" in browser.html) is not isinstance(there, Exception)
    (after,) = portal.connections()
    assert (after.ended is not None) is (ends or ended_here)
    assert ('class="state withdrawn"' in browser.html) is (ends or ended_here)


def test_a_withdrawal_of_which_the_message_was_lost_takes_effect(portal: Any) -> None:
    browser = portal.connected()
    (row,) = portal.connections()
    portal.collected(row.id)
    portal.released("bank", on=[row.id])
    portal.upstream.recorded = OVER
    on_record(portal, browser)
    with store.reading() as c:
        assert connections.collected(c, row.id) == connections.months(c, row.id, 0, 1 << 40) == []
        fallen = permissions.find(c, "bank")
        assert fallen is not None
        assert fallen.ended_as == "withdrawn"
        assert [(owed.kind, owed.subject) for owed in outbox.waiting(c)] == [("message", "bank")], "the provider knows"
    assert "the permission is over" in on_record(portal, browser).html


@pytest.mark.parametrize("subject", ["", "another", "x" * 5000, "bank"])
def test_what_is_not_a_connection_of_the_account(portal: Any, subject: str) -> None:
    browser = portal.connected()
    portal.released("bank")
    assert browser.open(f"/permissions/record?permission={subject}").status == 404


def test_another_accounts_record_is_not_shown_and_its_provider_is_not_asked(portal: Any) -> None:
    portal.connected()
    portal.upstream.recorded = OVER
    other = portal.signed_in("hello@wensum.example")
    assert on_record(portal, other).status == 404
    assert portal.connections()[0].ended is None
    assert on_record(portal, portal.browser()).path == "/sign-in"
