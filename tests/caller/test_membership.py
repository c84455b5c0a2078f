"""The Directory's word on a caller: who is refused, what an outage changes, and how seldom it is asked."""

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consent_server.caller import membership
from consent_server.caller.membership import (
    AgreementLapsed,
    ApplicationWithdrawn,
    Memberships,
    MembershipSuspended,
    MembershipUnknown,
)
from consent_server.outbound.directory import Agreement, Application, Member
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.settings.clients import ClientsSettings

APPLICATION, MEMBER = "https://directory.example/a/app", "https://directory.example/m/member"
NOON = 1773316800
REMEMBER_S = 60


class Directory:
    """Answers what it is told to; an exception is raised. Counts how often it was asked about the application."""

    def __init__(self) -> None:
        self.publisher: Any = MEMBER
        self.membership: Any = True
        self.agreements: tuple[Agreement, ...] = ()
        self.asked = 0

    def application(self, url: str) -> Application:
        self.asked += 1
        if isinstance(self.publisher, Exception):
            raise self.publisher
        return Application(url, self.publisher, "App", (), None)

    def member(self, url: str) -> Member:
        if isinstance(self.membership, Exception):
            raise self.membership
        return Member(url, "Member Ltd", None, (), None, self.membership, self.agreements)


@pytest.fixture
def directory() -> Directory:
    return Directory()


def memberships(directory: Any, unknown: Any = "refuse", lapsed: Any = "refuse") -> Memberships:
    clients = ClientsSettings(
        root=Path("client_root.pem"),
        membership_s=REMEMBER_S,
        unknown_membership=unknown,
        lapsed_agreements=lapsed,
    )
    settings: Any = SimpleNamespace(clients=clients, is_sandbox=False)
    return Memberships(settings, directory)


def others(first: int, how_many: int) -> list[MemberCertificate]:
    """Callers with applications of their own."""
    return [replace(CALLER, application=f"{APPLICATION}-{number}") for number in range(first, first + how_many)]


CAP, FSP = "https://registry.example/scheme/perseus/role/cap", "https://registry.example/scheme/perseus/role/fsp"
CALLER = MemberCertificate(APPLICATION, MEMBER, frozenset({CAP}), 1, "00", 0, 1 << 40, b"")


@pytest.mark.parametrize(
    ("publisher", "membership", "refusal"),
    [
        (MEMBER, True, None),
        (MEMBER, False, MembershipSuspended),
        (MEMBER, BadAnswer("status 404", "directory", 404), MembershipSuspended),
        (BadAnswer("status 404", "directory", 404), True, ApplicationWithdrawn),
        (BadAnswer("status 410", "directory", 410), True, ApplicationWithdrawn),
        ("https://directory.example/m/other", True, ApplicationWithdrawn),
        (Unreachable("time", "directory"), True, MembershipUnknown),
        (BadAnswer("status 500", "directory", 500), True, MembershipUnknown),
        (MEMBER, Unreachable("connect", "directory"), MembershipUnknown),
        (MEMBER, BadAnswer("unreadable", "directory", 200), MembershipUnknown),
    ],
    ids=[
        *("active", "suspended", "no-member", "no-application", "application-gone", "anothers-application"),
        *("directory-slow", "directory-broken", "member-not-to-be-had", "member-unreadable"),
    ],
)
def test_who_is_refused(directory: Directory, publisher: Any, membership: Any, refusal: Any) -> None:
    directory.publisher, directory.membership = publisher, membership
    if refusal is None:
        memberships(directory).require(CALLER, NOON)
        return
    with pytest.raises(refusal) as caught:
        memberships(directory).require(CALLER, NOON)
    assert caught.value.status == (503 if refusal is MembershipUnknown else 403)


def test_an_unknown_caller_is_let_in_where_the_settings_say_so(directory: Directory) -> None:
    directory.publisher = Unreachable("connect", "directory")
    memberships(directory, "allow").require(CALLER, NOON)


IN_FORCE, ENDED = Agreement((CAP, FSP), NOON - 10, NOON + 10), Agreement((CAP,), NOON - 10, NOON)


@pytest.mark.parametrize(
    ("agreements", "asked", "passes"),
    [
        ((IN_FORCE,), (CAP,), True),
        ((ENDED, IN_FORCE), (CAP,), True),
        ((ENDED,), (CAP,), False),
        ((), (CAP,), False),
        ((Agreement((CAP,), NOON + 1, NOON + 10),), (CAP,), False),
        ((Agreement((FSP,), 0, NOON + 10),), (CAP,), False),
        ((IN_FORCE,), (FSP,), False),
        ((Agreement((FSP,), 0, NOON + 10),), (CAP, FSP), False),
    ],
    ids=[
        "in-force",
        "renewed",
        "ended",
        "none",
        "not-yet",
        "another-role",
        "role-not-held",
        "role-held-by-agreement-alone",
    ],
)
def test_an_agreement_in_force_for_a_role_that_the_certificate_has(
    directory: Directory, agreements: Any, asked: tuple[str, ...], passes: bool
) -> None:
    directory.agreements = agreements
    if passes:
        memberships(directory).require_agreement(CALLER, asked, NOON)
        return
    with pytest.raises(AgreementLapsed) as caught:
        memberships(directory).require_agreement(CALLER, asked, NOON)
    assert (caught.value.status, caught.value.error) == (403, "unauthorized_client")
    assert "Agreement" in caught.value.clause


def test_a_lapsed_agreement_is_warned_of_once_a_day_where_the_settings_say_so(
    directory: Directory, caplog: Any
) -> None:
    membership._warn_of_agreement.cache_clear()
    judge = memberships(directory, lapsed="warn")
    for at in (NOON, NOON + 1, NOON + 86400):
        judge.require_agreement(CALLER, (CAP,), at)
    assert len([each for each in caplog.records if "no agreement" in each.message]) == 2


def test_an_agreement_ends_in_the_second_that_it_names_though_the_verdict_is_remembered(directory: Directory) -> None:
    directory.agreements = (IN_FORCE,)
    judge = memberships(directory)
    judge.require_agreement(CALLER, (CAP,), NOON + 9)
    with pytest.raises(AgreementLapsed):
        judge.require_agreement(CALLER, (CAP,), NOON + 10)
    assert directory.asked == 1


@pytest.mark.parametrize("active", [True, False], ids=["active", "suspended"])
def test_a_verdict_is_remembered_for_a_while(directory: Directory, active: bool) -> None:
    directory.membership = active
    judge = memberships(directory)

    def passes(at: int) -> bool:
        try:
            judge.require(CALLER, at)
        except MembershipSuspended:
            return False
        return True

    assert [passes(NOON + second) for second in range(3)] == [active] * 3
    assert directory.asked == 1
    directory.membership = not active
    assert passes(NOON + REMEMBER_S - 1) is active
    assert passes(NOON + REMEMBER_S) is not active
    assert directory.asked == 2


def test_a_directory_that_cannot_be_had_is_not_asked_by_every_request(directory: Directory) -> None:
    directory.publisher = Unreachable("time", "directory")
    judge = memberships(directory)
    for second in range(10):
        with pytest.raises(MembershipUnknown):
            judge.require(CALLER, NOON + second)
    assert directory.asked == 1
    directory.publisher = MEMBER
    judge.require(CALLER, NOON + 10)


def test_a_clock_that_was_stepped_back_asks_again(directory: Directory) -> None:
    judge = memberships(directory)
    judge.require(CALLER, NOON)
    judge.require(CALLER, NOON - 86400)
    assert directory.asked == 2


def test_one_thread_asks_and_the_others_go_by_the_last_verdict(directory: Directory) -> None:
    judge = memberships(directory)
    judge.require(CALLER, NOON)
    asking, answer = threading.Event(), threading.Event()

    def slowly(url: str) -> Application:
        asking.set()
        assert answer.wait(60)
        return Application(url, MEMBER, "App", (), None)

    directory.application = slowly  # type: ignore[method-assign]
    directory.membership = False
    refused: list[bool] = []

    def first() -> None:
        try:
            judge.require(CALLER, NOON + REMEMBER_S)
        except MembershipSuspended:
            refused.append(True)

    thread = threading.Thread(target=first)
    thread.start()
    assert asking.wait(60)
    judge.require(CALLER, NOON + REMEMBER_S)  # does not wait for the answer
    answer.set()
    thread.join(60)
    assert refused == [True]
    with pytest.raises(MembershipSuspended):
        judge.require(CALLER, NOON + REMEMBER_S)


def test_more_applications_than_are_remembered(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is forgotten while a thread looks for its next verdict."""
    monkeypatch.setattr(membership, "_REMEMBERED", 3)
    judge, answering = memberships(directory), directory.application
    judge.require(CALLER, NOON)

    def meanwhile(url: str) -> Application:
        directory.application = answering  # type: ignore[method-assign]
        for other in others(0, 3):
            judge.require(other, NOON + REMEMBER_S)
        return answering(url)

    directory.application = meanwhile  # type: ignore[method-assign]
    judge.require(CALLER, NOON + REMEMBER_S)
    for other in others(3, 6):
        judge.require(other, NOON + REMEMBER_S)
    directory.asked = 0
    for caller in (*others(6, 3), CALLER):
        judge.require(caller, NOON + REMEMBER_S)
    assert directory.asked == 1, "the last three are remembered, and the first is asked about again"
