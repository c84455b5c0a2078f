"""A disk that is full, fails or loses its power: nothing is acknowledged that is not there; a full one is recovered from."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.store import withdrawal_journal
from consent_server.store.database import db
from consent_server.store.schema import migrate
from consent_server.store.withdrawal_journal import JournalEntry
from tests.conftest import missing, program
from tests.store.test_restart import OwnServer

ROOT = Path(__file__).resolve().parents[2]

#: Writes rows and says on standard output what became of each, until it has tried argv[2] times.
WRITER = """
import os, sys
import sqlalchemy as sa
from flask import Flask
from consent_server import store
from consent_server.store.schema import migrate

app = Flask("writer")
store.init(app, sys.argv[1])
with app.app_context():
    migrate()
    os.write(1, b"began 0\\n")
    for number in range(int(sys.argv[2])):
        try:
            with store.writing() as c:
                c.execute(sa.text('INSERT INTO attempt (key, "window", count) VALUES (:k, 0, 0)'), {"k": f"{number:040}"})
            os.write(1, f"kept {number}\\n".encode())
        except store.StoreUnavailable as refusal:
            os.write(1, f"refused {number} {refusal.private}\\n".encode())
"""


def writer(file: Path, times: int, *traced: str) -> list[str]:
    """The command that runs WRITER, under strace if `traced` says with what."""
    command = [sys.executable, "-c", WRITER, f"sqlite:///{file}", str(times)]
    if not traced:
        return command
    program("strace")
    return ["strace", "-f", "-qq", *traced, *command]


def written(file: Path, *traced: str, times: int = 30) -> list[str]:
    """The lines that WRITER has said."""
    done = subprocess.run(writer(file, times, *traced), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def kept(lines: list[str]) -> set[str]:
    return {f"{int(line.split()[1]):040}" for line in lines if line.startswith("kept")}


def found(file: Path) -> set[str]:
    """The rows of a file that was not closed well. It must be sound."""
    with closing(sqlite3.connect(file)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {key for (key,) in copy.execute("SELECT key FROM attempt")}


def calls_before(file: Path, call: str) -> int:
    """How often a system call is made before the first row is kept."""
    log = file.with_suffix(".calls")
    written(file, "-e", f"trace={call},write", "-o", str(log), times=1)
    before = log.read_text(encoding="utf-8").partition("began 0")[0]
    return len(re.findall(rf"{call}\(", before))


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_G06_after_a_failed_write_or_fsync_nothing_is_acknowledged_any_more(tmp_path: Path, call: str) -> None:
    """One call fails with EIO. The next ones would succeed, and prove nothing."""
    fails_at = calls_before(tmp_path / "dry.db", call) + 8
    file = tmp_path / "store.db"
    lines = written(file, "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={fails_at}", "-o", "/dev/null")
    states = [line.split()[0] for line in lines[1:]]
    first = states.index("refused")
    assert 0 < first < len(states) - 5
    assert set(states[:first]) == {"kept"}
    assert set(states[first:]) == {"refused"}
    assert "restart" in lines[-1]
    assert kept(lines) <= found(file)


def test_G05_a_write_without_space_is_refused_and_later_ones_succeed(tmp_path: Path) -> None:
    fails_at = calls_before(tmp_path / "dry.db", "pwrite64") + 8
    file = tmp_path / "store.db"
    inject = f"inject=pwrite64:error=ENOSPC:when={fails_at}..{fails_at + 12}"
    lines = written(file, "-e", "trace=pwrite64", "-e", inject, "-o", "/dev/null")
    states = [line.split()[0] for line in lines[1:]]
    assert "refused" in states
    assert states[-1] == "kept"
    assert kept(lines) == found(file)


@contextmanager
def mounted(where: Path, size: str) -> Iterator[Path]:
    """A file system of this size."""
    folder = where / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        missing("the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path, "2m") as folder:
        yield folder


def filled(folder: Path) -> Path:
    """Leave no byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return filler


def test_G05_a_full_disk_acknowledges_nothing_and_is_recovered_from(small_disk: Path) -> None:
    """Database, its log, the journal and our own log are on it."""
    app = Flask("small")
    store.init(app, f"sqlite:///{small_disk / 'store.db'}")
    journal = small_disk / "withdrawals.jsonl"
    states: list[str] = []

    def keep(number: int) -> None:
        try:
            with store.writing() as c:
                values = {"k": f"{number:040}"}
                c.execute(sa.text('INSERT INTO attempt (key, "window", count) VALUES (:k, 0, 0)'), values)
                withdrawal_journal.write(journal, JournalEntry(1, [f"{number:040}"], "sme", "x" * 500, "", "", ""))
            states.append(f"kept {number}")
        except store.StoreUnavailable:
            states.append(f"refused {number}")

    with app.app_context():
        migrate()
        for number in range(20):
            keep(number)
        filler = filled(small_disk)
        for number in range(20, 60):
            keep(number)
        with store.reading() as c:
            assert c.execute(sa.text("SELECT count(*) FROM attempt")).scalar() == len(kept(states))
        filler.unlink()
        for number in range(60, 70):
            keep(number)
        db.engine.dispose()
    refused = [state for state in states if state.startswith("refused")]
    assert refused
    assert states[-10:] == [f"kept {number}" for number in range(60, 70)]
    assert kept(states) == found(small_disk / "store.db")
    entries = [entry for entry in withdrawal_journal.read(journal) if isinstance(entry, JournalEntry)]
    assert kept(states) <= {entry.fell[0] for entry in entries}


def test_G05_a_full_disk_under_postgresql_acknowledges_nothing_and_is_recovered_from(tmp_path: Path) -> None:
    """Its tables are on a small file system; the log of its transactions stays within the space that it has taken before."""
    with mounted(tmp_path, "192m") as folder:
        folder.chmod(0o777)
        server = OwnServer(str(folder / "data"))
        states: list[str] = []

        def keep(number: int) -> None:
            try:
                with store.writing() as c:
                    values = {"k": f"{number:040}", "pad": "x" * 20_000}
                    c.execute(sa.text("INSERT INTO padded (key, pad) VALUES (:k, :pad)"), values)
                states.append(f"kept {number}")
            except store.StoreUnavailable:
                states.append(f"refused {number}")

        app = Flask("small")
        store.init(app, server.url)
        with app.app_context():
            with store.writing() as c:
                c.execute(sa.text("CREATE TABLE padded (key text PRIMARY KEY, pad text)"))
                c.execute(
                    sa.text("ALTER TABLE padded ALTER pad SET STORAGE EXTERNAL")
                )  # or it would be compressed away
            keep(0)
            filler = filled(folder)
            for number in range(1, 40):
                keep(number)
            with store.reading() as c:
                assert c.execute(sa.text("SELECT count(*) FROM padded")).scalar() == len(kept(states))
            filler.unlink()
            for number in range(40, 50):
                keep(number)
            with store.reading() as c:
                assert set(c.execute(sa.text("SELECT key FROM padded")).scalars()) == kept(states)
            db.engine.dispose()
        server.close()
    assert any(state.startswith("refused") for state in states)
    assert states[-10:] == [f"kept {number}" for number in range(40, 50)]


def test_G05_a_log_that_cannot_be_written_stops_no_answer(small_disk: Path) -> None:
    filled(small_disk)
    script = """
import logging, sys
from flask import Flask
from consent_server import audit
from consent_server.serving import lines
lines.install("public")
for number in range(300):
    audit.event("server_fault", kind="x" * 100)
    logging.getLogger("consent_server.web").error("y" * 100)
print("went on")
"""
    with (small_disk / "log").open("wb") as log:
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"went on\n")


def test_G07_a_row_is_on_the_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    lines = written(tmp_path / "store.db", "-e", "trace=pwrite64,fdatasync,write", "-o", str(log))
    assert len(kept(lines)) == 30
    unsynced = False
    acknowledged = 0
    for line in log.read_text(encoding="utf-8").partition("began 0")[2].splitlines():
        if "pwrite64(" in line:
            unsynced = True
        elif "fdatasync(" in line and line.rstrip().endswith("= 0"):
            unsynced = False
        elif '"kept ' in line:
            acknowledged += 1
            assert not unsynced, line
    assert acknowledged == 30


@pytest.mark.parametrize("copies", [8, pytest.param(200, marks=pytest.mark.long)])
def test_G07_a_copy_of_any_moment_has_every_row_acknowledged_before_it(tmp_path: Path, copies: int) -> None:
    """The writer stands still while database and log are copied, as they are when the power goes."""
    file = tmp_path / "store.db"
    process = subprocess.Popen(writer(file, 1_000_000), cwd=ROOT, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    said = b""
    try:
        for number in range(copies):
            acknowledged = len(kept(said.decode().split("\n")[:-1]))
            until = time.monotonic() + 30
            while len(kept(said.decode().split("\n")[:-1])) < acknowledged + 3 + number % 7:
                assert time.monotonic() < until
                time.sleep(0.003 * (1 + number % 5))
                said += process.stdout.read() or b""
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            said += process.stdout.read() or b""
            copy = tmp_path / f"copy-{number}.db"
            for suffix in ("", "-wal"):
                shutil.copy2(f"{file}{suffix}", f"{copy}{suffix}")
            assert kept(said.decode().split("\n")[:-1]) <= found(copy)
            process.send_signal(signal.SIGCONT)  # after all that takes long: the writer would come to its end
    finally:
        process.kill()
        process.wait()
