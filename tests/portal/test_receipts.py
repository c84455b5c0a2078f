"""Receipts by e-mail at a CAP: owed with the act, sent by the worker, and harmless wherever they end up."""

from typing import Any

import pytest

from consent_server import clock, store
from consent_server.outbound.errors import Unreachable
from consent_server.parties.operator.records import withdraw_as_operator
from consent_server.receipts import mails
from consent_server.store import mails as kept
from consent_server.store.rows import table_of
from consent_server.store.tables import Evidence

EMAIL = "office@kelham.example"


def posted(portal: Any) -> list[tuple[str, str, str]]:
    """What the worker sends now."""
    portal.mail.sent.clear()
    mails.send_due()
    return list(portal.mail.sent)


def test_P12_a_connection_is_receipted_when_it_is_made_renewed_and_withdrawn(portal: Any) -> None:
    browser = portal.connected()
    ((to, subject, text),) = posted(portal)
    assert (to, subject) == (EMAIL, "Receipt: your permission for Hartlebury Meters Limited")
    for told in (
        "Hartlebury Meters Limited may give Tallyleaf half-hourly readings of your meters.",
        "Given by: Kelham Crumb Bakery Ltd",
        "Ends on: ",
        "How to undo it: open this link",
    ):
        assert told in text
    assert posted(portal) == [], "once"
    portal.connected(browser=browser)
    ((_, subject, _),) = posted(portal)
    assert subject.startswith("Receipt: you renewed"), "and no mail about the one that it replaced"
    browser.open("/permissions").click("withdraw").click("confirm")
    ((_, subject, text),) = posted(portal)
    assert subject.endswith("is withdrawn")
    assert "because you withdrew it" in text
    assert "Ended on: " in text
    assert "How to undo it" not in text


def test_P12_what_rested_on_a_permission_has_a_receipt_of_its_own(portal: Any) -> None:
    portal.connected()
    (connection,) = portal.connections()
    portal.released("release-1", on=[connection.id])
    posted(portal)
    withdraw_as_operator(connection.id, "asked by telephone")
    found = posted(portal)
    assert sorted(subject.split(": ")[1].split(" for ")[1] for _, subject, _ in found) == [
        "Hartlebury Meters Limited is withdrawn",
        "Wharfside Bank Limited is withdrawn",
    ]
    assert all("because you asked us to" in text for _, _, text in found)


def test_a_receipt_is_owed_with_the_act_or_not_at_all(portal: Any) -> None:
    portal.connected()
    (connection,) = portal.connections()
    posted(portal)

    def fails(*_: object) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError), store.writing() as c:  # noqa: PT012 - the transaction is what is tested
        mails.owe(c, connection.id, "kelham", mails.Kind.WITHDRAWN, clock.now())
        fails()
    assert posted(portal) == []


def test_a_relay_that_is_down_loses_no_mail(portal: Any, held_clock: Any) -> None:
    portal.connected("hartlebury")
    portal.connected("northmoor")
    portal.mail.down = True
    assert mails.send_due() == 1, "the others would fail as well"
    portal.mail.down = False
    assert len(posted(portal)) == 1, "the one that was not tried"
    held_clock.step(mails.FIRST_DELAY_S)
    assert len(posted(portal)) == 1


def test_a_refused_address_holds_up_no_other_and_is_given_up(portal: Any, held_clock: Any) -> None:
    portal.connected("hartlebury")
    portal.connected("northmoor", email="hello@wensum.example")
    send = portal.mail.send

    def refuses(to: str, subject: str, text: str) -> None:
        if to == EMAIL:
            raise Unreachable("refused", "mail.example")
        send(to, subject, text)

    portal.mail.send = refuses
    assert [to for to, _, _ in posted(portal)] == ["hello@wensum.example"]
    held_clock.step(portal.deployment.settings.jobs.give_up_after_s)
    assert posted(portal) == []
    (connection,) = portal.connections()
    with store.reading() as c:
        (owed,) = kept.of_subject(c, connection.id)
    assert (owed.given_up, owed.attempts, owed.last_error) == (clock.now(), 2, "Unreachable refused")


def test_two_workers_send_a_mail_once(portal: Any) -> None:
    portal.connected()
    at = clock.now()
    with store.writing() as c:
        (first,) = kept.lease(c, at, mails.LEASE_S, 20)
    with store.writing() as c:
        assert kept.lease(c, at, mails.LEASE_S, 20) == []
        (second,) = kept.lease(c, at + mails.LEASE_S, mails.LEASE_S, 20)
        assert not kept.settle(c, first, delivered=at), "its lease ran out, and another has it"
        assert kept.settle(c, second, delivered=at)


@pytest.mark.parametrize(
    "name", ["Bank\r\nBcc: everybody@example.com", "Bank\n\nhttps://evil.example", "B\u202eank\u200b\x00", "B" * 500]
)
def test_a_hostile_name_makes_no_header_and_no_line_of_its_own(portal: Any, name: str) -> None:
    portal.released("release-1")
    with store.writing() as c:
        c.execute(table_of(Evidence).update().values(names={"client": name, "license": name}, who={"business": name}))
        mails.owe(c, "release-1", "kelham", mails.Kind.GRANTED, clock.now())
    ((_, subject, text),) = posted(portal)
    assert len(subject) < 120
    assert subject.isprintable()
    assert not any(line.startswith(("Bcc", "https://evil")) for line in text.splitlines())
    assert not set("\u202e\u200b\x00\r") & set(text)


def test_the_receipt_of_an_own_permission_and_of_no_other(portal: Any) -> None:
    browser = portal.connected()
    (connection,) = portal.connections()
    browser.open(f"/permissions/receipt?permission={connection.id}")
    assert browser.path.startswith("/receipt/")
    receipt = browser.path
    other = portal.signed_in("hello@wensum.example").open(f"/permissions/receipt?permission={connection.id}")
    assert other.status == 404
    portal.browser().open(receipt).click("confirm")
    (ended,) = portal.connections()
    assert ended.ended_as == "withdrawn"
    ((_, subject, _),) = [mail for mail in posted(portal) if "withdrawn" in mail[1]]
    assert "Hartlebury" in subject
