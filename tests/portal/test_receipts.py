"""Receipts by e-mail at a CAP: owed with the act, sent by the worker, and harmless wherever they end up."""

from typing import Any

import pytest

from consent_server import clock, store
from consent_server.outbound.mail import MailNotTaken
from consent_server.parties.operator.records import withdraw_as_operator
from consent_server.receipts import mails, reminders
from consent_server.scheme.instant import DAY
from consent_server.store import mails as kept
from consent_server.store.rows import table_of
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Evidence

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
            raise MailNotTaken("refused 554", "mail.example")
        send(to, subject, text)

    portal.mail.send = refuses
    assert [to for to, _, _ in posted(portal)] == ["hello@wensum.example"]
    held_clock.step(portal.deployment.settings.jobs.give_up_after_s)
    assert posted(portal) == []
    with store.reading() as c:
        (owed,) = kept.unsent(c)
    assert (owed.given_up, owed.attempts, owed.last_error) == (clock.now(), 2, "MailNotTaken refused 554")


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
        # No form or register takes NUL in a business's name, nor does PostgreSQL's index of who agreed.
        who = {"business": name.replace("\0", "")}
        c.execute(table_of(Evidence).update().values(names={"client": name, "license": name}, who=who))
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


@pytest.fixture
def ending(portal: Any) -> Any:
    """A portal with a connection and a release that end in a year, whose receipts are sent."""
    portal.connected()
    portal.released("release-1")
    posted(portal)
    return portal


def reminded(portal: Any) -> list[str]:
    """Subjects of the mails that time alone causes now."""
    reminders.owe()
    return sorted(subject for _, subject, _ in posted(portal))


NAMES = ("Hartlebury Meters Limited", "Wharfside Bank Limited")


def test_P7_reminders_come_once_each_and_then_the_end(ending: Any, held_clock: Any) -> None:
    end = held_clock.instant + 365 * DAY
    for days, ends in ((31, ""), (30, " ends in a month"), (8, ""), (7, " ends in a week"), (1, " ends tomorrow")):
        held_clock.step(end - days * DAY - held_clock.instant)
        expected = [f"Your permission for {name}{ends}" for name in NAMES] if ends else []
        assert reminded(ending) == expected
        assert reminded(ending) == [], "once"
    held_clock.step(DAY)
    assert reminded(ending) == [f"Your permission for {name} has ended" for name in NAMES]
    held_clock.step(-40 * DAY)
    held_clock.step(38 * DAY)
    assert reminded(ending) == [], "whatever the clock did"


def test_P7_what_a_pause_of_the_jobs_left_out_is_one_mail(ending: Any, held_clock: Any) -> None:
    held_clock.step(363 * DAY)
    assert reminded(ending) == [f"Your permission for {name} ends in a week" for name in NAMES]
    held_clock.step(365 * DAY)
    assert reminded(ending) == [], "an end of last year is no news"


def test_P7_nobody_is_reminded_of_what_has_ended_was_never_collected_or_was_short(portal: Any, held_clock: Any) -> None:
    portal.connected()
    portal.released("release-1", redeemed=False)
    (connection,) = portal.connections()
    with store.writing() as c:
        held = table_of(ProviderConnection)
        c.execute(held.update().values(expires=held_clock.instant + 20 * DAY))
    posted(portal)
    assert reminded(portal) == [], "it was never longer than a month"
    withdraw_as_operator(connection.id, "asked by telephone")
    posted(portal)
    held_clock.step(364 * DAY)
    assert reminded(portal) == []


def test_P1_a_mail_says_that_the_result_is_there(portal: Any) -> None:
    portal.connected()
    posted(portal)
    assert reminded(portal) == []
    (connection,) = portal.connections()
    portal.collected(connection.id)
    assert reminded(portal) == ["Your result is ready"]
    assert reminded(portal) == []


NOTICE = "A permission of yours ends on"


def test_P7_the_account_says_what_ends_soon_and_renews_it_in_one_page(ending: Any, held_clock: Any) -> None:
    browser = ending.signed_in().open("/account")
    assert "renew" not in browser.page.ids()
    assert NOTICE not in browser.open("/permissions").html
    held_clock.step(340 * DAY)
    for path in ("/permissions", "/result", "/connect", "/connected", "/forecast"):
        assert NOTICE in ending.signed_in().open(path).html
    assert NOTICE not in ending.browser().open("/sign-in").html
    browser = ending.signed_in().open("/account")
    assert NOTICE not in browser.html, "its card says so"
    assert "<bdi>Hartlebury Meters</bdi> gives us readings until" in browser.html
    assert browser.click("renew").path == "/connect/permission"
    held_clock.step(30 * DAY)
    browser = ending.signed_in().open("/account")
    assert "<bdi>Hartlebury Meters</bdi> gave us readings until" in browser.html
    assert "Have this at hand" not in browser.html, "it is no new account"
    assert browser.click("renew").path == "/connect/permission"
