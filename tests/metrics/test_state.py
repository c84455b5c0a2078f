"""What the jobs find for the metrics: on both databases, bounded, and as a whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from consent_server import store
from consent_server.metrics.state import ENDS_S, MOST_PARTIES, FoundState
from consent_server.scheme.instant import DAY
from consent_server.scheme.permission import Act
from consent_server.store import accounts, connections, job_runs, mails, outbox, permissions
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Permission
from tests.conftest import HeldClock
from tests.deployments import deploy, in_new_database, opened, settings_of

CAP, EDP = "https://cap.example/a/1", "https://edp.example"


@contextmanager
def a_cap(database_url: str) -> Iterator[None]:
    with in_new_database(opened(deploy(settings_of("cap", database_url)), "public")):
        yield


@pytest.fixture
def app(tmp_path: Path, held_clock: HeldClock) -> Iterator[None]:
    with a_cap(f"sqlite:///{tmp_path / 'store.db'}"):
        yield


@pytest.fixture
def on_each_database(database_url: str, held_clock: HeldClock) -> Iterator[None]:
    with a_cap(database_url):
        yield


def permission(c: Any, name: str, expires: int, redeemed: int | None = 1) -> None:
    kept = permissions.add(
        c,
        Permission(
            id=name,
            account=name,
            client_id=CAP,
            member=CAP,
            license=CAP,
            fuels=[],
            text_sha256="0" * 64,
            sme="acme",
            meters=[],
            datasources=[],
            granted=0,
            expires=expires,
            refresh_id=name,
            refresh_version=1,
        ),
    )
    if redeemed:
        permissions.redeem(c, kept.id, redeemed)


def connection(c: Any, name: str, expires: int, collect_due: int | None) -> None:
    values = {"issuer": EDP, "resource": EDP, "member": EDP, "application": EDP, "license": EDP}
    sealed: Any = {"refresh_sealed": b"", "refresh_mac": name, "granted": 0}
    connections.add(c, ProviderConnection(name, "acme", expires=expires, collect_due=collect_due, **values, **sealed))


def gauges(state: FoundState) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        family.name.removeprefix("consent_"): {tuple(s.labels.values()): s.value for s in family.samples}
        for family in state.collect()
    }


@pytest.mark.usefixtures("on_each_database")
def test_what_waits_ends_and_is_old(held_clock: HeldClock) -> None:
    at, state = held_clock.instant, FoundState()
    with store.writing() as c:
        accounts.add(c, SmeAccount("acme", "owner@acme.example", "Acme", created=0))
        for subject, recipient, since in (("p1", CAP, 90), ("p2", CAP, 50), ("p3", EDP, 10)):
            outbox.add(c, kind="message", subject=subject, recipient=recipient, at=at - since)
        mails.add(c, "p1", "given", "acme", None, at - 7)
        permission(c, "soon", at + 7 * DAY)
        permission(c, "later", at + 8 * DAY)
        permission(c, "not redeemed", at + DAY, redeemed=None)
        permission(c, "over", at)
        permission(c, "withdrawn", at + DAY)
        ended = permissions.find(c, "withdrawn")
        assert ended is not None
        permissions.end(c, ended, Act.WITHDRAW, at=at, by="sme", where="manage", why="")
        connection(c, "late", at + 29 * DAY, at - 30)
        connection(c, "in time", at + 31 * DAY, at + 1)
        job_runs.record(c, "outbox", at - 20, True)
        job_runs.record(c, "mails", at - 5, False, "Refused")
    state.look()
    shown = gauges(state)
    assert shown["owed"] == {("message", CAP): 2, ("message", EDP): 1, ("mail", "-"): 1}
    assert shown["owed_oldest_seconds"] == {("message", CAP): 90, ("message", EDP): 10, ("mail", "-"): 7}
    assert shown["collections_due"] == {("collection", EDP): 1}
    assert shown["collection_due_seconds"] == {("collection", EDP): 30}
    assert shown["ends_ahead"] == {
        ("permission", "7"): 1,
        ("permission", "30"): 2,
        ("connection", "7"): 0,
        ("connection", "30"): 1,
    }
    assert shown["job_success_timestamp_seconds"] == {("outbox",): at - 20}
    assert shown["job_failing"] == {("outbox",): 0, ("mails",): 1}
    assert shown["looked_timestamp_seconds"] == {(): at}
    assert set(shown["certificate_end_timestamp_seconds"]) == {
        ("keys.signing_certificate",),
        ("keys.client_certificate",),
        ("public.certificate",),
        ("mutual_tls.certificate",),
    }
    assert all(end > at for end in shown["certificate_end_timestamp_seconds"].values())
    assert all(0 < since <= at for since in shown["key_used_since_timestamp_seconds"].values())


def test_ends_are_counted_now_and_then(app: None, held_clock: HeldClock) -> None:
    state = FoundState()
    state.look()
    with store.writing() as c:
        permission(c, "soon", held_clock.instant + DAY)
    for later, ends in ((ENDS_S - 1, 0), (1, 1)):
        held_clock.instant += later
        state.look()
        assert gauges(state)["ends_ahead"]["permission", "7"] == ends


def test_recipients_beyond_a_number_are_added_together(app: None, held_clock: HeldClock) -> None:
    at, state = held_clock.instant, FoundState()
    with store.writing() as c:
        for number in range(MOST_PARTIES + 3):
            outbox.add(c, kind="message", subject=f"p{number}", recipient=f"{CAP}{number}", at=at - 500 + number)
    state.look()
    owed = gauges(state)["owed"]
    assert (len(owed), owed["message", "other"], owed["message", f"{CAP}0"]) == (MOST_PARTIES + 1, 3, 1)
    assert gauges(state)["owed_oldest_seconds"]["message", "other"] == 500 - MOST_PARTIES


def test_a_look_that_fails_leaves_what_was_found_before(app: None, monkeypatch: pytest.MonkeyPatch) -> None:
    state = FoundState()
    state.look()
    before = gauges(state)

    def fails(*_: object) -> None:
        raise store.StoreUnavailable("played")

    monkeypatch.setattr(job_runs, "last", fails)
    with pytest.raises(store.StoreUnavailable):
        state.look()
    assert gauges(state) == before
