"""Everything that a CAP holds about a business is there to read and to keep, for its account alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from consent_server import clock, store
from consent_server.parties.operator import audit_trail, subjects
from consent_server.parties.operator.records import CommandFailed
from consent_server.portal import connecting
from consent_server.portal.connecting import ReturnNotOurs
from consent_server.scheme import instant
from consent_server.store import accounts, connections, evidence, outbox, passkeys
from consent_server.store.tables.accounts import Passkey
from tests.jose import unsegment
from tests.portal.conftest import DIRECTORY


def test_the_page_and_the_file_say_the_same_and_the_file_has_the_half_hours(portal: Any) -> None:
    browser = portal.connected()
    connection = portal.connections()[0].id
    portal.collected(connection)
    portal.released("bank", on=[connection])
    page = browser.open("/permissions").open("/permissions/held").html
    response = browser.open("/permissions/held.json").response
    assert response.headers["Content-Disposition"] == 'attachment; filename="what-we-hold.json"'
    held = response.get_json()
    assert held.keys() == {"account", "passkeys", "permissions", "meters", "months"}
    assert {each["id"] for each in held["permissions"]} == {connection, "bank"}
    assert {each["meter"] for each in held["meters"]} == {each["meter"] for each in held["months"]}
    assert len(held["months"]) == 26
    for told in (held["account"][0]["email"], "Kelham Crumb Bakery Ltd", connection, "Hartlebury Meters Limited"):
        assert told in page
    assert "<li>Receipt: not sent yet</li>" in page, "the receipt that is owed by mail"
    assert [each["mailed"] for each in held["permissions"] if each["id"] == connection] == [[{"kind": "granted"}]]
    assert "refresh-" not in page + response.get_data(as_text=True)


@pytest.mark.parametrize("path", ["/permissions/held", "/permissions/held.json"])
def test_nobody_else_gets_it(portal: Any, path: str) -> None:
    portal.connected()
    connection = portal.connections()[0].id
    assert portal.browser().open(path).path == "/sign-in"
    other = portal.signed_in("hello@wensum.example").open(path)
    assert other.status == 200
    assert connection not in other.html


def test_passkeys_are_told_until_retention_has_deleted_them(portal: Any) -> None:
    at = clock.now()
    with portal.app.app_context(), store.writing() as c:
        for name, removed in (("Office laptop", None), ("Old phone", at)):
            passkeys.add(c, Passkey(name, "kelham", name.encode(), b"key", 0, name, at, at, removed))
        passkeys.add(c, Passkey("Another", "wensum", b"a", b"key", 0, "Another", at))
    browser = portal.signed_in().open("/permissions/held")
    assert "Office laptop" in browser.html
    when = instant.text(at)
    assert browser.open("/permissions/held.json").response.get_json()["passkeys"] == [
        {"name": "Office laptop", "added": when, "used": when},
        {"name": "Old phone", "added": when, "used": when, "removed": when},
    ]


def test_an_erasure_at_a_cap_deletes_what_was_collected_and_empties_the_account(portal: Any) -> None:
    portal.connected()
    connection = portal.connections()[0]
    portal.collected(connection.id)
    portal.released("bank", on=[connection.id])
    other = portal.signed_in("hello@wensum.example")
    with portal.app.app_context():
        kept = json.loads(subjects.certificate(subjects.erase(connection.account, "Privacy desk")))
        with store.reading() as c:
            assert connections.collected(c, connection.id) == []
            assert accounts.find(c, connection.account) is None
            emptied = accounts.by_email(c, f"{connection.account}{accounts.NOBODYS}")
            assert [call.kind for call in outbox.of_subject(c, connection.id)] == ["revocation"]
    assert emptied is not None
    assert emptied.business == ""
    certified = unsegment(kept["payload"])
    assert set(certified["withdrawn"]) == {connection.id, "bank"}
    assert {"session", "account", "collected", "collected_meter", "meter_month"} <= {
        row["table"] for row in certified["erased"]
    }
    assert "Kelham" not in str(certified)
    assert other.open("/permissions").path == "/permissions"


def test_what_stays_of_an_erased_business_is_exported(portal: Any, tmp_path: Path) -> None:
    portal.connected()
    connection = portal.connections()[0].id
    portal.released("bank", "wensum")
    with portal.app.app_context():
        for account, stays in (("kelham", connection), ("wensum", "bank")):  # the one is emptied, the other deleted
            subjects.erase(account, "Privacy desk")
            subjects.export(account, tmp_path / account)
            held = json.loads((tmp_path / account / "what-we-hold.json").read_text())
            assert [each["id"] for each in held["permissions"]] == [stays]
            assert held["account"] == [{}]


@pytest.mark.parametrize("connected_before", [False, True])
def test_an_erasure_while_the_browser_comes_back_connects_nothing(
    portal: Any, monkeypatch: pytest.MonkeyPatch, connected_before: bool
) -> None:
    """Its account is deleted, or emptied where a connection refers to it; the provider has granted meanwhile."""
    browser = portal.connected() if connected_before else portal.signed_in()
    before = portal.connections()
    browser.open("/connect").click("continue", provider=f"{DIRECTORY}/catalogue/northmoor")
    browser.click("continue", agree="yes")
    redeem, given_back = portal.upstream.redeem, []

    def erased_meanwhile(*asked: Any) -> Any:
        subjects.erase("kelham", "Privacy desk")
        return redeem(*asked)

    monkeypatch.setattr(portal.upstream, "redeem", erased_meanwhile)
    monkeypatch.setattr(portal.upstream, "revoke", lambda _, token: given_back.append(token), raising=False)
    portal.back(browser)
    assert browser.status == ReturnNotOurs.status
    assert [row.id for row in portal.connections()] == [row.id for row in before]
    assert len(given_back) == 1
    with portal.app.app_context(), store.reading() as c:
        assert evidence.never_made(c, "kelham") == []


@pytest.mark.parametrize("connected_before", [False, True])
def test_an_erasure_while_the_browser_leaves_keeps_nothing_of_it(
    portal: Any, monkeypatch: pytest.MonkeyPatch, connected_before: bool
) -> None:
    browser = portal.connected() if connected_before else portal.signed_in()
    browser.open("/connect").click("continue", provider=f"{DIRECTORY}/catalogue/northmoor")
    begin, pushed = connecting.begin, len(portal.upstream.pushed)

    def erased_meanwhile(*asked: Any) -> Any:
        subjects.erase("kelham", "Privacy desk")
        return begin(*asked)

    monkeypatch.setattr(connecting, "begin", erased_meanwhile)
    assert browser.click("continue", agree="yes").status == ReturnNotOurs.status
    assert len(portal.upstream.pushed) == pushed, "the provider is told of nothing"
    with portal.app.app_context(), store.reading() as c:
        assert evidence.never_made(c, "kelham") == []


def test_what_was_agreed_to_and_never_connected_is_told_and_erased(portal: Any) -> None:
    """The business agreed, and did not come back from the provider: no connection names it, and no record."""
    browser = portal.sent_off()
    other = portal.signed_in("hello@wensum.example").open("/permissions/held.json").response.get_json()
    assert portal.connections() == []
    (agreed,) = browser.open("/permissions/held.json").response.get_json()["permissions"]
    assert (agreed["business"], agreed["asked_by"]) == ("Kelham Crumb Bakery Ltd", "Hartlebury Meters Limited")
    assert agreed["browser"]
    assert agreed["granted"]
    assert other["permissions"] == []
    with portal.app.app_context():
        with store.reading() as c:
            kept = evidence.of_subject(c, agreed["id"])
        assert kept is not None
        with pytest.raises(CommandFailed, match="no evidence names"):
            audit_trail.permissions_of(kept.who["business"])
        assert audit_trail.permissions_of(None) == []
        certified = unsegment(json.loads(subjects.certificate(subjects.erase("kelham", "Privacy desk")))["payload"])
        with store.reading() as c:
            assert evidence.of_subject(c, agreed["id"]) is None
    assert [each["rows"] for each in certified["erased"] if each["table"] == "evidence"] == [1]


def test_a_link_to_an_evidence_page_is_told_where_there_is_one(portal: Any) -> None:
    browser = portal.connected()
    connection = portal.connections()[0].id
    portal.released("bank", on=[connection])
    held = browser.open("/permissions/held.json").response.get_json()["permissions"]
    told = {each["id"]: each.get("evidence") for each in held}
    assert told[connection] is None
    assert portal.browser().open(told["bank"]).status == 200
