"""Signing in by a code that was sent by e-mail: the rules that the CAP's portal and its issuer share."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from werkzeug.wrappers import Response

from consent_server import store
from consent_server.accounts import sign_in
from consent_server.accounts.business import LONGEST_BUSINESS, name_business
from consent_server.deployment import current
from consent_server.refusal import Unavailable
from consent_server.store import accounts, rows
from consent_server.store.tables.accounts import SignInCode, SmeAccount
from consent_server.store.tables.limits import FailureCount
from consent_server.web import device_cookie
from consent_server.web.limits import TooMany
from tests.deployments import PlayedMail, deploy, in_new_database, opened, settings_of

EMAIL, NEW = "office@kelham.example", "new@bakery.example"
SENDER = "192.0.2.7"
BROWSER = "a browser"
PER_ACCOUNT, PER_MAILBOX, PER_NETWORK, LIFE_S, WINDOW_S, MAIL_PAUSE_S = 5, 5, 30, 600, 600, 3600


class PlayedName:
    """A Directory that knows our own name."""

    def member(self, _url: str) -> Any:
        return type("Member", (), {"name": "Tallyleaf"})


@pytest.fixture
def mail(database_url: str, held_clock: Any, tmp_path: Path) -> Iterator[PlayedMail]:
    """What a CAP with one account sends; the test runs in that CAP's application."""
    fixed = tmp_path / "codes.json"
    fixed.write_text(json.dumps({"fixed@kelham.example": "135790"}), encoding="utf-8")
    changes = {
        "limits.tries_per_account_per_day": str(PER_ACCOUNT),
        "limits.tries_per_known_browser_per_day": str(PER_ACCOUNT),
        "limits.mails_per_mailbox": str(PER_MAILBOX),
        "limits.mails_per_mailbox_per_day": str(2 * PER_MAILBOX),
        "limits.tries_per_network": str(PER_NETWORK),
        "limits.window_s": str(WINDOW_S),
        "lifetimes.sign_in_code": str(LIFE_S),
        "sandbox.fixed_codes": str(fixed),
    }
    deployment = deploy(settings_of("cap", database_url, changes))
    deployment.mail = mail = PlayedMail()
    deployment.directory = PlayedName()
    with in_new_database(opened(deployment, "public")):
        with store.writing() as c:
            accounts.add(c, SmeAccount("kelham", EMAIL, "Kelham Crumb Bakery Ltd", created=0))
        yield mail


def asked(typed: str, sender: str, cookie: str = "", *, opens_account: bool = True) -> sign_in.CodeAsked | None:
    found = sign_in.ask_code(typed, sender, cookie, opens_account=opens_account)
    if found is not None:
        sign_in.mail_code(found)
    return found


def send(typed: str = EMAIL, sender: str = SENDER, *, opens_account: bool = True) -> str | None:
    found = asked(typed, sender, opens_account=opens_account)
    return None if found is None else found.email


def check(
    code: str, email: str = EMAIL, sender: str = SENDER, browser: str = BROWSER, cookie: str = ""
) -> SmeAccount | None:
    return sign_in.check_code(email, code, sender, cookie, browser)


def wait_of(attempt: Any) -> int:
    """Seconds for which an attempt must wait; 0 when it is made."""
    try:
        attempt()
    except TooMany as refused:
        return int(refused.answer_headers["Retry-After"])
    return 0


#: What a mail and one wrong code count under, in the first window.
WRONG_ONCE = {"mails-network": 1, "mails-all": 1, "mailbox": 1, "codes-network": 1, "codes-all": 1}


def stranger(number: int) -> str:
    return f"198.51.{number // 256}.{number % 256}"


def sign_in_once(mail: PlayedMail, email: str = EMAIL, sender: str = SENDER) -> None:
    send(email, sender)
    assert check(mail.code, email, sender) is not None


def account_of(email: str) -> SmeAccount | None:
    with store.reading() as c:
        return accounts.by_email(c, email)


def failures() -> dict[str, int]:
    """What each limit has counted in its first window, by its name, where it counts at all."""
    with store.reading() as c:
        counted = rows.every(c, FailureCount, sa.select(rows.table_of(FailureCount)))
    found: dict[str, int] = {}
    for row in counted:
        if row.count and f"/{WINDOW_S}:" in row.key:
            name = row.key.partition("/")[0]
            found[name] = found.get(name, 0) + row.count
    return found


def test_a_code_signs_in_once(mail: PlayedMail) -> None:
    assert send(" Office@Kelham.example ") == EMAIL
    ((to, subject, text),) = mail.sent
    assert (to, mail.code in subject, mail.code in text, "Tallyleaf" in text) == (EMAIL, True, True, True)
    account = check(f" {mail.code[:3]}-{mail.code[3:]} ")
    assert account is not None
    assert (account.id, account.business) == ("kelham", "Kelham Crumb Bakery Ltd")
    assert check(mail.code, browser="another") is None, "used"


@pytest.mark.parametrize("code", ["", "00000000", "1234567", "123456789", "abcdefgh", "٠١٢٣٤٥٦٧", "0000000x"])
def test_a_wrong_code(mail: PlayedMail, code: str) -> None:
    send()
    assert len(mail.code) == sign_in.DIGITS
    assert check(code if code != mail.code else "00000001") is None
    assert check(mail.code) is not None, "the right one still works"


def test_a_code_is_one_addresses(mail: PlayedMail) -> None:
    send()
    code = mail.code
    send(NEW)
    assert check(code, NEW) is None or code == mail.code


def test_an_open_code_is_sent_again_and_lasts_as_long_as_a_new_one(mail: PlayedMail, held_clock: Any) -> None:
    """So that nobody ends another's code by asking for a newer one."""
    send()
    first = mail.code
    held_clock.step(LIFE_S - 1)
    send(sender="192.0.2.99")
    assert mail.code == first
    held_clock.step(LIFE_S - 1)
    assert check(first) is not None
    send()
    assert mail.code != first, "a code that was used is not sent again"


def test_P17_the_browser_that_used_a_code_gets_its_answer_again(mail: PlayedMail, held_clock: Any) -> None:
    send()
    first = check(mail.code)
    held_clock.step(sign_in.REPEAT_S)
    before = failures()
    assert check(mail.code) == first
    assert failures() == before, "and pays for nothing a second time"
    assert check(mail.code, browser="another") is None
    assert check("00000000") is None
    held_clock.step(1)
    assert check(mail.code) is None


def test_a_code_of_an_older_version_is_not_sent_again(mail: PlayedMail, held_clock: Any) -> None:
    with store.writing() as c:
        accounts.put_code(c, SignInCode(EMAIL, "0" * 64, held_clock.instant + LIFE_S))
    send()
    assert check(mail.code) is not None


@pytest.mark.parametrize(("seconds", "works"), [(LIFE_S - 1, True), (LIFE_S, False)])
def test_a_code_lasts_as_long_as_its_mail_says(mail: PlayedMail, held_clock: Any, seconds: int, works: bool) -> None:
    send()
    assert f"in the next {LIFE_S // 60} minutes" in mail.sent[0][2]
    held_clock.step(seconds)
    assert (check(mail.code) is not None) is works


def test_the_store_keeps_a_keyed_digest_of_a_code(mail: PlayedMail) -> None:
    send("fixed@kelham.example")
    assert mail.code == "135790", "the fixed code of the sandbox's SME"
    with store.reading() as c:
        (kept,) = rows.every(c, SignInCode, sa.select(rows.table_of(SignInCode)))
    assert "135790" not in str(kept)
    assert kept.digest != current().sealer.mac("135790"), "the same code of another address differs"


def test_a_new_address_opens_an_account_when_its_code_is_used(mail: PlayedMail, held_clock: Any) -> None:
    send(NEW)
    assert account_of(NEW) is None
    account = check(mail.code, NEW)
    assert account is not None
    assert account == account_of(NEW)
    assert (account.business, account.created) == ("", held_clock.instant)


def test_without_opening_accounts_every_address_gets_one_mail_and_the_same_answer(mail: PlayedMail) -> None:
    """So that neither the time nor a mail server that is down tells which address has an account."""
    assert send(opens_account=False) == EMAIL
    known = failures()
    assert send(NEW, "192.0.2.8", opens_account=False) == NEW
    assert failures() == {name: 2 * count for name, count in known.items()}
    assert [to for to, _, _ in mail.sent] == [EMAIL, NEW]
    assert not any(character.isdigit() for character in "".join(mail.sent[-1]))
    mail.down = True
    for email in (EMAIL, NEW):
        with pytest.raises(Unavailable):
            send(email, opens_account=False)
    assert account_of(NEW) is None


@pytest.mark.parametrize(
    "typed", ["", "x", "a b@c", "a@b@c", "<a@b>", "a" * 300 + "@b.example", "a@b\r\nBcc: c@d", "a\u200b@b.example"]
)
def test_what_is_no_address_is_sent_nothing_and_not_counted(mail: PlayedMail, typed: str) -> None:
    assert send(typed) is None
    assert (mail.sent, failures()) == ([], {})


# limits


@pytest.mark.parametrize("right", [True, False])
def test_a_code_is_counted_before_it_is_checked(mail: PlayedMail, monkeypatch: pytest.MonkeyPatch, right: bool) -> None:
    counted: dict[str, int] = {}
    take_code = accounts.take_code

    def taken(*asked: Any) -> bool:
        counted.update(failures_on(asked[0]))
        return take_code(*asked)

    def failures_on(c: Any) -> dict[str, int]:
        found = rows.every(c, FailureCount, sa.select(rows.table_of(FailureCount)))
        return {row.key.partition(":")[0]: row.count for row in found if row.key.startswith("code/")}

    monkeypatch.setattr(accounts, "take_code", taken)
    send()
    wrong = "00000000" if mail.code != "00000000" else "00000001"
    check(mail.code if right else wrong)
    assert counted == {"code/86400": 1}
    assert failures() == ({} if right else WRONG_ONCE)


@pytest.mark.parametrize("guesses", [3 * PER_ACCOUNT, 100])
def test_H06_wrong_codes_of_others_do_not_keep_the_owner_out(mail: PlayedMail, guesses: int) -> None:
    send()
    waits = [wait_of(lambda n=n: check("0000000x", sender=stranger(n // 4))) for n in range(guesses)]
    assert waits.count(0) < guesses, "guessing was slowed"
    assert max(waits) <= 60, "and by a minute at most"
    assert check(mail.code) is not None, "and the owner was not"


def test_H06_wrong_codes_from_the_owners_network_slow_it_by_a_minute_at_most(mail: PlayedMail, held_clock: Any) -> None:
    send()
    for _ in range(100):
        wait_of(lambda: check("0000000x"))
    wait_s = wait_of(lambda: check(mail.code))
    assert 0 < wait_s <= 60
    held_clock.step(wait_s)
    assert check(mail.code) is not None


def test_a_guesser_gets_one_try_in_a_pause(mail: PlayedMail, held_clock: Any) -> None:
    send()
    tries = 0
    for _ in range(60):
        tries += wait_of(lambda: check("0000000x")) == 0
        held_clock.step(10)
    assert tries == PER_ACCOUNT + 10


def test_H15_mails_to_a_mailbox_all_day(mail: PlayedMail, held_clock: Any) -> None:
    """Whoever asks, from wherever: the day's mails are few, and at every moment a code in the mailbox works."""
    held_clock.instant = held_clock.instant // 86400 * 86400
    for number in range(24 * 4):
        held_clock.step(900 if number else 0)
        for of_now in range(3 if number % 8 else 1):
            assert wait_of(lambda n=number + of_now: send(sender=stranger(n))) == 0, "the answer is always the same"
        with store.writing() as c:
            assert accounts.keep_open(c, EMAIL, 0, held_clock.instant) is not None
    assert 24 <= len(mail.sent) <= 2 * PER_MAILBOX + 24
    assert "in the next 60 minutes" in mail.sent[-1][2]
    code = mail.code
    assert check(code, sender="192.0.2.200") is not None
    assert send() == EMAIL
    assert mail.code != code, "the owner's success forgets the strangers' mails"


def test_the_page_knows_that_no_mail_was_sent(mail: PlayedMail) -> None:
    every = [asked(EMAIL, stranger(number)) for number in range(PER_MAILBOX + 2)]
    assert [each.no_mail for each in every if each] == [*[False] * (PER_MAILBOX + 1), True]


@pytest.mark.parametrize("email", [EMAIL, NEW])
def test_a_mailbox_without_mails_does_not_tell_whether_it_has_an_account(mail: PlayedMail, email: str) -> None:
    for number in range(3 * PER_MAILBOX):
        send(email, stranger(number))
    every = [asked(email, stranger(n), opens_account=False) for n in range(20, 22 + PER_MAILBOX)]
    assert [each.no_mail for each in every if each] == [*[False] * (PER_MAILBOX + 1), True]


def test_mails_without_a_code_do_not_use_up_those_with_one(mail: PlayedMail) -> None:
    for number in range(3 * PER_MAILBOX):
        send(NEW, stranger(number), opens_account=False)
    assert len(mail.sent) == PER_MAILBOX + 1
    send(NEW)
    assert check(mail.code, NEW) is not None


def test_H06_a_known_browser_signs_in_while_its_network_is_used_for_guessing(mail: PlayedMail) -> None:
    response = Response()
    device_cookie.remember(response, "", (EMAIL,))
    kept = response.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    for number in range(PER_NETWORK + 5):
        wait_of(lambda n=number: send(f"n{n}@kelham.example"))
        wait_of(lambda: check("0000000x"))
    assert wait_of(lambda: send()) > 0
    assert asked(EMAIL, SENDER, kept) is not None
    assert wait_of(lambda: check(mail.code)) > 0
    assert check(mail.code, cookie=kept) is not None


def test_H06_whoever_had_a_mailbox_once_gains_no_tries_by_many_known_browsers(mail: PlayedMail) -> None:
    browsers = []
    for _ in range(40):
        response = Response()
        device_cookie.remember(response, "", (EMAIL,))
        browsers.append(response.headers["Set-Cookie"].partition("=")[2].partition(";")[0])
    tries = [wait_of(lambda k=kept: check("0000000x", cookie=k)) for kept in browsers for _ in range(PER_ACCOUNT + 3)]
    assert 0 < tries.count(0) <= 16 * (PER_ACCOUNT + 1) + 3
    send(sender=stranger(1))
    assert check(mail.code, sender=stranger(1), cookie=browsers[0]) is not None, (
        "the owner's own network waits for nobody"
    )


def test_a_mail_that_could_not_be_sent_does_not_count_for_its_mailbox(mail: PlayedMail) -> None:
    mail.down = True
    for number in range(2 * PER_MAILBOX):
        with pytest.raises(Unavailable):
            send(sender=stranger(number))
    mail.down = False
    for number in range(PER_MAILBOX + 1):
        send(sender=stranger(number))
    assert len(mail.sent) == PER_MAILBOX + 1


def test_H06_nor_for_the_network_that_asked_for_it(mail: PlayedMail) -> None:
    mail.down = True
    for _ in range(PER_NETWORK + 5):
        with pytest.raises(Unavailable):
            send()
    assert not any(failures().values())


def test_H15_mails_from_one_network(mail: PlayedMail, held_clock: Any) -> None:
    waits = [wait_of(lambda n=n: send(f"n{n}@kelham.example")) for n in range(PER_NETWORK + 5)]
    assert (waits.count(0), len(mail.sent)) == (PER_NETWORK + 1, PER_NETWORK + 1)
    assert max(waits) <= 60
    assert wait_of(lambda: send("one@kelham.example", "192.0.2.99")) == 0
    held_clock.step(max(waits))
    assert wait_of(lambda: send("late@kelham.example")) == 0


def test_signing_in_to_one_account_does_not_pay_for_mails_to_others(mail: PlayedMail) -> None:
    for number in range(PER_NETWORK - 1):
        assert wait_of(lambda n=number: send(f"v{n}@kelham.example")) == 0
        if number % 3 == 0:
            sign_in_once(mail)
    assert [wait_of(lambda n=n: send(f"w{n}@kelham.example")) > 0 for n in range(3)] == [False, False, True]


def test_success_clears_the_counts(mail: PlayedMail) -> None:
    for _ in range(PER_ACCOUNT + 2):
        sign_in_once(mail)
    assert failures() == {}


# the business of an account


def test_a_business_is_named_once(mail: PlayedMail) -> None:
    sign_in_once(mail, NEW)
    account = account_of(NEW)
    assert account is not None
    assert name_business(account.id, "  The  New\tBakery ") is None
    assert name_business(account.id, "Another Bakery") is None
    assert account_of(NEW) == account._replace(business="The New Bakery")


@pytest.mark.parametrize("typed", ["", " ", "x", "x" * (LONGEST_BUSINESS + 1), "Ba\u202ekery", "Ba\x00kery"])
def test_what_is_no_name_of_a_business(mail: PlayedMail, typed: str) -> None:
    sign_in_once(mail, NEW)
    account = account_of(NEW)
    assert account is not None
    assert name_business(account.id, typed) is not None
    assert account_of(NEW) == account
