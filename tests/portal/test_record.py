"""What is on record of a connection: our log, the provider's record held against it, and its evidence in a frame."""

from typing import Any

import pytest

from consent_server import clock, store
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.portal import record
from consent_server.portal.record import Comparison
from consent_server.scheme import instant
from consent_server.scheme.permission import Act
from consent_server.store import collecting, connections, outbox, permissions
from tests.portal.conftest import LICENSE

# The statements are those of other tests, on both databases.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

EVIDENCE = "https://hartlebury.example/evidence/unguessable"
IN_FORCE: dict[str, Any] = {}
OVER = {"revoked": True, "revoked_at": 1}  # an instant that is long past
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


def test_a_page_that_is_not_on_a_members_server_is_not_shown(portal: Any) -> None:
    browser = portal.connected()
    for address in (
        "https://elsewhere.example/evidence/1",
        "https://hartlebury.example.elsewhere.example/",
        "https://hartlebury.example@elsewhere.example/",
        "https://hartlebury.example;script-src/evidence",
        "https://hartlebury.example:99999/",
        "https://*.example/",
        "http://hartlebury.example/evidence/1",
        "javascript:alert(1)",
    ):
        portal.upstream.recorded = {"evidence": address}
        html = on_record(portal, browser).html
        assert "so we do not show it" in html, address
        assert "iframe" not in html
        assert address not in html


def test_while_nobody_knows_whose_servers_are_members_no_page_is_shown(portal: Any) -> None:
    def unknown() -> set[str]:
        raise Unreachable("connection", "directory.example")

    browser = portal.connected()
    portal.deployment.session.allow_hosts(unknown)
    html = on_record(portal, browser).html
    assert "the permission is in force" in html
    assert "so we do not show it" in html
    assert "iframe" not in html


JUST_NOW = {"revoked": True, "revoked_at": NOW - 119}
EXPIRED = {"expires": NOW}
ANOTHER = {"license": "https://registry.example/scheme/perseus/license/another/2026-03-12"}


def test_their_record_is_held_against_ours(portal: Any) -> None:
    portal.connected()
    (row,) = portal.connections()
    ended = row._replace(ended=NOW - 60, ended_as="withdrawn")
    for ours, there, found in (
        (row, IN_FORCE, Comparison.SAME),
        (ended, OVER, Comparison.SAME),
        (row._replace(expires=NOW), EXPIRED, Comparison.SAME),
        (row, OVER, Comparison.WITHDRAWN),
        (row, {"revoked": True}, Comparison.WITHDRAWN),
        (row, {"revoked": True, "revoked_at": NOW - 120}, Comparison.WITHDRAWN),
        (row, {"revoked": True, "revoked_at": NOW + 120}, Comparison.WITHDRAWN),
        (row, JUST_NOW, Comparison.JUST_ENDED),
        (row, {"revoked": True, "revoked_at": NOW + 119}, Comparison.JUST_ENDED),
        (row, EXPIRED, Comparison.EXPIRED),
        (ended, IN_FORCE, Comparison.STILL_LIVE),
        (row, ANOTHER, Comparison.ANOTHER_LICENSE),
        (row, OVER | ANOTHER, Comparison.WITHDRAWN),
    ):
        portal.upstream.recorded = there
        theirs = portal.upstream.permission_record(portal.upstream.metadata(row.issuer), "refresh")
        assert record.compared(ours, theirs, NOW) is found, (ours.ended, there)


def test_the_page_says_what_a_difference_means(portal: Any) -> None:
    browser = portal.connected()
    for there, words in (
        (IN_FORCE, "has the same on record as we have: the permission is in force"),
        (JUST_NOW, "ended there just now"),
        (EXPIRED, "has expired there"),
        (ANOTHER, "under another license"),
        (OAuthRefused("invalid_grant", "hartlebury.example", 400), "gave us no record"),
        (Unreachable("time", "hartlebury.example"), "cannot be reached just now"),
    ):
        faulty = isinstance(there, Exception)
        portal.upstream.fault, portal.upstream.recorded = (there, {}) if faulty else (None, there)
        html = on_record(portal, browser).html
        assert words in html
        assert "What we logged when you agreed" in html, "whatever the provider says"
        assert ("iframe" in html) is not faulty
        assert portal.connections()[0].ended is None
    portal.upstream.fault, portal.upstream.recorded = None, IN_FORCE
    with store.writing() as c:
        connections.end(c, portal.connections()[0], Act.WITHDRAW, at=clock.now(), by="sme", why="a test")
    assert "has it on record as in force" in on_record(portal, browser).html


def test_a_withdrawal_of_which_the_message_was_lost_takes_effect(portal: Any) -> None:
    browser = portal.connected()
    (row,) = portal.connections()
    portal.collected(row.id)
    portal.released("bank", on=[row.id])
    portal.upstream.recorded = OVER
    assert "withdrawn there. So it has ended here too" in on_record(portal, browser).html
    assert 'class="state withdrawn"' in browser.html
    with store.reading() as c:
        assert connections.collected(c, row.id) == collecting.figures(c, row.id, 0, 1 << 40) == []
        fallen = permissions.find(c, "bank")
        assert fallen is not None
        assert fallen.ended_as == "withdrawn"
        assert [(owed.kind, owed.subject) for owed in outbox.waiting(c)] == [("message", "bank")], "the provider knows"
    assert "the permission is over" in on_record(portal, browser).html


def test_any_instant_that_a_record_may_hold_can_be_shown(portal: Any) -> None:
    browser = portal.connected()
    for at in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        instants = ("last_granted", "expires", "revoked_at", "data_available_from")
        portal.upstream.recorded = {"revoked": True} | dict.fromkeys(instants, instant.parse(at))
        assert on_record(portal, browser).status == 200


def test_what_is_not_a_connection_of_the_account(portal: Any) -> None:
    browser = portal.connected()
    portal.released("bank")
    for subject in ("", "another", "x" * 5000, "bank"):
        assert browser.open(f"/permissions/record?permission={subject}").status == 404


def test_another_accounts_record_is_not_shown_and_its_provider_is_not_asked(portal: Any) -> None:
    portal.connected()
    portal.upstream.recorded = OVER
    other = portal.signed_in("hello@wensum.example")
    assert on_record(portal, other).status == 404
    assert portal.connections()[0].ended is None
    assert on_record(portal, portal.browser()).path == "/sign-in"
