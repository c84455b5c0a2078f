"""What is kept about one business and no other, on both databases: what an erasure deletes, empties and leaves."""

import re
from typing import Any

import sqlalchemy as sa
from flask import Flask

from consent_server import audit, store
from consent_server.store import (
    accounts,
    audit_events,
    connections,
    evidence,
    journeys,
    links,
    mails,
    outbox,
    passkeys,
    permissions,
    readings,
    released,
    rows,
    sessions,
    subjects,
)
from consent_server.store.database import db
from consent_server.store.rows import table_of
from consent_server.store.tables.accounts import Passkey, SignInCode, SmeAccount
from consent_server.store.tables.collecting import CollectedMeter, ProviderConnection
from consent_server.store.tables.journeys import PushedRequest
from consent_server.store.tables.owed import OwedMail, ReceiptLink
from consent_server.store.tables.permissions import Evidence, Permission
from tests import records

NOW, DAY = 1773307800, 86400
MEMBER = "https://directory.example/m/c"


def filled(c: Any, name: str, *, connected: bool) -> None:
    """An account at a CAP with something of each table, with a connection or without."""
    accounts.add(c, SmeAccount(name, f"owner@{name}.example", f"{name} Ltd", NOW))
    passkeys.add(c, Passkey(f"key-{name}", name, name.encode(), b"k", 0, "A key", NOW))
    for kind, delivered in (("passkey-added", NOW), ("passkey-removed", None)):
        rows.add(c, OwedMail(f"key-{name}", kind, NOW, NOW, delivered=delivered))
    accounts.put_code(c, SignInCode(f"owner@{name}.example", "0" * 64, NOW))
    sessions.make(c, f"session-{name}", "portal", {"account": name}, NOW)
    found: Any = {"found": {"sme": name, "business": f"{name} Ltd", "strength": "", "meters": []}}
    sessions.make(c, f"asked-{name}", "portal", {"email": f"owner@{name}.example"}, NOW)
    sessions.make(c, f"back-{name}", "log-in", {"log_in": found}, NOW)
    pushed = PushedRequest(f"request-{name}", "c", "m", "0" * 64, "https://c.example", None, "l", "c", NOW, NOW)
    journeys.open(c, f"journey-{name}", "secret", pushed, NOW)
    who: Any = {"business": f"{name} Ltd", "method": "code", "strength": "controls the address"}
    journeys.touch(c, f"journey-{name}", NOW, {"identified": {"sme": name, "meters": [], "who": who}})
    for each, progress in (("asked", {"email": f"owner@{name}.example"}), ("back", {"log_in": found})):
        journeys.open(c, f"{each}-{name}", "secret", pushed, NOW)
        journeys.touch(c, f"{each}-{name}", NOW, progress)
    audit_events.keep(c, audit.event("signed_in", account=name, method="code"))
    agreed(c, f"never-{name}", {**who, "account": name})
    if not connected:
        return
    held, given = f"held-{name}", f"given-{name}"
    issuer = "https://edp.example"
    connections.add(
        c, ProviderConnection(held, name, issuer, issuer, MEMBER, "a", "l", b"s", f"mac-{name}", NOW - DAY, NOW + DAY)
    )
    permissions.add(
        c,
        Permission(
            *(given, f"account-{name}", "client", MEMBER, "l", ["electricity"], "0" * 64, name, [], []),
            *(NOW - DAY, NOW + DAY, f"refresh-{name}", 1),
        ),
    )
    links.add(c, held, given)
    rows.add(c, CollectedMeter(held, "source", "electricity", "SW8", NOW))
    rows.put(c, records.month("electricity", 0, 1.0, NOW, connection=held))
    readings.put_days(c, held, "source", "import", {0: b"{}"})
    for subject in (held, given):
        agreed(c, subject, {**who, "account": name})
        rows.add(c, ReceiptLink(subject.ljust(64, "0"), subject))
        rows.add(c, OwedMail(subject, "granted", NOW, NOW, delivered=NOW), OwedMail(subject, "tomorrow", NOW, NOW))
    released.note(c, f"account-{name}", NOW - DAY, NOW, NOW)
    outbox.add(c, kind="revocation", subject=held, recipient=issuer, at=NOW)
    audit_events.keep(c, audit.event("connection_made", connection=held, issuer=issuer, license="l"))


def agreed(c: Any, subject: str, who: Any) -> None:
    seen = Evidence(f"e-{subject}", subject, NOW, "l", "t", "0" * 64, "0" * 64, "c", {}, who, [], "192.0.2.7", "b", "-")
    evidence.add(c, seen)


def parts(c: Any, name: str) -> dict[tuple[str, bool], int]:
    ids = subjects.ids_of(c, name)
    found = {(each.table, each.goes): subjects.count(c, each) for each in subjects.rows_of(ids, name)}
    return {part: number for part, number in found.items() if number}


def erased(c: Any, name: str) -> None:
    ids = subjects.ids_of(c, name)
    for part in subjects.rows_of(ids, name):
        if part.goes:
            assert len(subjects.digest(c, part)) == 64
            subjects.erase(c, part, name, ids)


GOES = {
    *("session", "journey", "receipt_link", "owed_mail", "sign_in_code", "passkey", "collected_meter", "meter_month"),
    *("day_block", "account", "released", "evidence"),
}
STAYS = {"permission", "connection", "evidence", "link", "outbox", "owed_mail", "audit_event"}


def test_what_goes_and_what_stays_of_a_business_with_a_connection(app: Flask) -> None:
    with store.writing() as c:
        for name in ("one", "two"):
            filled(c, name, connected=True)
        before = {name: parts(c, name) for name in ("one", "two")}
        assert before["one"] == {**before["two"]}
        assert {table for table, goes in before["one"] if goes} == GOES
        assert {table for table, goes in before["one"] if not goes} == STAYS
        erased(c, "one")
        assert parts(c, "one") == {part: number for part, number in before["one"].items() if not part[1]}
        assert parts(c, "two") == before["two"]
        assert accounts.find(c, "one") is None
        assert accounts.by_email(c, f"one{accounts.NOBODYS}") == SmeAccount("one", f"one{accounts.NOBODYS}", "", NOW)
        erased(c, "one")  # a second time finds nothing


def test_no_row_that_goes_is_left_that_names_the_business(app: Flask) -> None:
    with store.writing() as c:
        for name in ("one", "two"):
            filled(c, name, connected=True)
        erased(c, "one")
        left = {
            name
            for name, table in db.metadata.tables.items()
            if name not in STAYS
            for row in c.execute(sa.select(table))
            if re.search(r"owner@one\.example|one Ltd|'sme': 'one'", str(row))
        }
        seen = set(evidence.of_subjects(c, [f"{kind}-{name}" for kind in ("never", "held") for name in ("one", "two")]))
    assert left == set()
    assert seen == {"held-one", "never-two", "held-two"}


def test_an_account_that_an_erasure_has_emptied_is_named_by_nobody_and_gets_no_mail(app: Flask) -> None:
    with store.writing() as c:
        for name in ("one", "two"):
            filled(c, name, connected=True)
        erased(c, "one")
        accounts.name(c, "one", "one Ltd")
        assert accounts.by_email(c, f"one{accounts.NOBODYS}") == SmeAccount("one", f"one{accounts.NOBODYS}", "", NOW)
        # The time of both connections is over: that of the erased business had ended before, by itself.
        mails.owe_of_permissions(c, "expired", NOW, NOW + DAY, 0, NOW + DAY)
        assert {
            name: "expired" in {each.kind for each in mails.about(c, f"held-{name}")} for name in ("one", "two")
        } == {
            "one": False,
            "two": True,
        }


def test_an_account_that_has_nothing_else_is_deleted(app: Flask) -> None:
    with store.writing() as c:
        filled(c, "one", connected=False)
        erased(c, "one")
        assert accounts.find(c, "one") is None
        assert not mails.about(c, "key-one")
        assert parts(c, "one") == {("audit_event", False): 1}


FOUND: tuple[tuple[Any, str, set[str]], ...] = (
    (subjects.named, "ONE ltd", {"one"}),
    (subjects.named, "one", set()),
    (subjects.with_email, "owner@two.example", {"two"}),
    (subjects.of_record, "held-one", {"one"}),
    (subjects.of_record, "given-two", {"two"}),
    (subjects.of_record, "neither", set()),
    (subjects.known, "two", {"two"}),
    (subjects.known, "three", set()),
)


def test_a_business_is_found_at_a_cap(app: Flask) -> None:
    with store.writing() as c:
        for name in ("one", "two"):
            filled(c, name, connected=True)
        for find, value, found in FOUND:
            assert find(c, value) == found, value


def test_a_business_that_was_identified_and_went_no_further_is_found(app: Flask) -> None:
    """The register of its EDP is elsewhere, and it granted nothing."""
    pushed = PushedRequest("request", "c", "m", "0" * 64, "https://c.example", None, "l", "c", NOW, NOW)
    who: Any = {"business": "Acme", "method": "log-in", "strength": ""}
    of: Any = {"business": "Acme", "strength": "", "meters": []}
    with store.writing() as c:
        sessions.make(c, "manages", "manage", {"sme": "manages", "business": "Acme"}, NOW)
        found: Any = {"found": {"sme": "returned", "email": "returned@acme.example", **of}}
        sessions.make(c, "returned", "log-in", {"log_in": found}, NOW)
        unknown: Any = {"found": {"sme": "", "email": "unknown@acme.example", **of}}
        asked: dict[str, Any] = {
            "found": {"log_in": {"found": {"sme": "found", "email": "found@acme.example", **of}}},
            "named": {"identified": {"sme": "named", "meters": [], "who": who, "email": "named@acme.example"}},
            "unknown": {"log_in": unknown},
        }
        for name, progress in asked.items():
            journeys.open(c, name, "secret", pushed, NOW)
            journeys.touch(c, name, NOW, progress)
        for name in ("manages", "returned", "found", "named"):
            assert subjects.known(c, name) == {name}
        for name in ("returned", "found", "named"):
            assert subjects.with_email(c, f"{name}@acme.example") == {name}
        assert subjects.with_email(c, "unknown@acme.example") == set()


def test_what_an_account_agreed_to_is_found_by_an_index(app: Flask) -> None:
    """Whoever is signed in may ask for it at any time: the work must not grow with what others agreed to."""
    with store.writing() as c:
        filled(c, "one", connected=True)
        query = str(
            sa.select(table_of(Evidence).c.subject)
            .where(evidence.is_never_made("one"))
            .compile(c.engine, compile_kwargs={"literal_binds": True})
        )
        if c.dialect.name == "postgresql":
            c.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = c.exec_driver_sql(("EXPLAIN " if c.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN ") + query)
        assert "ix_evidence_account" in str(plan.all())
        assert evidence.never_made(c, "one") == ["never-one"]
