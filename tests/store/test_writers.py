"""Several acts of one process in one transaction of SQLite: each fails by itself, and each returns once it is on the disk."""

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.store import limits
from consent_server.store.database import db

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CALLERS = 8


class SlowDisk:
    """COMMIT takes its time: until `goes_on`, for the first. `fault` is what each of the others raises."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.commits, self.fault = 0, ""
        self.began, self.goes_on = threading.Event(), threading.Event()
        self._commit = db.engine.dialect.do_commit
        patch.setattr(db.engine.dialect, "do_commit", self)

    def __call__(self, raw: Any) -> None:
        self.commits += 1
        if self.commits == 1:
            self.began.set()
            assert self.goes_on.wait(60)
        elif self.fault:
            error = sqlite3.OperationalError(self.fault)
            error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, self.fault), self.fault
            raise error
        self._commit(raw)


@pytest.fixture
def disk(app: Flask, monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    return SlowDisk(monkeypatch)


def kept() -> set[str]:
    """What another process would find."""
    with sqlite3.connect(str(db.engine.url.database)) as other:
        return {key for (key,) in other.execute("SELECT key FROM attempt")}


def while_the_disk_is_busy(
    app: Flask, disk: SlowDisk, acts: dict[str, Callable[[store.Connection], Any]]
) -> dict[str, Any]:
    """Commit something, and begin acts while that takes its time. Return name -> what became of each."""

    def run(name: str, act: Callable[[store.Connection], Any]) -> Any:
        with app.app_context():
            try:
                with store.writing() as c:
                    limits.add(c, name, 0)
                    act(c)
                assert name in kept(), "it returned before it was on the disk"
            except (ValueError, store.StoreUnavailable) as error:
                return error
            return "done"

    writers = db.engine.get_execution_options()["writers"]
    with ThreadPoolExecutor(CALLERS + 1) as pool:
        first = pool.submit(run, "first", lambda _: None)
        assert disk.began.wait(60)
        running = {name: pool.submit(run, name, act) for name, act in acts.items()}
        for _ in range(1000):
            if len(writers._waiting) == len(acts):
                break
            time.sleep(0.01)
        disk.goes_on.set()
        assert first.result(60) == "done"
        return {name: of.result(60) for name, of in running.items()}


def nothing(_: store.Connection) -> None:
    pass


def fail(_: store.Connection) -> None:
    raise ValueError


def test_acts_that_wait_share_one_commit_and_fail_by_themselves(app: Flask, disk: SlowDisk) -> None:
    acts = {str(number): fail if number % 3 == 0 else nothing for number in range(CALLERS)}
    became = while_the_disk_is_busy(app, disk, acts)
    assert disk.commits == 2
    well = {name for name, act in acts.items() if act is nothing}
    assert {name for name, end in became.items() if end == "done"} == well
    assert all(isinstance(became[name], ValueError) for name in acts.keys() - well)
    assert kept() == well | {"first"}


@pytest.mark.parametrize(
    ("fault", "refusal", "later"),
    [
        ("SQLITE_IOERR_FSYNC", store.OutcomeUnknown, "nothing is written any more"),
        ("SQLITE_FULL", store.StoreUnavailable, "OperationalError: SQLITE_FULL"),
    ],
)
def test_G05_G06_a_commit_that_fails_acknowledges_none_of_its_acts(
    app: Flask, disk: SlowDisk, fault: str, refusal: type[Exception], later: str
) -> None:
    disk.fault = fault
    became = while_the_disk_is_busy(app, disk, {str(number): nothing for number in range(CALLERS)})
    assert {type(end) for end in became.values()} == {refusal}
    assert kept() == {"first"}
    with pytest.raises(store.StoreUnavailable) as refused, store.writing() as c:
        limits.add(c, "later", 0)
    assert later in refused.value.private


def test_what_sqlite_rolls_back_is_acknowledged_to_none_who_shared_it(app: Flask, disk: SlowDisk) -> None:
    """On some errors SQLite ends the transaction itself, and not the statement alone."""

    def roll_back(c: store.Connection) -> None:
        raw: Any = c.connection.driver_connection
        raw.execute("ROLLBACK")

    acts = {str(number): nothing for number in range(CALLERS - 1)} | {"fatal": roll_back}
    became = while_the_disk_is_busy(app, disk, acts)
    assert isinstance(became["fatal"], store.StoreUnavailable)
    assert kept() == {name for name, end in became.items() if end == "done"} | {"first"}
    with store.writing() as c:
        limits.add(c, "later", 0)
    assert "later" in kept()


def test_a_transaction_is_committed_though_who_waited_for_a_turn_gave_up(app: Flask) -> None:
    writers = db.engine.get_execution_options()["writers"]
    writers._waiting.add("somebody who never comes")
    with store.writing() as c:
        limits.add(c, "one", 0)
    assert kept() == {"one"}


def test_a_commit_that_is_broken_off_leaves_no_transaction_behind(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(db.engine.dialect, "do_commit", break_off)
        with pytest.raises(KeyboardInterrupt), store.writing() as c:
            limits.add(c, "one", 0)
    with sqlite3.connect(str(db.engine.url.database), timeout=0) as other:
        other.execute("BEGIN IMMEDIATE")
    with store.writing() as c:
        limits.add(c, "two", 0)
    assert kept() == {"two"}


def test_many_acts_are_not_put_off_for_ever(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody always waits, a transaction is committed after so many acts."""
    monkeypatch.setattr("consent_server.store.writers.MOST_ACTS", 4)
    commits: list[Any] = []
    sa.event.listen(db.engine, "commit", commits.append)

    def run(number: int) -> None:
        with app.app_context(), store.writing() as c:
            limits.add(c, f"many-{number}", 0)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(run, range(64)))
    assert len(kept()) == 64
    assert len(commits) >= 16
