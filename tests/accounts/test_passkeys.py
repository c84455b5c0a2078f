"""What a passkey must be to be added and to sign in: every way to spoil what a browser sends. The pages: tests/portal."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from consent_server import audit, clock, store
from consent_server.accounts import passkeys
from consent_server.store import accounts
from consent_server.store import passkeys as kept
from consent_server.store.tables.accounts import SmeAccount
from tests.deployments import deploy, in_new_database, opened, settings_of
from tests.passkey import PRESENT, VERIFIED, SoftwarePasskey

OURS = SmeAccount("kelham", "office@kelham.example", "Kelham Crumb Bakery Ltd", created=0)
THEIRS = SmeAccount("wensum", "hello@wensum.example", "Wensum Letterpress Ltd", created=0)
BROWSER, SENDER = "a browser's secret", "192.0.2.7"
EVIL = "https://evil.example"


@pytest.fixture
def origin(tmp_path: Path, held_clock: Any) -> Iterator[str]:
    """Of a CAP with two accounts, in whose application the test runs. The statements on both databases: tests/store."""
    limits = {
        f"limits.{name}": "10000" for name in ("tries_per_network", "tries_per_network_per_day", "own_tries_per_day")
    }
    deployment = deploy(settings_of("cap", f"sqlite:///{tmp_path / 'store.db'}", limits))
    with in_new_database(opened(deployment, "public")):
        with store.writing() as c:
            accounts.add(c, OURS)
            accounts.add(c, THEIRS)
        yield deployment.settings.public.origin


@pytest.fixture
def why(caplog: Any) -> Callable[[], str]:
    """Why the last passkey was refused, as the audit line says; empty where none was."""
    caplog.set_level(logging.INFO, audit.log.name)

    def newest() -> str:
        lines = [json.loads(each.getMessage()) for each in caplog.records if each.name == audit.log.name]
        caplog.clear()
        return "".join(line["why"] for line in lines if line["event"] == "passkey_refused")

    return newest


def add(sent: str, account: SmeAccount = OURS, browser: str = BROWSER) -> str | None:
    return passkeys.add(account, "Phone", sent, browser)


def added(origin: str, account: SmeAccount = OURS, **how: Any) -> SoftwarePasskey:
    device = SoftwarePasskey(**how)
    assert add(device.made(passkeys.to_add(account, [], BROWSER), origin), account) is None
    return device


def sign_in(sent: str, browser: str = BROWSER) -> SmeAccount | None:
    return passkeys.sign_in(sent, SENDER, "", browser)


def used(device: SoftwarePasskey, origin: str, **changes: Any) -> str:
    return device.used(passkeys.to_sign_in(BROWSER), origin, **changes)


NOT_AS_ASKED = "InvalidRegistrationResponse"
#: (what is sent in answer to the options, at an origin; why it adds nothing)
NOT_ADDED: dict[str, tuple[Callable[[str, str], str], str]] = {
    "nothing": (lambda asked, at: "", "InvalidJSONStructure"),
    "no JSON": (lambda asked, at: "{", "InvalidJSONStructure"),
    "deep JSON": (lambda asked, at: "[" * 8000, "RecursionError"),
    "another site": (lambda asked, at: SoftwarePasskey().made(asked, EVIL), NOT_AS_ASKED),
    "another port": (lambda asked, at: SoftwarePasskey().made(asked, f"{at}1"), NOT_AS_ASKED),
    "another RP ID": (lambda asked, at: SoftwarePasskey().made(asked, at, rp_id="evil.example"), NOT_AS_ASKED),
    "an assertion": (lambda asked, at: SoftwarePasskey().made(asked, at, type="webauthn.get"), NOT_AS_ASKED),
    "a frame": (lambda asked, at: SoftwarePasskey().made(asked, at, crossOrigin=True), "a frame of another site"),
    "nobody there": (lambda asked, at: SoftwarePasskey().made(asked, at, flags=VERIFIED), NOT_AS_ASKED),
    "nobody verified": (lambda asked, at: SoftwarePasskey().made(asked, at, flags=PRESENT), NOT_AS_ASKED),
    "no challenge": (lambda asked, at: SoftwarePasskey().made(asked, at, challenge=""), "ValueError"),
    "a challenge that is no text": (lambda asked, at: SoftwarePasskey().made(asked, at, challenge=7), "Error"),
    "another account's challenge": (
        lambda asked, at: SoftwarePasskey().made(passkeys.to_add(THEIRS, [], BROWSER), at),
        "another browser's challenge",
    ),
    "another browser's challenge": (
        lambda asked, at: SoftwarePasskey().made(passkeys.to_add(OURS, [], "another"), at),
        "another browser's challenge",
    ),
    "a format that we do not judge": (lambda asked, at: SoftwarePasskey().made(asked, at, fmt="apple"), "attestation"),
    "a forged attestation": (
        lambda asked, at: SoftwarePasskey().made(asked, at, fmt="packed", attStmt={"alg": -7, "sig": bytes(70)}),
        NOT_AS_ASKED,
    ),
    "an endless id": (lambda asked, at: SoftwarePasskey(id=bytes(1024)).made(asked, at), "credential id"),
    "no id": (lambda asked, at: SoftwarePasskey(id=b"").made(asked, at), NOT_AS_ASKED),
}


def test_what_is_no_new_passkey(origin: str, why: Callable[[], str]) -> None:
    found = {}
    for row, (spoil, _) in NOT_ADDED.items():
        assert add(spoil(passkeys.to_add(OURS, [], BROWSER), origin)) == passkeys.NOT_ADDED, row
        found[row] = why()
    assert found == {row: reason for row, (_, reason) in NOT_ADDED.items()}
    assert passkeys.of_account(OURS) == []


NOT_AS_SIGNED = "InvalidAuthenticationResponse"
Spoil = Callable[[SoftwarePasskey, str], str]
#: (what a device sends, at an origin; why it signs nobody in)
REFUSED: dict[str, tuple[Spoil, str]] = {
    "nothing": (lambda device, at: "", "unknown"),
    "no JSON": (lambda device, at: "\u202e{", "unknown"),
    "deep JSON": (lambda device, at: "[" * 8000, "unknown"),
    "a number": (lambda device, at: "7", "unknown"),
    "an unknown credential": (lambda device, at: used(device, at, id=b"x" * 32), "unknown"),
    "another key": (lambda device, at: used(device, at, key=ec.generate_private_key(ec.SECP256R1())), NOT_AS_SIGNED),
    "another account": (lambda device, at: used(device, at, user=THEIRS.id.encode()), "another account"),
    "no account": (lambda device, at: used(device, at, user=None), "another account"),
    "another site": (lambda device, at: used(device, EVIL), NOT_AS_SIGNED),
    "http": (lambda device, at: used(device, at.replace("https", "http")), NOT_AS_SIGNED),
    "another RP ID": (lambda device, at: used(device, at, rp_id="evil.example"), NOT_AS_SIGNED),
    "a registration": (lambda device, at: used(device, at, type="webauthn.create"), NOT_AS_SIGNED),
    "a frame": (lambda device, at: used(device, at, crossOrigin=True), "a frame of another site"),
    "nobody there": (lambda device, at: used(device, at, flags=VERIFIED), NOT_AS_SIGNED),
    "nobody verified": (lambda device, at: used(device, at, flags=PRESENT), NOT_AS_SIGNED),
    "no challenge": (lambda device, at: used(device, at, challenge=""), "ValueError"),
    "a challenge of another browser": (
        lambda device, at: device.used(passkeys.to_sign_in("another"), at),
        "another browser's challenge",
    ),
    "a challenge for adding one": (
        lambda device, at: device.used(with_rp_id(passkeys.to_add(OURS, [], BROWSER)), at),
        "another browser's challenge",
    ),
}


def with_rp_id(asked: str) -> str:
    return asked.replace('"rp":', '"rpId": "localhost", "rp":')


def test_what_signs_nobody_in(origin: str, why: Callable[[], str]) -> None:
    device, found = added(origin), {}
    for row, (spoil, _) in REFUSED.items():
        assert sign_in(spoil(device, origin)) is None, row
        found[row] = why()
    assert found == {row: reason for row, (_, reason) in REFUSED.items()}
    assert sign_in(used(device, origin)) == OURS, "and none of it spoils the passkey"


def test_a_device_that_signs_its_own_attestation_is_accepted(origin: str) -> None:
    device = SoftwarePasskey()
    assert add(device.made(passkeys.to_add(OURS, [], BROWSER), origin, attestation="packed")) is None
    assert sign_in(used(device, origin)) == OURS


def test_a_credential_belongs_to_one_account_and_is_added_once(origin: str) -> None:
    device = added(origin)
    for account in (THEIRS, OURS):
        sent = device.made(passkeys.to_add(account, [], BROWSER), origin)
        assert add(sent, account) == passkeys.NOT_ADDED
    device.user = OURS.id.encode()
    assert sign_in(used(device, origin)) == OURS
    (only,) = passkeys.of_account(OURS)
    assert not passkeys.remove(THEIRS, only.id)
    assert passkeys.of_account(THEIRS) == []


def test_a_challenge_is_used_once_and_in_its_time(origin: str, why: Callable[[], str], held_clock: Any) -> None:
    device = added(origin)
    sent, late = used(device, origin), used(device, origin)
    assert (sign_in(sent), sign_in(sent), why()) == (OURS, None, "challenge used before")
    held_clock.step(passkeys.CHALLENGE_S)
    assert (sign_in(late), why()) == (None, "challenge too old")
    asked = passkeys.to_add(OURS, [], BROWSER)
    assert add(SoftwarePasskey().made(asked, origin)) is None
    assert (add(SoftwarePasskey().made(asked, origin)), why()) == (passkeys.NOT_ADDED, "challenge used before")


def test_a_counter_that_does_not_grow_is_a_copy(origin: str) -> None:
    device = added(origin, counter=7)
    for counter, accepted in ((7, False), (6, False), (0, False), (8, True), (8, False), (9, True)):
        device.counter = counter
        assert (sign_in(used(device, origin)) is not None) == accepted, counter


def test_of_two_uses_at_once_one_is_recorded_and_none_after_a_removal(origin: str) -> None:
    added(origin, counter=7)
    (passkey,) = passkeys.of_account(OURS)
    with store.writing() as c:
        assert kept.used(c, passkey, 8, clock.now())
        assert not kept.used(c, passkey, 8, clock.now())
    (passkey,) = passkeys.of_account(OURS)
    assert passkeys.remove(OURS, passkey.id)
    with store.writing() as c:
        assert not kept.used(c, passkey, 9, clock.now())


def test_an_account_has_so_many_and_no_more(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passkeys, "MOST", 1)
    added(origin)
    assert add(SoftwarePasskey().made(passkeys.to_add(OURS, [], BROWSER), origin)) == passkeys.TOO_MANY


@pytest.mark.parametrize("name", ["", " ", "x" * 61, "a\u202eb"])
def test_an_unusable_name_for_a_passkey_is_refused(origin: str, name: str) -> None:
    sent = SoftwarePasskey().made(passkeys.to_add(OURS, [], BROWSER), origin)
    assert passkeys.add(OURS, name, sent, BROWSER) == passkeys.NOT_A_NAME


def test_no_options_tell_who_has_a_passkey(origin: str) -> None:
    added(origin)
    asked = passkeys.to_sign_in(BROWSER)
    assert '"allowCredentials": []' in asked
    assert '"userVerification": "required"' in asked
    assert passkeys.to_add(OURS, passkeys.of_account(OURS), BROWSER).count('"type": "public-key", "transports"') <= 1
