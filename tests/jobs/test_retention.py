"""What retention deletes, to the second, and everything that it leaves."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from consent_server import audit, store
from consent_server.jobs import retention
from consent_server.scheme import instant
from consent_server.scheme.permission import Act
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
from consent_server.store.database import db
from consent_server.store.digests import digest
from consent_server.store.tables import (
    AuthorizationCode,
    CollectedWindow,
    EmissionsMonth,
    Evidence,
    Permission,
    ProviderConnection,
    PushedRequest,
    SmeAccount,
)
from tests import records
from tests.database import make_tables

NOW = 1773307800
DAY = 86400
SIX_MONTHS_AGO = instant.parse("2025-09-12T09:30:00Z")
CLIENT, MEMBER, LICENSE = "https://directory.example/a/c", "https://directory.example/m/c", "https://registry.example/l"


@pytest.fixture
def app(database_url: str, held_clock: Any) -> Iterator[Flask]:
    app = Flask("retention-test")
    store.init(app, database_url)
    with app.app_context():
        make_tables()
        yield app
        db.engine.dispose()


def counts() -> dict[str, int]:
    """Rows of every table that has any."""
    with store.reading() as c:
        found = {
            table.name: c.execute(db.select(db.func.count()).select_from(table)).scalar_one()
            for table in db.metadata.tables.values()
        }
    return {name: count for name, count in found.items() if count}


# One row of each kind at an instant, and where it is kept


def request(c: Any, at: int) -> None:
    requests.push(
        c,
        PushedRequest(
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
        ),
    )


def journey(c: Any, at: int) -> None:
    pushed = PushedRequest(
        digest="0" * 64,
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
    journeys.open(c, f"journey {at}", "secret", pushed, at)


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
    ],
    ids=["request", "journey", "code", "session", "attempts"],
)
def test_what_has_had_its_time_goes(app: Flask, table: str, make: Callable[[Any, int], None], kept_s: int) -> None:
    with store.writing() as c:
        for at in (NOW, NOW - kept_s, NOW - kept_s - 1, NOW - 400 * DAY):
            make(c, at)
    before = counts()
    assert retention.apply() == 2
    assert counts() == before | {table: 2, "audit_event": 1}
    assert retention.apply() == 0


def test_collected_data_goes_six_months_after_its_collection(app: Flask) -> None:
    with store.writing() as c:
        for name, at in (("fresh", NOW), ("just", SIX_MONTHS_AGO), ("old", SIX_MONTHS_AGO - 1)):
            connection(c, name)
            collected(c, name, at)
        collected(c, "fresh", SIX_MONTHS_AGO - 1, "another meter")  # the newest of a connection counts
    assert retention.apply() == 4
    with store.reading() as c:
        assert [name for name in ("fresh", "just", "old") if connections.collected(c, name)] == ["fresh", "just"]
        # Its data is gone while the connection is live: it waits for a collection, as at its start.
        old = connections.find(c, "old")
        assert (old.collected, old.collect_due) == (None, old.granted)
        assert [name for name in ("fresh", "just", "old") if collecting.figures(c, name, 0, 1)] == ["fresh", "just"]
        assert connections.find(c, "old") is not None, "the connection itself is history"
        assert readings.extent(c, "old", "meter", "import") is None


def test_an_edps_own_readings_stay_however_old(app: Flask) -> None:
    with store.writing() as c:
        readings.put_days(c, "edp", "meter", "import", {0: b"{}"})
    assert retention.apply() == 0
    assert counts() == {"day_block": 1}


def test_what_someone_may_still_ask_for_stays(app: Flask) -> None:
    """Permissions, evidence and audit events live by the 13 months of Permission Records, not by this job."""
    long_ago = NOW - 800 * DAY
    with store.writing() as c:
        permission(c, "ended", long_ago)
        permissions.end(c, permissions.find(c, "ended"), Act.WITHDRAW, at=long_ago, by="sme", where="here", why="asked")
        connection(c, "gone", ended=long_ago, ended_as="withdrawn", granted=long_ago)
        links.add(c, "gone", "ended")
        outbox.add(c, kind="message", subject="ended", recipient=CLIENT, at=long_ago)
        evidence.add(
            c,
            Evidence(
                id="evidence",
                subject="ended",
                at=long_ago,
                license=LICENSE,
                text_shown="text",
                shown_sha256="0" * 64,
                raw_sha256="0" * 64,
                client_id=CLIENT,
                names={},
                who={},
                meters=[],
                address="192.0.2.7",
                user_agent="a browser",
                correlation_id="-",
            ),
        )
        audit_events.keep(c, audit.event("connection_ended", connection="gone", by="sme", why="asked"))
    before = counts()
    assert retention.apply() == 0
    assert counts() == before


def test_it_is_audited_when_something_went_and_only_then(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "consent_server.audit")
    retention.apply()
    assert "retention_applied" not in caplog.text
    with store.writing() as c:
        request(c, NOW - 2 * DAY)
    retention.apply()
    assert '"removed":1' in caplog.text


def test_an_empty_store_is_left_in_peace(app: Flask) -> None:
    assert retention.apply() == 0
    assert counts() == {}
