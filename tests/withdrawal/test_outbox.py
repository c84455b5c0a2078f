"""A call that cannot be made at all must not hold up those behind it."""

from types import SimpleNamespace
from typing import Any

import pytest

from consent_server import store
from consent_server.deployment import Deployment
from consent_server.store import outbox
from consent_server.withdrawal.outbox import BATCH, LONGEST_DELAY_S, dispatch
from tests.withdrawal.conftest import ISSUER, connection


def test_a_fault_of_ours_is_an_attempt_like_any_other(
    deployment: Deployment, held_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["broken", *(f"c{number}" for number in range(BATCH + 2))]
    for name in names:
        connection(deployment, name)
        with store.writing() as c:
            outbox.add(c, kind="revocation", subject=name, recipient=ISSUER, at=held_clock.instant)
    revoked: list[str] = []

    def revoke(issuer: str, token: str) -> None:
        assert issuer == ISSUER
        if token == "token-broken":
            raise KeyError("key-canary")
        revoked.append(token)

    played: Any = deployment
    played.upstream = SimpleNamespace(metadata=lambda issuer: issuer, revoke=revoke)
    made = dispatch()
    assert (made.done, made.failed) == (BATCH + 2, 1)
    assert sorted(revoked) == sorted(f"token-{name}" for name in names[1:])
    for _ in range(3):
        held_clock.step(LONGEST_DELAY_S)
        assert (dispatch().done, dispatch().failed) == (0, 0)
    with store.reading() as c:
        (row,) = outbox.given_up(c)
    assert (row.subject, row.attempts, row.last_error) == ("broken", 4, "KeyError")


def test_a_call_about_nothing_is_given_up(deployment: Deployment, held_clock: Any) -> None:
    with store.writing() as c:
        outbox.add(c, kind="message", subject="unknown", recipient="https://fsp.example", at=held_clock.instant)
    for _ in range(4):
        assert dispatch().failed == 1
        held_clock.step(LONGEST_DELAY_S)
    with store.reading() as c:
        (row,) = outbox.given_up(c)
    assert row.last_error == "unknown is not in the store"
