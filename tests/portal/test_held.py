"""Everything that a CAP holds about a business is there to read and to keep, for its account alone."""

import json
from typing import Any

import pytest

from consent_server import store
from consent_server.parties.operator import subjects
from consent_server.store import accounts, connections, outbox
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
