"""Every command on a bad day, or with wrong arguments: one sentence that says what to do, and nothing is changed."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import Result

from consent_server.cli import main
from consent_server.store import waiting

#: What stands after each command that does not run without it.
ARGUMENTS = {
    "audit export": ["--all", "--out", "{out}"],
    "audit show": ["NOPE"],
    "datasources show": ["NOPE"],
    "db replay-withdrawals": ["{journal}"],
    "factors load": ["{journal}"],
    "keys retire": ["signing", "NOPE"],
    "keys rotate": ["signing"],
    "mail retry": ["NOPE"],
    "outbox retry": ["7"],
    "permissions show": ["NOPE"],
    "permissions withdraw": ["NOPE", "--why", "asked by telephone"],
    "readings discard": ["NOPE", "--by", "me", "--why", "wrong"],
    "readings release": ["NOPE", "--by", "me", "--why", "right"],
    "report service-levels": ["--month", "2026-02"],
    "serve": ["--door", "public"],
    "status downtime cancel": ["NOPE"],
    "status downtime plan": [
        *("--part", "data", "--from", "2030-03-12T09:30:00Z", "--to", "2030-03-12T11:30:00Z", "new disks")
    ],
    "status incident close": ["NOPE", "--text", "over"],
    "status incident open": ["--part", "data", "--effect", "down", "--text", "wait", "no disks"],
    "status incident update": ["NOPE", "--text", "soon"],
    "subject certificate": ["NOPE"],
    "subject erase": ["--permission", "NOPE"],
    "subject export": ["--permission", "NOPE", "--out", "{out}"],
    "subject find": ["--permission", "NOPE"],
    "work": ["--once"],
}
#: What a command is about other than a party's database: it works without one, or says at length what it finds.
WITHOUT = {"keys make", "keys list", "catalogue entry", "db upgrade", "doctor", "onboard check", "metering check"}
#: Commands that are tried elsewhere with the files that they take.
ELSEWHERE = {"guard", "meters", "provenance", "sandbox", "readings load", "report verify"}


def leaves(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from leaves(each, f"{path} {name}".strip())
    else:
        yield path, command


COMMANDS = [
    path
    for path, command in leaves(main)
    if "overrides" in {parameter.name for parameter in command.params} and not {path, path.split()[0]} & ELSEWHERE
]
ON_A_DATABASE = [path for path in COMMANDS if path not in WITHOUT]
#: Those that open it late: the keys, the client certificate or the file that they are given come first.
LATE = {"keys retire", "keys rotate", "serve", "work", "catalogue check", "db replay-withdrawals", "factors load"}


@pytest.fixture
def attempt(command: Callable[..., Result], deployment: Path, tmp_path: Path) -> Callable[..., Result]:
    """Run a command, by its path, with the arguments that it needs."""
    (tmp_path / "journal").touch()
    secret = tmp_path / "keys" / "customers_secret"
    secret.write_text("a secret of the log-in")
    secret.chmod(0o600)

    def run(path: str, *more: object) -> Result:
        words = (word.format(out=tmp_path / "out", journal=tmp_path / "journal") for word in ARGUMENTS.get(path, []))
        return command(*path.split(), *words, "--config", deployment, *more)

    return run


def says(result: Result, *parts: str) -> None:
    """The command failed, with one sentence on its last line, which has these parts."""
    assert result.exit_code in (1, 2), result.output
    last = result.output.strip().splitlines()[-1]
    assert all(part in last for part in parts), result.output
    assert "Retry-After" not in last, "nothing reads headers at a command line"


def files(folder: Path) -> dict[Path, bytes]:
    """What a command may not change, nor add to: all but what SQLite keeps beside a database that is open."""
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_a_name_that_is_misspelt_makes_no_database(attempt: Callable[..., Result], tmp_path: Path) -> None:
    before = files(tmp_path)
    for path in ON_A_DATABASE:
        if path.startswith("keys") or path == "db replay-withdrawals":
            continue  # a leaked key is retired without a database, too, and an empty journal asks nothing of it
        wrong = f"database.url=sqlite:///{tmp_path}/sotre.db"
        says(attempt(path, "--set", wrong), "sotre.db does not exist", "`consent-server db upgrade`")
    assert files(tmp_path) == before


def test_files_with_which_no_door_could_open(attempt: Callable[..., Result], tmp_path: Path) -> None:
    """What systemd asks before a reload."""
    good = attempt("serve", "--check")
    assert (good.exit_code, good.output) == (0, "this door can open\n")
    bad = tmp_path / "bad"
    bad.touch(mode=0o600)
    bad.write_text("no such thing")
    for setting, said in {
        "public.key": f"public.key ({bad})",
        "keys.signing_certificate": "keys.signing_certificate",
        "keys.sealing": "sealing key",
        "keys.tokens": str(bad),
    }.items():
        says(attempt("serve", "--check", "--set", f"{setting}={bad}"), said)


def test_a_database_whose_folder_is_missing(attempt: Callable[..., Result], tmp_path: Path) -> None:
    wrong = f"database.url=sqlite:///{tmp_path}/missing/store.db"
    says(attempt("db upgrade", "--set", wrong), f"database.url: {tmp_path}/missing", "make it")


@pytest.mark.parametrize(
    ("content", "said", "paths"),
    [
        (b"", "`consent-server db upgrade`", [path for path in ON_A_DATABASE if path not in LATE]),
        (b"no database, but a file of somebody's" * 100, "look at it", ["audit tail", "status incident open"]),
    ],
    ids=["not migrated", "another file"],
)
def test_a_database_that_cannot_be_used(
    content: bytes, said: str, paths: list[str], attempt: Callable[..., Result], tmp_path: Path
) -> None:
    for file in tmp_path.glob("store.db*"):
        file.unlink()
    (tmp_path / "store.db").write_bytes(content)
    before = files(tmp_path)
    for path in paths:
        says(attempt(path), "database", said)
    after = files(tmp_path)
    # SQLite writes into an empty file that it will keep a log beside it
    assert {path: after.get(path) for path in before if path.name != "store.db" or content} == {
        path: found for path, found in before.items() if path.name != "store.db" or content
    }
    assert after.keys() == before.keys()


def test_a_database_that_another_holds(attempt: Callable[..., Result], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(waiting, "LOCK_WAIT_S", 0.1)
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        before = files(tmp_path)
        for path in ("status incident open", "outbox retry"):
            says(attempt(path), "cannot be used, and nothing was changed", "locked: another process")
        assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--set", "database.url=rubbish"], "sqlite:///path or postgresql+psycopg://"),
        (["--set", "database.url=mysql://host/x"], "sqlite:///path or postgresql+psycopg://"),
        (["--set", "database.url.x=x"], "there is no such setting"),
        (["--set", "database"], "is not KEY=VALUE"),
        (["--set", "keys.signing_root=/nonexistent"], "/nonexistent: No such file or directory"),
        (["--set", "keys.signing_certificate=/nonexistent"], "/nonexistent: No such file or directory"),
        (["--set", "keys.tokens=/nonexistent"], "make the keys first"),
    ],
)
def test_settings_that_name_nothing(
    wrong: list[str], said: str, attempt: Callable[..., Result], tmp_path: Path
) -> None:
    before = files(tmp_path)
    says(attempt("subject find", *wrong), said)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "override",
    [
        "mail.password=SECRET",
        "database.url=postgresql+psycopg://consent:SECRET@db.example.org/edp",
        "database.url=postgresql+psycopg://consent:SE/CRET@db.example.org/edp",
        "database.url=postgresql+psycopg://db.example.org/edp?sslmode=require&password=SECRET",
        "metering.sql_register.url=postgresql+psycopg:///x?sslpassword=SECRET",
        "traces.endpoint=https://me:SECRET@collector.example/v1/traces",
    ],
)
def test_a_password_is_no_argument(override: str, command: Callable[..., Result], deployment: Path) -> None:
    for words in (
        ["keys", "list", "--config", deployment, "--set", override],
        ["sandbox", "up", "--set", f"edp.{override}"],
    ):
        refused = command(*words)
        says(refused, override.partition("=")[0], "PGPASSFILE")
        assert "CRET" not in refused.output


def test_the_sandbox_takes_no_password_for_its_database(command: Callable[..., Result]) -> None:
    says(command("sandbox", "up", "--database-url", "postgresql://consent:SECRET@localhost/x"), "PGPASSFILE")


def test_settings_that_cannot_be_read(attempt: Callable[..., Result], deployment: Path, tmp_path: Path) -> None:
    deployment.write_bytes(b"\xff\xfe")
    for path in COMMANDS:
        says(attempt(path), "not TOML")
    deployment.unlink()
    before = files(tmp_path)
    for path in COMMANDS:
        says(attempt(path), "CONSENT_CONFIG")
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "show", "NOPE"], "no event is kept about NOPE: see `consent-server permissions list`"),
        (["report", "service-levels", "--month", "2019-01"], "2019-01 is not kept as a whole any more"),
        (["report", "service-levels", "--month", "2999-01"], "has not begun"),
        (["report", "service-levels", "--month", "January"], "such as 2026-10"),
    ],
)
def test_what_is_not_there_is_said(
    words: list[str], said: str, command: Callable[..., Result], deployment: Path
) -> None:
    says(command(*words, "--config", deployment), said)
