"""Receipts of permissions at our own issuer: by mail where an address is known, and as a page."""

from typing import Any

from consent_server.receipts import mails
from tests.journey.conftest import EMAIL, GOOD


def posted(party: Any) -> list[tuple[str, str]]:
    """Subject and text of what the worker sends now."""
    party.mail.sent.clear()
    with party.app.app_context():
        mails.send_due()
    assert all(to == EMAIL for to, _, _ in party.mail.sent)
    return [(subject, text) for _, subject, text in party.mail.sent]


def allowed(cap: Any) -> Any:
    return cap.begun().click("continue", email=EMAIL).click("continue", code="123456").click("allow", agree="yes")


def test_P12_a_grant_is_receipted_and_a_second_one_is_a_renewal_or_a_change(cap: Any) -> None:
    allowed(cap)
    ((subject, text),) = posted(cap)
    assert subject == "Receipt: your permission for Carbon Accounting R Us Limited"
    assert "may see your monthly emissions from electricity and gas." in text
    allowed(cap)
    assert [subject for subject, _ in posted(cap)] == [
        "Receipt: you renewed your permission for Carbon Accounting R Us Limited"
    ]
    cap.fuels = frozenset({"electricity"})
    allowed(cap)
    assert [subject for subject, _ in posted(cap)] == [
        "Receipt: you changed your permission for Carbon Accounting R Us Limited"
    ]


def test_a_bill_gives_no_address_and_nothing_is_owed(edp: Any) -> None:
    edp.begun().click("continue", **GOOD).click("allow", agree="yes")
    assert edp.grant()
    assert posted(edp) == []
