"""What retention deletes, to the second, and everything that it leaves."""

import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from consent_server import audit, store
from consent_server.jobs import retention
from consent_server.jobs.job import BEHIND_S, ApplyRetention
from consent_server.scheme import instant
from consent_server.scheme.permission import Act
from consent_server.settings.storage import RetentionSettings
from consent_server.store import (
    accounts,
    audit_events,
    codes,
    collecting,
    connections,
    evidence,
    journeys,
    limits,
    links,
    outbox,
    permissions,
    readings,
    requests,
    rows,
    sessions,
)
from consent_server.store import retention as of_table
from consent_server.store.database import db
from consent_server.store.digests import digest
from consent_server.store.retention import RULES, TableAge
from consent_server.store.tables.accounts import Passkey, SignInCode, SmeAccount
from consent_server.store.tables.collecting import CollectedMeter, CollectedWindow, EmissionsMonth, ProviderConnection
from consent_server.store.tables.journeys import PushedRequest
from consent_server.store.tables.owed import OwedMail, ReceiptLink
from consent_server.store.tables.permissions import AuthorizationCode, Evidence, MeterAlias, Permission
from tests import records
from tests.database import new_database

NOW = 1773307800
KEPT = RetentionSettings()
DAY = 86400
SIX_MONTHS_AGO = instant.parse("2025-09-12T09:30:00Z")
CLIENT, MEMBER, LICENSE = "https://directory.example/a/c", "https://directory.example/m/c", "https://registry.example/l"


@pytest.fixture
def app(database_url: str, held_clock: Any) -> Iterator[Flask]:
    with new_database(database_url) as app:
        yield app


def counts() -> dict[str, int]:
    """Rows of every table that has any."""
    with store.reading() as c:
        found = {
            table.name: c.execute(db.select(db.func.count()).select_from(table)).scalar_one()
            for table in db.metadata.tables.values()
        }
    return {name: count for name, count in found.items() if count}


# One row of each kind at an instant, and where it is kept


def pushed(at: int) -> PushedRequest:
    return PushedRequest(
        digest=digest(f"request {at}"),
        client_id=CLIENT,
        member=MEMBER,
        certificate="0" * 64,
        redirect_uri="https://client.example/callback",
        state="state",
        license=LICENSE,
        code_challenge="challenge",
        created=at,
        expires=at + 90,
    )


def request(c: Any, at: int) -> None:
    requests.push(c, pushed(at))


def journey(c: Any, at: int) -> None:
    journeys.open(c, f"journey {at}", "secret", pushed(at), at)


def permission(c: Any, name: str, at: int) -> None:
    permissions.add(
        c,
        Permission(
            id=name,
            account=f"account-{name}",
            client_id=CLIENT,
            member=MEMBER,
            license=LICENSE,
            fuels=["electricity"],
            text_sha256="0" * 64,
            sme="acme",
            meters=[],
            datasources=[],
            granted=at,
            expires=at + 365 * DAY,
            refresh_id=f"refresh-{name}",
            refresh_version=1,
        ),
    )


def code(c: Any, at: int) -> None:
    if permissions.find(c, "of the codes") is None:
        permission(c, "of the codes", at)
    codes.add(
        c,
        AuthorizationCode(
            digest=digest(f"code {at}"),
            permission="of the codes",
            client_id=CLIENT,
            redirect_uri="https://client.example/callback",
            code_challenge="challenge",
            issued=at,
            expires=at + 60,
        ),
    )


def session(c: Any, at: int) -> None:
    sessions.make(c, f"session {at}", "portal", {}, NOW - 300 * DAY)
    sessions.touch(c, f"session {at}", at)


def sign_in_code(c: Any, at: int) -> None:
    accounts.put_code(c, SignInCode(f"{at}@acme.example", "0" * 64, expires=at))


def attempts(c: Any, at: int) -> None:
    limits.add(c, "meter 1", at)


def connection(c: Any, name: str, **changes: Any) -> None:
    if accounts.find(c, "acme") is None:
        accounts.add(c, SmeAccount("acme", "owner@acme.example", "Acme", created=0))
    values = {
        "account": "acme",
        "issuer": "https://edp.example",
        "resource": "https://edp.example",
        "member": MEMBER,
        "application": CLIENT,
        "license": LICENSE,
        "refresh_sealed": b"sealed",
        "refresh_mac": f"mac-{name}",
        "granted": SIX_MONTHS_AGO,
        "expires": NOW + DAY,
    }
    connections.add(c, ProviderConnection(id=name, **values | changes))


def collected(c: Any, name: str, at: int, meter: str = "meter") -> None:
    rows.put(
        c,
        CollectedWindow(
            connection=name,
            datasource=meter,
            measure="import",
            window_start=0,
            window_end=DAY,
            fuel="electricity",
            outcode="SW8",
            at=at,
            complete=True,
            record=b"{}",
        ),
    )
    readings.put_days(c, name, meter, "import", {0: b"{}"})
    rows.put(c, EmissionsMonth(name, "electricity", 0, 1.0, complete=True, at=at))
    rows.put(c, records.month("electricity", 0, 1.0, at, connection=name, datasource=meter))


@pytest.mark.parametrize(
    ("table", "make", "kept_s"),
    [
        ("pushed_request", request, DAY),
        ("journey", journey, DAY),
        ("code", code, DAY),
        ("session", session, DAY),
        ("attempt", attempts, 2 * DAY),
        ("sign_in_code", sign_in_code, DAY),
    ],
    ids=["request", "journey", "code", "session", "attempts", "sign-in-code"],
)
def test_what_has_had_its_time_goes(app: Flask, table: str, make: Callable[[Any, int], None], kept_s: int) -> None:
    with store.writing() as c:
        for at in (NOW, NOW - kept_s, NOW - kept_s - 1, NOW - 400 * DAY):
            make(c, at)
    before = counts()
    assert retention.apply(KEPT) == 2
    assert counts() == before | {table: 2, "audit_event": 1}
    assert retention.apply(KEPT) == 0


def test_collected_data_goes_six_months_after_its_collection(app: Flask) -> None:
    with store.writing() as c:
        for name, at in (("fresh", NOW), ("just", SIX_MONTHS_AGO), ("old", SIX_MONTHS_AGO - 1)):
            connection(c, name)
            collected(c, name, at)
        collected(c, "fresh", SIX_MONTHS_AGO - 1, "another meter")  # the newest of a connection counts
    assert retention.apply(KEPT) == 4
    with store.reading() as c:
        assert [name for name in ("fresh", "just", "old") if connections.collected(c, name)] == ["fresh", "just"]
        # Its data is gone while the connection is live: it waits for a collection, as at its start.
        old = connections.find(c, "old")
        assert (old.collected, old.collect_due) == (None, old.granted)
        assert [name for name in ("fresh", "just", "old") if collecting.figures(c, name, 0, 1)] == ["fresh", "just"]
        assert connections.find(c, "old") is not None, "the connection itself is history"
        assert readings.extent(c, "old", "meter", "import") is None


def test_meters_of_which_nothing_came_go_six_months_after_they_were_listed(app: Flask) -> None:
    """The provider refused every window, and the permission's time is over: nothing lists them anew."""
    with store.writing() as c:
        for name, at in (("just", SIX_MONTHS_AGO), ("old", SIX_MONTHS_AGO - 1)):
            connection(c, name, expires=at + 1, listed=at)
            rows.put(c, CollectedMeter(name, "source", "electricity", "SW8", at))
        assert of_table.age(c, "collected_meter", SIX_MONTHS_AGO) == TableAge(2, SIX_MONTHS_AGO - 1, 1)
    assert retention.apply(KEPT) == 1
    with store.reading() as c:
        assert [name for name in ("just", "old") if collecting.meters(c, name)] == ["just"]
    assert retention.apply(KEPT) == 0


def test_an_edps_own_readings_stay_however_old(app: Flask) -> None:
    with store.writing() as c:
        readings.put_days(c, "edp", "meter", "import", {0: b"{}"})
    assert retention.apply(KEPT) == 0
    assert counts() == {"day_block": 1}


def seen(c: Any, subject: str, at: int) -> None:
    who: Any = {}
    given = (subject, subject, at, LICENSE, "text", "0" * 64, "0" * 64, CLIENT, {}, who, [])
    evidence.add(c, Evidence(*given, "192.0.2.7", "a browser", "-"))


def history(c: Any, ended: int) -> None:
    """A permission that rests on a connection, both of which ended at an instant, with everything that is kept about them."""
    connection(c, "gone", ended=ended, ended_as="withdrawn", granted=ended - DAY)
    permission(c, "ended", ended - DAY)
    permissions.end(c, permissions.find(c, "ended"), Act.WITHDRAW, at=ended, by="sme", where="here", why="asked")
    permission(c, "newest", NOW)
    links.add(c, "gone", "ended")
    outbox.add(c, kind="message", subject="ended", recipient=CLIENT, at=ended)
    (call,) = outbox.lease(c, CLIENT, NOW, 60, 1)
    outbox.delivered(c, [call], ended)
    rows.add(c, OwedMail("ended", "withdrawn", ended, ended, delivered=ended))
    rows.add(c, ReceiptLink("d" * 64, "ended"))
    rows.add(c, MeterAlias("source.1", "another", "acme", "m-1"), MeterAlias("source.2", CLIENT, "other", "m-1"))
    for subject in ("ended", "gone"):
        seen(c, subject, ended)
    audit_events.keep(c, audit.event("connection_ended", connection="gone", by="sme", why="asked"))


def test_what_was_agreed_to_and_never_connected_goes_after_a_day(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "consent_server.audit")
    with store.writing() as c:
        connection(c, "made")
        permission(c, "given", NOW)
        for subject, at in (
            *(("made", 0), ("given", 0), ("today", NOW), ("just", NOW - DAY)),
            *((f"{hours} hours ago", NOW - hours * 3600) for hours in (25, 26, 9000)),
        ):
            seen(c, subject, at)
    for _ in range(2):
        retention.forget_agreements(KEPT)
    with store.reading() as c:
        assert set(c.scalars(db.select(rows.table_of(Evidence).c.subject))) == {"made", "given", "today", "just"}
        assert set(evidence.subjects(c)) == {"made", "given"}, "what an auditor is shown"
    assert [line for line in caplog.messages if "retention_applied" in line and '"removed":3' in line]
    with store.writing() as c:  # made after it was looked up
        connection(c, "just")
        assert evidence.forget_never_made(c, ["just", "today"]) == 1


def test_more_agreements_than_one_run_takes(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST", 2)
    with store.writing() as c:
        for number in range(5):
            seen(c, f"{number}", 0)
    retention.forget_agreements(KEPT)
    assert "evidence" not in counts()


#: The last instant for which thirteen calendar months are not over at NOW.
THIRTEEN_MONTHS_AGO = instant.months_later(NOW, -13)


def test_a_record_stays_thirteen_months_after_its_end_and_then_goes_with_all_about_it(app: Flask) -> None:
    with store.writing() as c:
        history(c, THIRTEEN_MONTHS_AGO)
    before = counts()
    assert retention.apply(KEPT) == 0
    assert counts() == before


def test_what_was_over_a_second_before_goes_and_nothing_else(app: Flask, held_clock: Any) -> None:
    with store.writing() as c:
        history(c, THIRTEEN_MONTHS_AGO - 1)
    assert retention.apply(KEPT) == 8
    # The account and the newest grant stay, and so do the ids of another business and another client.
    assert counts() == {"permission": 1, "account": 1, "datasource": 2, "audit_event": 3}
    assert retention.apply(KEPT) == 0


def test_the_newest_grant_stays_since_its_status_index_must_not_be_given_again(app: Flask) -> None:
    with store.writing() as c:
        permission(c, "old", NOW - 2000 * DAY)
        rows.add(c, ReceiptLink("d" * 64, "old"))
    assert retention.apply(KEPT) == 0
    with store.reading() as c:
        ages = {
            table: of_table.age(c, table, THIRTEEN_MONTHS_AGO) for table in ("permission", "receipt_link", "outbox")
        }
    ended = NOW - 2000 * DAY + 365 * DAY
    assert ages == {
        "permission": TableAge(1, ended, 0),
        "receipt_link": TableAge(1, ended, 0),
        "outbox": TableAge(0, None, 0),
    }
    with store.writing() as c:
        permission(c, "new", NOW)
        assert [of_table.age(c, table, THIRTEEN_MONTHS_AGO).due for table in ages] == [1, 1, 0]
    assert retention.apply(KEPT) == 2
    with store.reading() as c:
        assert permissions.find(c, "new").status_index == 1


@pytest.mark.parametrize("owed", ["call", "mail"])
def test_a_record_stays_while_a_message_about_it_is_owed(app: Flask, owed: str) -> None:
    with store.writing() as c:
        history(c, THIRTEEN_MONTHS_AGO - 1)
        if owed == "call":
            outbox.add(c, kind="message", subject="ended", recipient=CLIENT, at=NOW)
        else:
            rows.add(c, OwedMail("ended", "expired", NOW, NOW))
    assert retention.apply(KEPT) == 3, "the connection, its evidence and the link to what rests on it"
    with store.reading() as c:
        assert evidence.of_subject(c, "ended") is not None


@pytest.mark.parametrize(
    ("made", "passkey", "has", "left"),
    [
        (THIRTEEN_MONTHS_AGO, None, "", 1),
        (THIRTEEN_MONTHS_AGO - 1, None, "", 0),
        (0, THIRTEEN_MONTHS_AGO - 1, "", 0),
        (0, THIRTEEN_MONTHS_AGO, "", 1),
        (0, None, "connection", 1),
        (0, None, "session", 1),
    ],
)
def test_an_account_goes_that_has_nothing_and_was_not_used(
    app: Flask, made: int, passkey: int | None, has: str, left: int
) -> None:
    with store.writing() as c:
        accounts.add(c, SmeAccount("acme", "owner@acme.example", "Acme", made))
        if passkey is not None:
            rows.add(c, Passkey("p", "acme", b"c", b"k", 0, "A key", 0, used=passkey))
        if has == "connection":
            connection(c, "live")
        if has == "session":
            sessions.make(c, "secret", "portal", {"account": "acme"}, NOW)
    retention.apply(KEPT)
    found = counts()
    assert (found.get("account", 0), found.get("passkey", 0)) == (left, left if passkey is not None else 0)


def looked_at() -> int:
    with store.reading() as c:
        (found,) = c.scalars(db.select(rows.table_of(SmeAccount).c.seen))
    return int(found)


@pytest.mark.parametrize(
    ("has", "until"),
    [
        ("nothing", NOW - DAY),
        ("passkey", NOW - 5),
        ("connection", NOW),
        ("permission", NOW),
        ("session", THIRTEEN_MONTHS_AGO + DAY),
    ],
)
def test_an_account_that_stays_is_looked_at_again_when_it_can_be_due(app: Flask, has: str, until: int) -> None:
    with store.writing() as c:
        accounts.add(c, SmeAccount("acme", "owner@acme.example", "Acme", NOW - DAY if has == "nothing" else 0))
        if has == "passkey":
            rows.add(c, Passkey("p", "acme", b"c", b"k", 0, "A key", 0, used=NOW - 5))
        if has == "connection":
            connection(c, "live")
        if has == "permission":
            permission(c, "live", NOW)
            c.execute(db.update(rows.table_of(Permission)).values(sme="acme"))
        if has == "session":
            sessions.make(c, "secret", "portal", {"account": "acme"}, NOW)
    assert retention.apply(KEPT) == 0
    assert looked_at() == until
    with store.reading() as c:
        assert of_table.accounts_to_look_at(c, until, NOW, 1) == {}
        assert list(of_table.accounts_to_look_at(c, until + 1, NOW, 1)) == ["acme"]


def test_an_account_goes_with_the_last_thing_that_it_had(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two connections of an account that was last used long ago. Only their going tells that it is due."""
    with store.writing() as c:
        connection(c, "first", granted=0, ended=NOW - 183 * DAY, ended_as="withdrawn")
        connection(c, "last", granted=0, ended=NOW, ended_as="withdrawn")
    kept = RetentionSettings(accounts_months=24)
    left = []
    for at in (NOW, NOW + 220 * DAY, NOW + 400 * DAY):
        monkeypatch.setattr("consent_server.clock.now", lambda at=at: at)
        retention.apply(kept)
        found = counts()
        left.append((found.get("connection", 0), found.get("account", 0)))
    assert left == [(2, 1), (1, 1), (0, 0)]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> ApplyRetention:
    """The job of a data provider, which does two things at a time."""
    settings = SimpleNamespace(retention=KEPT, party="edp")
    monkeypatch.setattr("consent_server.jobs.job.current", lambda: SimpleNamespace(settings=settings))
    monkeypatch.setattr(retention, "MOST", 2)
    return ApplyRetention(3600)


def paces(job: ApplyRetention, runs: int) -> list[int]:
    """After how many seconds the job runs again, for each of some runs."""
    return [job.run() or job.every_s for _ in range(runs)]


def test_many_accounts_are_looked_at_in_one_run_after_the_other(app: Flask, job: ApplyRetention) -> None:
    with store.writing() as c:
        for number in range(5):
            accounts.add(c, SmeAccount(f"{number}", f"{number}@acme.example", "Acme", NOW if number else 0))
    assert paces(job, 4) == [BEHIND_S, BEHIND_S, 3600, 3600]
    assert counts()["account"] == 4
    with store.reading() as c:
        assert set(c.scalars(db.select(rows.table_of(SmeAccount).c.seen))) == {NOW}


def test_many_records_that_are_due_go_in_one_run_after_the_other(
    app: Flask, job: ApplyRetention, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.writing() as c:
        for number in range(5):
            permission(c, f"{number}", 0)
        connection(c, "over", granted=0, ended=NOW - 400 * DAY, ended_as="withdrawn")
    assert paces(job, 2) == [BEHIND_S, BEHIND_S]
    with monkeypatch.context() as down:
        down.setattr(retention, "apply", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            job.run()
        assert job.every_s == 3600, "what fails is not tried each second"
    assert paces(job, 1) == [3600]
    assert counts().get("permission") == 1, "the newest stays"


def test_every_table_has_a_rule_and_every_rule_is_a_setting_or_says_that_there_is_none() -> None:
    assert set(RULES) == set(db.metadata.tables)
    named = {rule.name for rule in RULES.values()} - {"register", "none"}
    assert named == set(RetentionSettings.model_fields)
    for rule in RULES.values():
        assert (retention.limit_of(rule.name, KEPT, NOW) is None) == (rule.name in ("register", "none"))


def test_it_is_audited_when_something_went_and_only_then(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "consent_server.audit")
    retention.apply(KEPT)
    assert "retention_applied" not in caplog.text
    with store.writing() as c:
        request(c, NOW - 2 * DAY)
    retention.apply(KEPT)
    assert '"removed":1' in caplog.text


def test_an_empty_store_is_left_in_peace(app: Flask) -> None:
    assert retention.apply(KEPT) == 0
    assert counts() == {}
