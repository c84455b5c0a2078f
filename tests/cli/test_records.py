"""`consent-server audit`, `permissions`, `outbox` and `mail` on a database of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from consent_server import audit, store
from consent_server.settings import load
from consent_server.store import accounts, audit_events, connections, links, mails, outbox, permissions, rows
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Permission
from consent_server.store.tables.processes import FetchedCopy

GRANTED, YEAR = 1773307800, 365 * 86400
CLIENT = "https://directory.example/a/app"


@pytest.fixture
def act(deployment: Path) -> Callable[[Callable[[Any], None]], None]:
    """Do something in one writing transaction of the deployment's database."""

    def run(what: Callable[[Any], None]) -> None:
        app = Flask("records")
        store.init(app, load(deployment).database.url)
        with app.app_context(), store.writing() as c:
            what(c)

    return run


@pytest.fixture
def ask(command: Callable[..., Result], deployment: Path) -> Callable[..., Result]:
    return lambda *arguments: command(*arguments, "--config", deployment)


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def granted(c: Any, name: str, **changed: Any) -> None:
    values: dict[str, Any] = {
        "id": name,
        "account": f"account-{name}",
        "client_id": CLIENT,
        "member": "https://directory.example/m/member",
        "license": "https://registry.example/license/l",
        "fuels": ["electricity"],
        "text_sha256": "0" * 64,
        "sme": "sme-1",
        "meters": [{"id": "meter-1", "masked": "… 1234"}],
        "datasources": [{"id": "source.1", "meter": "m-1"}],
        "granted": GRANTED,
        "expires": GRANTED + 10 * YEAR,
        "redeemed": GRANTED,
        "refresh_id": f"secret-refresh-id-{name}",
        "refresh_version": 1,
        **changed,
    }
    permissions.add(c, Permission(**values))


def connected(c: Any, name: str, **changed: Any) -> None:
    urls = dict.fromkeys(("issuer", "resource", "member", "application", "license"), "https://member.example/x")
    values = {"account": "sme", "refresh_sealed": b"", "refresh_mac": name, "granted": GRANTED, **urls, **changed}
    connections.add(c, ProviderConnection(id=name, expires=GRANTED + 10 * YEAR, **values))


def noted(c: Any, name: str, at: int, **fields: Any) -> None:
    audit_events.keep(c, {**audit.event(name, **fields), "at": at})


@pytest.fixture
def history(act: Callable[[Callable[[Any], None]], None]) -> None:
    def write(c: Any) -> None:
        granted(c, "p1")
        granted(c, "p2")
        by = {"client_id": CLIENT, "journey": "j1"}
        noted(c, "sme_identified", GRANTED, **by, method="a bill", strength="knows it")
        noted(c, "permission_granted", GRANTED, **by, permission="p1", license="l", text_sha256="0")
        by["journey"] = "j2"
        noted(c, "permission_granted", GRANTED + 60, **by, permission="p2", license="l", text_sha256="0")
        noted(c, "permission_superseded", GRANTED + 60, permission="p1", by="p2")
        data = {"client_id": CLIENT, "resource": "/x", "fuels": ["gas"], "window": "w", "readings": 1}
        noted(c, "data_released", GRANTED + 60, **data, permission="account-p2")
        noted(c, "connection_ended", GRANTED + 86400, connection="c1", by="sme", why="withdrawn")

    act(write)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (
            (),
            [
                "sme_identified",
                *2 * ["permission_granted"],
                "permission_superseded",
                "data_released",
                "connection_ended",
            ],
        ),
        (("--event", "permission_granted"), ["permission_granted", "permission_granted"]),
        (("--permission", "p2"), ["permission_granted", "permission_superseded", "data_released"]),
        (("--permission", "c1"), ["connection_ended"]),
        (
            ("--since", "2026-03-12T09:31:00Z"),
            ["permission_granted", "permission_superseded", "data_released", "connection_ended"],
        ),
        (("--since", "2026-03-13"), ["connection_ended"]),
        (("--event", "permission_granted", "--permission", "p1"), ["permission_granted"]),
        (("--lines", "1"), ["connection_ended"]),
        (("--event", "data_released"), ["data_released"]),
        (("--event", "token_revoked"), []),
    ],
    ids=["all", "event", "permission", "connection", "instant", "day", "both", "lines", "releases", "none"],
)
@pytest.mark.usefixtures("history")
def test_the_audit_is_printed_as_json_lines(
    ask: Callable[..., Result], options: tuple[str, ...], found: list[str]
) -> None:
    printed = lines(ask("audit", "tail", *options))
    assert [each["event"] for each in printed] == found
    assert all(each.keys() >= {"at", "time", "correlation_id"} for each in printed)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--event", "permission_grantd"), "there is no such event"),
        (("--since", "yesterday"), "name a day"),
        (("--since", "2026-02-31"), "name a day"),
        (("--lines", "0"), "--lines"),
    ],
    ids=["event", "word", "no-such-day", "lines"],
)
def test_a_wrong_filter_is_refused_in_a_sentence(
    ask: Callable[..., Result], options: tuple[str, ...], says: str
) -> None:
    done = ask("audit", "tail", *options)
    assert done.exit_code != 0
    assert says in done.output


@pytest.mark.usefixtures("history")
def test_a_permissions_history_includes_what_ended_it(ask: Callable[..., Result]) -> None:
    printed = lines(ask("audit", "show", "p1"))
    assert [each["event"] for each in printed] == ["sme_identified", "permission_granted", "permission_superseded"]


@pytest.mark.usefixtures("history")
def test_a_permission_is_shown_without_secrets_or_meters(ask: Callable[..., Result]) -> None:
    done = ask("permissions", "show", "p1")
    shown = json.loads(done.output)
    assert (shown["state"], shown["kind"], shown["granted"]) == ("granted", "permission", "2026-03-12T09:30:00Z")
    assert "secret-refresh-id" not in done.output
    assert "1234" not in done.output


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({}, None),
        ({"deprecatedAfter": "2026-01-01", "prohibitedAfter": "2099-01-01"}, "deprecated"),
        ({"deprecatedAfter": "2026-01-01", "prohibitedAfter": "2026-02-01"}, "prohibited"),
        ({"licenseDuration": "for ever"}, None),
    ],
    ids=["in-use", "deprecated", "prohibited", "unreadable"],
)
def test_a_permission_is_shown_with_the_end_of_its_license(
    ask: Callable[..., Result], act: Callable[[Callable[[Any], None]], None], ends: dict[str, str], said: str | None
) -> None:
    license_url = "https://registry.example/license/l"
    document = {
        "@context": {"@vocab": "https://registry.trust.ib1.org/ns/1.0#"},
        "@id": license_url,
        "@type": "License",
        "http://www.w3.org/2000/01/rdf-schema#label": "l",
        "licenseDuration": "1 year",
        "permissionText": {"@id": f"https://registry.example/l.txt#{'0' * 64}"},
        **ends,
    }
    act(lambda c: rows.put(c, FetchedCopy(license_url, json.dumps(document).encode(), {}, GRANTED, GRANTED)))
    shown = json.loads(ask("permissions", "show", "p1").output)
    assert (shown["state"], shown.get("license_is")) == ("granted", said)


@pytest.mark.parametrize(
    "arguments", [("show",), ("withdraw", "--yes", "--why", "asked by letter")], ids=["show", "withdraw"]
)
@pytest.mark.parametrize("unknown", ["nobody", "-8Begins-with_a-dash", "--two"])
def test_an_unknown_permission_is_said_to_be_unknown(
    ask: Callable[..., Result], arguments: tuple[str, ...], unknown: str
) -> None:
    done = ask("permissions", *arguments, unknown)
    assert done.exit_code == 1
    assert f"there is no permission or connection {unknown}" in done.output


@pytest.mark.usefixtures("history")
def test_events_are_asked_for_by_an_id_that_begins_with_a_dash(ask: Callable[..., Result]) -> None:
    assert lines(ask("audit", "tail", "--permission", "-8Begins-with_a-dash")) == []
    assert "no event is kept about -8Begins-with_a-dash" in ask("audit", "show", "-8Begins-with_a-dash").output


@pytest.mark.parametrize("why", ["", "   ", "x" * 301, "meter 1200 0123 4567 8", "tel 02079460000", "a\x07b"], ids=repr)
@pytest.mark.usefixtures("history")
def test_a_withdrawal_needs_a_reason_that_may_be_kept(ask: Callable[..., Result], why: str) -> None:
    assert ask("permissions", "withdraw", "p1", "--yes", "--why", why).exit_code == 1
    assert json.loads(ask("permissions", "show", "p1").output)["state"] == "granted"


@pytest.mark.parametrize("redeemed", [GRANTED, None], ids=["redeemed", "code-never-used"])
def test_an_operators_withdrawal_is_kept_and_owes_a_message(
    ask: Callable[..., Result], act: Callable[[Callable[[Any], None]], None], redeemed: int | None
) -> None:
    act(lambda c: granted(c, "p1", redeemed=redeemed))
    asked = ("permissions", "withdraw", "p1", "--why", "asked by letter of 3 March 2026")
    tried = ask(*asked, "--dry-run")
    assert (tried.exit_code, tried.output) == (0, "To be withdrawn: p1\nNothing was changed.\n")
    assert "Do it? [y/N]" in ask(*asked).output, "nobody answers"
    assert lines(ask("audit", "tail", "--event", "permission_withdrawn")) == []
    assert ask(*asked, "--yes").exit_code == 0
    (event,) = lines(ask("audit", "tail", "--event", "permission_withdrawn"))
    assert (event["by"], event["why"]) == ("operator", "asked by letter of 3 March 2026")
    calls = json.loads(ask("permissions", "show", "p1").output)["calls"]
    # a client that never redeemed its code holds no token that a message could quote
    assert [call["state"] for call in calls] == (["waiting"] if redeemed else [])


def test_what_lives_is_listed_and_withdrawn_at_once(
    ask: Callable[..., Result], act: Callable[[Callable[[Any], None]], None]
) -> None:
    def write(c: Any) -> None:
        accounts.add(c, SmeAccount("sme", "owner@bakery.example", "Bakery", GRANTED))
        connected(c, "c1")
        granted(c, "p1")
        links.add(c, "c1", "p1")
        granted(c, "-p2")
        granted(c, "over", expires=GRANTED + 1)
        connected(c, "c2", ended=GRANTED + 1, ended_as="withdrawn", ended_by="sme", ended_why="asked")

    act(write)
    living = ask("permissions", "list").output.splitlines()
    assert living == ["p1", "-p2", "c1"]
    done = ask("permissions", "withdraw", "--yes", "--why", "we close", "c1", "p1", "-p2")
    assert (done.exit_code, [line for line in done.output.splitlines() if line.startswith("With")]) == (
        0,
        ["Withdrawn: c1, p1", "Withdrawn: -p2"],
    )
    assert ask("permissions", "list").output == ""


def test_calls_wait_are_given_up_and_are_retried(
    ask: Callable[..., Result], act: Callable[[Callable[[Any], None]], None]
) -> None:
    def write(c: Any) -> None:
        for number in (1, 2):
            outbox.add(c, kind="message", subject=f"p{number}", recipient=CLIENT, at=GRANTED)
        first, second = outbox.lease(c, CLIENT, GRANTED, limit=2, lease_s=60)
        outbox.release(c, [first])
        assert outbox.give_up(c, second, GRANTED, "host.example: connect")

    act(write)
    (waiting,) = ask("outbox", "waiting").output.splitlines()
    assert waiting.split("\t")[:3] == ["1", "message", CLIENT]
    (given_up,) = ask("outbox", "given-up").output.splitlines()
    assert given_up.split("\t") == ["2", "message", CLIENT, "attempts=1", "host.example: connect"]
    not_there = ask("outbox", "retry", "1")
    assert not_there.exit_code == 1
    assert "not on the give-up list" in not_there.output
    assert ask("outbox", "retry", "2").exit_code == 0
    assert len(ask("outbox", "waiting").output.splitlines()) == 2
    assert ask("outbox", "given-up").output == ""


def test_mails_are_listed_and_retried_without_an_address(
    ask: Callable[..., Result], act: Callable[[Callable[[Any], None]], None]
) -> None:
    def write(c: Any) -> None:
        accounts.add(c, SmeAccount("sme", "owner@bakery.example", "Bakery", GRANTED))
        granted(c, "p1", sme="sme")
        for subject, kind in (("p1", "granted"), ("p1", "withdrawn"), ("-p2", "granted")):
            mails.add(c, subject, kind, "sme", None, GRANTED)
        (first, *others) = mails.lease(c, GRANTED, 60, 10)
        mails.settle(c, first, due=GRANTED + 10, last_error="Unreachable tls")
        for each in others:
            mails.settle(c, each, given_up=GRANTED, last_error="MailNotTaken refused 550")

    act(write)
    listed = ask("mail", "list").output
    assert "owner" not in listed
    assert [line.split("\t")[2:4] for line in listed.splitlines()] == [
        ["waiting" if "tls" in line else "given-up", "o***@bakery.example" if line.startswith("p1") else "-"]
        for line in listed.splitlines()
    ]
    assert len(listed.splitlines()) == 3
    assert ask("mail", "retry", "--all", "--dry-run").output.count("would be due now") == 2
    assert ask("mail", "list").output == listed, "a dry run changes nothing"
    for wrong in ((), ("p1", "--all"), ("p9",)):
        assert ask("mail", "retry", *wrong).exit_code != 0
    assert ask("mail", "list").output == listed
    assert ask("mail", "retry", "-p2").output == "-p2\tgranted\tdue now\n"
    assert ask("mail", "retry", "--all").output.count("due now") == 1
    assert "given-up" not in ask("mail", "list").output
    assert ask("mail", "retry", "--all").output == ""


def test_a_database_that_is_not_there_is_one_sentence(ask: Callable[..., Result], deployment: Path) -> None:
    (deployment.parent / "store.db").unlink()
    for arguments in (("audit", "tail"), ("outbox", "waiting"), ("permissions", "show", "p1")):
        done = ask(*arguments)
        assert done.exit_code == 1
        assert "consent-server db upgrade" in done.output
