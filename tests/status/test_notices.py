"""The commands by which an operator announces incidents and downtime, and the notice that they ask for."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from consent_server import store
from consent_server.cli import main
from consent_server.scheme.instant import DAY, text
from consent_server.store import audit_events, notices
from consent_server.store.tables.status import StatusNotice
from tests.conftest import HeldClock
from tests.deployments import START, layout

Command = Callable[..., Result]


@pytest.fixture
def command(app: Flask, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `consent-server status …` on the database of `app`, with the clock that is held."""
    monkeypatch.setattr("consent_server.clock.follow", lambda path: None)
    shared = ("--config", str(layout().settings("edp")), "--set", f"database.url={database_url}")

    def run(*arguments: str) -> Result:
        group = 1 if arguments[0] == "list" else 2
        result = CliRunner().invoke(main, ["status", *arguments[:group], *shared, *arguments[group:]])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def kept() -> list[StatusNotice]:
    with store.reading() as c:
        return notices.since(c, 0)


def test_an_incident_is_opened_updated_and_closed(app: Flask, command: Command, held_clock: HeldClock) -> None:
    said = command("incident", "open", "--part", "data", "--effect", "down", "--text", "No readings.", "Data is down")
    assert said.exit_code == 0
    [found] = kept()
    assert said.output == f"{found.id}\tincident\tdown\t{text(START)}\topen\tdata\tData is down\n"
    held_clock.step(60)
    command("incident", "update", "--text", "We know why.", found.id)
    held_clock.step(60)
    command("incident", "close", "--text", "Mended.", found.id)
    [found] = kept()
    assert (found.begins, found.ends) == (START, START + 120)
    assert [(each["at"] - START, each["text"]) for each in found.texts] == [
        (0, "No readings."), (60, "We know why."), (120, "Mended."),
    ]  # fmt: skip
    assert found.id in command("list").output
    with store.reading() as c:
        events = audit_events.newest(c, 10, event="notice_changed")
    assert [each.fields["change"] for each in events] == ["announced", "updated", "closed"]


DOWN = ("incident", "open", "--part", "data", "--effect", "down")
PLAN = ("downtime", "plan", "--part", "data", "--part", "issuer")


def times(begins: str, ends: str) -> tuple[str, ...]:
    return ("--from", begins, "--to", ends)


WRONG = [
    ((*DOWN, "--text", "x", "--since", "2027-01-01", "Title"), "plan downtime"),
    ((*DOWN, "--text", "x", "--since", "soon", "Title"), "name a day"),
    ((*DOWN, "--text", " ", "Title"), "say what partners meet"),
    ((*DOWN, "--text", "x", "two\x1b[2J"), "give it a title"),
    ((*DOWN, "--text", "Call 01234 567890", "Title"), "leave numbers"),
    ((*DOWN[:3], "data and all", *DOWN[4:], "--text", "x", "Title"), "is not one of"),
    ((*DOWN[:3], "registry", *DOWN[4:], "--text", "x", "Title"), "is not one of"),
    (("incident", "close", "--text", "x", "ffffffff"), "there is no incident ffffffff"),
    (("downtime", "cancel", "ffffffff"), "there is no downtime ffffffff"),
    ((*PLAN, *times("2026-03-12", "2026-04-20"), "Title"), "open an incident"),
    ((*PLAN, *times("2026-04-20", "2026-04-20"), "Title"), "--to must be after --from"),
    ((*PLAN, *times("2026-03-19", "2026-03-20"), "Title"), "2026-03-20 at the earliest"),
    ((*PLAN, *times("2026-04-20", "2026-04-21"), "--dry-run", "Title"), "nothing was changed"),
]


def test_a_wrong_command_changes_nothing_and_says_what_to_write(app: Flask, command: Command) -> None:
    for arguments, said in WRONG:
        result = command(*arguments)
        assert said in result.output + result.stderr, arguments
        assert (result.exit_code != 0) == ("--dry-run" not in arguments)
    assert kept() == []


def test_downtime_is_planned_with_notice(app: Flask, command: Command) -> None:
    cases: list[tuple[str, tuple[str, ...], str, bool]] = [
        ("2026-03-20", (), "the scheme prefers a month", True),
        ("2026-04-12T09:29:59Z", (), "the scheme prefers a month", True),
        ("2026-04-12T09:30:00Z", (), "", True),
        ("2026-03-19T23:59:59Z", ("--short-notice",), "it counts as failure", False),
    ]
    for begins, more, said, in_time in cases:
        result = command(*PLAN, *times(begins, "2026-04-20"), *more, "New disks")
        assert result.exit_code == 0
        assert said in result.stderr if said else not result.stderr
        found = next(each for each in kept() if each.id == result.stdout.split()[0])
        assert (found.parts, found.in_time) == (["data", "issuer"], in_time)


def test_downtime_is_cancelled_before_and_ended_after_it_began(
    app: Flask, command: Command, held_clock: HeldClock
) -> None:
    for _ in range(2):
        command(*PLAN, *times("2026-04-20", "2026-04-21"), "New disks")
    first, second = (each.id for each in kept())
    assert command("downtime", "cancel", first).exit_code == 0
    assert "is over or cancelled already" in command("downtime", "cancel", first).stderr
    held_clock.step(39 * DAY)  # 2026-04-20T09:30:00Z
    assert command("downtime", "cancel", second).exit_code == 0
    by_id: dict[str, Any] = {each.id: (each.cancelled, each.ends) for each in kept()}
    assert by_id[first] == (START, START + 39 * DAY + 14 * 3600 + 1800)
    assert by_id[second] == (None, START + 39 * DAY)
