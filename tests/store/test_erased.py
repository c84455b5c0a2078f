"""What was deleted is in no file of a SQLite database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from consent_server import store
from consent_server.store import accounts, sessions
from consent_server.store.schema import migrate
from consent_server.store.tables.accounts import SmeAccount
from tests.database import new_database

NAME = "Marsh Lane Upholstery"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "party.sqlite"


@pytest.fixture
def app(file: Path) -> Iterator[Flask]:
    with new_database(f"sqlite:///{file}", migrate) as app:
        yield app


def files_with(name: str, file: Path) -> set[str]:
    return {each.suffix for each in file.parent.glob(f"{file.name}*") if name.encode() in each.read_bytes()}


def kept_and_deleted() -> None:
    for number in range(50):
        with store.writing() as c:
            accounts.add(c, SmeAccount(f"{number}", f"{number}@marsh.example", f"{NAME} {number}", created=0))
            sessions.make(c, f"s-{number}", "portal", {"business": f"{NAME} {number}"}, 0)
    with store.writing() as c:
        c.exec_driver_sql("DELETE FROM account")
        c.exec_driver_sql("DELETE FROM session")


def test_what_was_deleted_is_in_neither_file_nor_log(app: Flask, file: Path) -> None:
    kept_and_deleted()
    assert ".sqlite-wal" in files_with(NAME, file), "as it was before"
    assert store.empty_log()
    assert files_with(NAME, file) == set()


def test_whoever_reads_is_waited_for_and_no_longer_than_a_transaction_may_wait(
    app: Flask, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_server.store.database.LOCK_WAIT_S", 0.05)
    with store.reading() as c:
        c.exec_driver_sql("SELECT count(*) FROM account").one()
        kept_and_deleted()
        assert not store.empty_log()
    assert store.empty_log()
    assert files_with(NAME, file) == set()
