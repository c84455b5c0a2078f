"""Everything that an EDP holds about a business is there to read and to keep, for that business alone."""

from typing import Any

import pytest

from consent_server import store
from consent_server.store import outbox
from tests.journey.conftest import GOOD, WRONG_CHECK_DIGIT

BILL = {name: GOOD[name] for name in ("postcode", "mpan")}


@pytest.fixture
def managed(edp: Any) -> Any:
    edp.keep_grant(1)
    edp.keep_grant(2, ended=5, ended_as="withdrawn", ended_by="sme")
    edp.keep_grant(3, sme="sme-2")
    with edp.app.app_context(), store.writing() as c:
        outbox.add(c, kind="message", subject="p-2", recipient="https://cap.example/inbox", at=5)
    return edp


def test_the_page_and_the_file_say_the_same(managed: Any) -> None:
    browser = managed.browser().open("/manage").click("continue", **BILL)
    assert "is being told" in browser.html.partition("Earlier permissions")[2]
    page = browser.open("/manage/held").html
    response = browser.open("/manage/held.json").response
    assert response.headers["Content-Disposition"] == 'attachment; filename="what-we-hold.json"'
    held = response.get_json()
    assert [each["id"] for each in held["permissions"]] == ["p-1", "p-2"]
    assert held["business"] == [{"business": "Acme Widgets Ltd"}]
    assert [each["meter"] for each in held["meters"]] == [
        "electricity, SW8, ••••••••• 8902",
        "gas, SW8, •••••• 4403",
    ]
    ended = held["permissions"][1]
    assert (ended["state"], ended["told"]) == (
        "withdrawn",
        [{"kind": "message", "recipient": "https://cap.example/inbox"}],
    )
    assert (ended["name"], ended["address"], ended["text"]) == ("Ada <b>Smith</b>", "192.0.2.7", managed.text)
    for told in ("Acme Widgets Ltd", "p-1", "p-2", "192.0.2.7", "Withdrawn", "https://cap.example/inbox", "8902"):
        assert told in page
    whole = page + response.get_data(as_text=True)
    for hidden in ("1212345678902", "3938424403", "SW8 1AA", WRONG_CHECK_DIGIT, "p-3", "Bakers"):
        assert hidden not in whole


@pytest.mark.parametrize("path", ["/manage/held", "/manage/held.json"])
def test_nobody_else_gets_it(managed: Any, path: str) -> None:
    assert managed.browser().open(path).path == "/manage"
    other = managed.browser().open("/manage").click("continue", postcode="SW8 1AA", mpan=WRONG_CHECK_DIGIT)
    other.click("continue")
    assert "p-3" in other.open(path).html
    assert "p-1" not in other.html
