"""`consent-server report policy` and `report retention` on a database of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from consent_server import audit, clock, store
from consent_server.parties.operator import policy
from consent_server.parties.operator.doctor.finding import fine
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.settings import load
from consent_server.store import audit_events, permissions, sessions
from consent_server.store.tables.permissions import Permission

LICENSE = "https://registry.example/license/l/2026-03-12"


@pytest.fixture
def kept(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A live permission, one that has expired, and a session that should be gone. The Directory is not asked."""
    monkeypatch.setattr(policy, "_agreements", lambda *_: iter([fine("our agreement with the scheme: in force")]))
    at = clock.now()
    keep(deployment, lambda c: permissions.add(c, permission("over", at - DAY)))
    keep(deployment, lambda c: permissions.add(c, permission("live", at + DAY)))
    keep(deployment, lambda c: sessions.make(c, "secret", "manage", {}, at - 3 * DAY))
    return deployment


def permission(name: str, expires: int) -> Permission:
    member, client = "https://directory.example/m/member", "https://directory.example/a/app"
    granted = expires - 365 * DAY
    return Permission(
        *(name, f"account-{name}", client, member, LICENSE, ["gas"], "0" * 64, "sme", [], [], granted, expires),
        *(f"refresh-{name}", 1),
    )


def keep(config: Path, what: Callable[[Any], object]) -> None:
    app = Flask("policy")
    store.init(app, load(config).database.url)
    with app.app_context(), store.writing() as c:
        what(c)


def test_the_policies_are_reported_and_an_answer_after_an_end_fails(
    kept: Path, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = command("report", "policy", "--config", kept)
    assert good.exit_code == 0, good.output
    for line in (
        f"licenses in use: warn  {LICENSE}: 1 permissions given, 0 held, the last until",
        "answers after an end: ok    none",
        "withdrawals: ok    0 withdrawn, 0 messages delivered within the hour",
        "deletions: warn  session: 1 rows are due (retention.sessions_days = 1)",
        "certificates: ok    signing certificate: days left:",
        "agreements: ok    our agreement with the scheme: in force",
    ):
        assert line in good.output
    assert "sme" not in good.output
    released = {"client_id": "c", "resource": "r", "fuels": ["gas"], "window": "w", "readings": 1}
    keep(kept, lambda c: audit_events.keep(c, audit.event("data_released", permission="account-over", **released)))
    bad = command("report", "policy", "--config", kept, "--json")
    assert bad.exit_code == 1
    (failed,) = [each for each in json.loads(bad.output) if each["level"] == "FAIL"]
    assert failed["policy"] == "answers after an end"
    assert failed["what"].startswith("over: data_released at ")
    later = clock.now() + 3 * DAY
    monkeypatch.setattr(clock, "now", lambda: later)
    assert command("report", "policy", "--config", kept, "--days", "2").exit_code == 0, "it was before"


def test_each_table_is_reported_with_its_rule(kept: Path, command: Callable[..., Result]) -> None:
    found = json.loads(command("report", "retention", "--config", kept, "--json").output)
    rows = {each["table"]: each for each in found}
    at = clock.now()
    session = rows["session"]
    assert (session["rule"], session["rows"], session["due"]) == ("retention.sessions_days = 1", 1, 1)
    assert at - 4 * DAY < instant.parse(session["oldest"]) < at - 2 * DAY
    assert (rows["permission"]["rows"], rows["permission"]["due"]) == (2, 0)
    assert rows["node"]["rule"] == "says nothing about a business"
    lines = command("report", "retention", "--config", kept).output.splitlines()
    assert lines[0].split() == ["table", "rows", "due", "oldest", "rule"]
    assert len(lines) == len(found) + 1


@pytest.mark.parametrize("arguments", [["policy", "--days", "0"], ["policy", "--days", "many"], ["retention", "--csv"]])
def test_a_wrong_argument_is_refused(kept: Path, command: Callable[..., Result], arguments: list[str]) -> None:
    assert command("report", arguments[0], "--config", kept, *arguments[1:]).exit_code == 2
