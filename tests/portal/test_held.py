"""Everything that a CAP holds about a business is there to read and to keep, for its account alone."""

import json
from typing import Any

import pytest

from consent_server import store
from consent_server.parties.operator import audit_trail, subjects
from consent_server.parties.operator.records import CommandFailed
from consent_server.store import accounts, connections, evidence, outbox
from tests.jose import unsegment


def test_the_page_and_the_file_say_the_same_and_the_file_has_the_half_hours(portal: Any) -> None:
    browser = portal.connected()
    connection = portal.connections()[0].id
    portal.collected(connection)
    portal.released("bank", on=[connection])
    page = browser.open("/permissions").open("/permissions/held").html
    response = browser.open("/permissions/held.json").response
    assert response.headers["Content-Disposition"] == 'attachment; filename="what-we-hold.json"'
    held = response.get_json()
    assert held.keys() == {"account", "permissions", "meters", "months"}
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
            emptied = accounts.find(c, connection.account)
            assert [call.kind for call in outbox.of_subject(c, connection.id)] == ["revocation"]
    assert emptied is not None
    assert (emptied.email.partition("@")[2], emptied.business) == ("erased.invalid", "")
    certified = unsegment(kept["payload"])
    assert set(certified["withdrawn"]) == {connection.id, "bank"}
    assert {"session", "account", "collected", "collected_meter", "meter_month"} <= {
        row["table"] for row in certified["erased"]
    }
    assert "Kelham" not in str(certified)
    assert other.open("/permissions").path == "/permissions"


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
