"""A call that cannot be made at all must not hold up those behind it."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from consent_server import store
from consent_server.store import accounts, connections, outbox
from consent_server.store.database import db
from consent_server.withdrawal.outbox import BATCH, LONGEST_DELAY_S, OutboxParts, dispatch


@pytest.fixture
def app(database_url: str, held_clock: Any) -> Iterator[Flask]:
    app = Flask("outbox-test")
    store.init(app, database_url)
    with app.app_context():
        db.create_all()
        with store.writing() as c:
            accounts.add(c, id="acme", email="owner@acme.example", business="Acme", created=0)
        yield app
        db.engine.dispose()


def owed_revocation(name: str, at: int) -> None:
    with store.writing() as c:
        connections.add(
            c,
            id=name,
            account="acme",
            issuer="https://edp.example",
            resource="https://edp.example",
            member="https://directory.example/m/edp",
            application="https://directory.example/a/edp",
            license="https://registry.example/license",
            refresh_sealed=b"sealed",
            refresh_mac=name,
            granted=at,
            expires=at + 60,
        )
        outbox.add(c, kind="revocation", subject=name, recipient="https://edp.example", at=at)


def test_a_fault_of_ours_is_an_attempt_like_any_other(
    app: Flask, held_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["broken", *(f"c{number}" for number in range(BATCH + 2))]
    for name in names:
        owed_revocation(name, held_clock.instant)
    made: list[str] = []

    def revoke(row: Any) -> None:
        if row.id == "broken":
            raise KeyError("key-canary")
        made.append(row.id)

    parts = OutboxParts(send=lambda *_: None, revoke=revoke, token_of=lambda _: "", give_up_after=2)
    assert dispatch(parts) == BATCH - 1
    assert dispatch(parts) == 3
    assert sorted(made) == sorted(names[1:])
    held_clock.step(LONGEST_DELAY_S)
    assert dispatch(parts) == 0
    with store.reading() as c:
        (row,) = outbox.given_up(c)
    assert (row.subject, row.attempts, row.last_error) == ("broken", 2, "KeyError")


def test_a_call_about_nothing_is_given_up(app: Flask, held_clock: Any) -> None:
    with store.writing() as c:
        outbox.add(c, kind="message", subject="unknown", recipient="https://fsp.example", at=held_clock.instant)
    parts = OutboxParts(send=lambda *_: None, revoke=lambda _: None, token_of=lambda _: "", give_up_after=1)
    assert dispatch(parts) == 0
    with store.reading() as c:
        (row,) = outbox.given_up(c)
    assert row.last_error == "unknown is not in the store"
