"""H22: withdrawals that meet in the middle. Each has ended its subject when it waits for the other to do so."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import Any

import pytest
from flask import current_app

from consent_server import store
from consent_server.deployment import Deployment
from consent_server.store import connections, permissions
from consent_server.withdrawal import withdraw as withdrawing
from consent_server.withdrawal.ending_with import ending_with
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.withdrawal.conftest import connection, linked, permission

ASKED = Withdrawal(by="sme", where="here", why="asked")


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two withdrawals both look what falls with their subjects before either goes on, if they can."""
    both = threading.Barrier(2)

    def meet(*args: Any) -> dict[str, str]:
        found = ending_with(*args)
        with suppress(threading.BrokenBarrierError):  # the other one waits until this one is through
            both.wait(0.5)
        return found

    monkeypatch.setattr(withdrawing, "ending_with", meet)


def together(*subjects: str) -> list[str]:
    """All that fell, sorted."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def one(subject: str) -> list[str]:
        with app.app_context():
            return withdraw(subject, ASKED)

    with ThreadPoolExecutor(len(subjects)) as pool:
        return sorted(chain.from_iterable(pool.map(one, subjects)))


def ended(*subjects: str) -> list[bool]:
    with store.reading() as c:
        rows = [permissions.find(c, each) or connections.find(c, each) for each in subjects]
    return [row is not None and row.ended is not None for row in rows]


def test_H22_two_members_of_a_cycle_at_once(deployment: Deployment, meeting: None) -> None:
    for name in ("p", "q"):
        permission(name)
    linked("p", "q")
    linked("q", "p")
    fallen = together("p", "q")
    assert fallen == ["p", "q"], "each once, and neither transaction was given up"
    assert all(ended("p", "q"))


def test_H22_both_supports_at_once(deployment: Deployment, meeting: None) -> None:
    for name in ("c1", "c2"):
        connection(deployment, name)
    permission("p")
    linked("c1", "p")
    linked("c2", "p")
    fallen = together("c1", "c2")
    assert fallen == ["c1", "c2", "p"], "neither counted on the other"
    assert all(ended("c1", "c2", "p"))
