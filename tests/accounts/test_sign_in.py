"""Signing in by a code that was sent by e-mail: the rules that the CAP's portal and its issuer share."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import store
from consent_server.accounts import sign_in
from consent_server.accounts.business import LONGEST_BUSINESS, name_business
from consent_server.refusal import Unavailable
from consent_server.store import accounts, rows
from consent_server.store.tables import FailureCount, SignInCode, SmeAccount
from consent_server.web.limits import TooMany
from tests.deployments import PlayedMail, deploy, in_new_database, opened, settings_of

EMAIL, NEW = "office@kelham.example", "new@bakery.example"
SENDER = "192.0.2.7"
PER_ACCOUNT, PER_ADDRESS, LIFE_S, WINDOW_S = 5, 30, 600, 600


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
        "limits.sign_in_per_account": str(PER_ACCOUNT),
        "limits.identify_per_address": str(PER_ADDRESS),
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


def send(typed: str = EMAIL, sender: str = SENDER, *, opens_account: bool = True) -> str | None:
    return sign_in.send_code(typed, sender, opens_account=opens_account)


def check(code: str, email: str = EMAIL, sender: str = SENDER) -> SmeAccount | None:
    return sign_in.check_code(email, code, sender)


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
    assert check(mail.code) is None, "used"


@pytest.mark.parametrize("code", ["", "000000", "12345", "1234567", "abcdef", "٠١٢٣٤٥", "00000x"])
def test_a_wrong_code(mail: PlayedMail, code: str) -> None:
    send()
    assert check(code if code != mail.code else "000001") is None
    assert check(mail.code) is not None, "the right one still works"


def test_a_code_is_one_addresses(mail: PlayedMail) -> None:
    send()
    code = mail.code
    send(NEW)
    assert check(code, NEW) is None or code == mail.code


def test_a_newer_code_ends_the_one_before(mail: PlayedMail) -> None:
    send()
    first = mail.code
    send()
    assert (check(first) is None) is (first != mail.code)


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
    assert kept.digest != sign_in.current().sealer.mac("135790"), "the same code of another address differs"


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
    wrong = "000000" if mail.code != "000000" else "000001"
    check(mail.code if right else wrong)
    assert counted == {f"code/{WINDOW_S}": 1, "code/86400": 1}
    assert failures() == ({} if right else {"sign-in": 2, "code": 1, "mail": 1})


def test_wrong_codes_for_an_account(mail: PlayedMail) -> None:
    send()
    for number in range(PER_ACCOUNT):
        assert check("00000x", sender=f"192.0.2.{number}") is None
    with pytest.raises(TooMany):
        check(mail.code, sender="192.0.2.99")


def test_who_waits_for_each_window_is_stopped_for_the_day(mail: PlayedMail, held_clock: Any) -> None:
    for _ in range(5):
        for _ in range(PER_ACCOUNT):
            assert check("00000x") is None
        held_clock.step(WINDOW_S)
    with pytest.raises(TooMany):
        check("00000x")


def test_mails_to_an_address(mail: PlayedMail) -> None:
    for number in range(PER_ACCOUNT):
        assert send(sender=f"192.0.2.{number}") == EMAIL
    with pytest.raises(TooMany):
        send(sender="192.0.2.99")
    assert len(mail.sent) == PER_ACCOUNT
    assert send(NEW) == NEW


def test_mails_and_codes_from_one_network_address(mail: PlayedMail) -> None:
    for number in range(PER_ADDRESS):
        send(f"n{number}@kelham.example")
        check("00000x", f"n{number}@kelham.example")
    for attempt in (send, lambda: check(mail.code)):
        with pytest.raises(TooMany):
            attempt()
    assert check("00000x", sender="192.0.2.99") is None


def test_signing_in_to_one_account_does_not_pay_for_guesses_at_others(mail: PlayedMail) -> None:
    for number in range(PER_ADDRESS - 1):
        assert check("00000x", f"v{number}@kelham.example") is None
        if number % 3 == 0:
            sign_in_once(mail)
    assert check("00000x", "last@kelham.example") is None
    with pytest.raises(TooMany):
        check("00000x", "one-more@kelham.example")


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
