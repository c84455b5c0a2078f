"""The audit trail: append-only by the database, sealed into a chain, and each way of tampering named."""

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import audit, clock, store
from consent_server.scheme import audit_chain
from consent_server.scheme.audit_chain import AuditCheckpoint, ChainFault
from consent_server.store import audit_events
from consent_server.store.database import db


def keep(number: int, **fields: Any) -> None:
    with store.writing() as c:
        audit_events.keep(c, audit.event("permission_read", client_id="c", permission=f"p{number}", **fields))


def sealed(events: int = 6) -> None:
    for number in range(events):
        keep(number, more=[1, None, {"é": "Straße"}])
    with store.writing() as c:
        assert audit_events.seal(c, 4) == min(events, 4)
        audit_events.seal(c, 100)
        assert audit_events.seal(c, 100) == 0


def faults(checkpoints: dict[int, str] | None = None) -> list[ChainFault]:
    with store.reading() as c:
        return list(audit_chain.faults(audit_events.chain(c, page=2), checkpoints or {}))


def force(statement: str) -> None:
    """Execute a statement as the database's owner, who can take triggers away."""
    with db.engine.begin() as c:
        if c.dialect.name == "postgresql":
            c.exec_driver_sql("ALTER TABLE audit_event DISABLE TRIGGER USER")
        else:
            for name in ("audit_event_is_not_changed", "audit_event_is_not_deleted"):
                c.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        c.exec_driver_sql(statement)
        if c.dialect.name == "postgresql":  # another test may be given this schema
            c.exec_driver_sql("ALTER TABLE audit_event ENABLE TRIGGER USER")


def test_a_chain_holds(app: Flask) -> None:
    sealed()
    with store.reading() as c:
        links = list(audit_events.chain(c, page=4))
        assert [link.position for link in links] == [1, 2, 3, 4, 5, 6]
        assert audit_events.waiting_since(c) is None
        end = audit_events.end(c)
    assert end is not None
    assert (end.position, end.digest) == (6, links[-1].digest)
    assert faults({3: links[2].digest, 6: links[5].digest}) == []


#: A way of tampering, as SQL, and what is found of it: positions by kind.
TAMPERED = {
    "a field changed": ("UPDATE audit_event SET correlation_id = 'x' WHERE position = 3", [(3, "changed")]),
    "an instant changed": ("UPDATE audit_event SET at = at - 1 WHERE position = 1", [(1, "changed")]),
    "the last one changed": ("UPDATE audit_event SET event = 'x' WHERE position = 6", [(6, "changed")]),
    "one missing": ("DELETE FROM audit_event WHERE position = 4", [(5, "missing")]),
    "the first two missing": ("DELETE FROM audit_event WHERE position < 3", [(3, "missing")]),
    "the last one missing": ("DELETE FROM audit_event WHERE position = 6", [(6, "missing")]),
    "two exchanged": (
        "UPDATE audit_event SET position = CASE position WHEN 2 THEN -4 ELSE -2 END WHERE position IN (2, 4); "
        "UPDATE audit_event SET position = -position WHERE position < 0",
        [(2, "moved"), (3, "moved"), (4, "moved"), (5, "moved")],
    ),
    "one inserted in place of another": (
        "UPDATE audit_event SET position = NULL WHERE position = 4; "
        "INSERT INTO audit_event (at, event, correlation_id, fields, position, contents, digest) "
        "SELECT at, event, correlation_id, fields, 4, contents, digest FROM audit_event WHERE position = 5",
        [(4, "changed"), (4, "moved"), (5, "moved")],
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampering_is_found_and_named(app: Flask, how: str) -> None:
    statements, expected = TAMPERED[how]
    sealed()
    with store.reading() as c:
        end = audit_events.end(c)
    assert end is not None
    for statement in statements.split("; "):
        force(statement)
    found = [(fault.position, fault.kind) for fault in faults({end.position: end.digest})]
    assert [each for each in found if each[1] != "rewritten"] == expected


def test_a_chain_that_was_made_anew_is_found_by_what_was_signed(app: Flask) -> None:
    sealed()
    with store.reading() as c:
        signed = {link.position: link.digest for link in audit_events.chain(c)}
    force("UPDATE audit_event SET correlation_id = 'x' WHERE position = 2")
    force("UPDATE audit_event SET position = NULL, digest = NULL, contents = NULL")
    with store.writing() as c:
        audit_events.seal(c, 100)
    assert faults() == []
    assert [(fault.position, fault.kind) for fault in faults({6: signed[6]})] == [(6, "rewritten")]


def test_what_is_kept_no_longer_may_be_missing_at_the_beginning_up_to_a_checkpoint(app: Flask) -> None:
    sealed()
    with store.reading() as c:
        digests = {link.position: link.digest for link in audit_events.chain(c)}
    force("DELETE FROM audit_event WHERE position = 3")
    assert [fault.kind for fault in faults({3: digests[3]})] == ["missing"], "in the middle"
    force("DELETE FROM audit_event WHERE position <= 3")
    assert faults({3: digests[3]}) == []
    assert [fault.kind for fault in faults({2: digests[2]})] == ["missing"]


def test_what_is_old_enough_goes_up_to_a_checkpoint_and_the_rest_holds(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two events an hour before each of three checkpoints, a day apart, the last of them at the chain's end."""
    day, first = 86400, 1_500_000_000
    for number in range(6):
        monkeypatch.setattr(clock, "now", lambda at=first + number // 2 * day: at)
        keep(number)
    with store.writing() as c:
        audit_events.seal(c, 10)
        digests = {link.position: link.digest for link in audit_events.chain(c)}
        for position in (2, 4, 6):
            point = AuditCheckpoint(position, digests[position], first + position)
            audit_events.add_checkpoint(c, point, {"payload": ""})

    def gone(before: int) -> int:
        with store.writing() as c:
            return audit_events.forget(c, before)

    assert [gone(first), gone(first + 1), gone(first + day)] == [0, 2, 0]
    assert faults({2: digests[2], 4: digests[4], 6: digests[6]}) == []
    assert gone(2**40) == 2, "however late our own clock is"
    assert gone(2**40) == 0, "the last events stay, for the chain to go on from"
    monkeypatch.undo()
    keep(7)
    with store.writing() as c:
        audit_events.seal(c, 10)
        assert [link.position for link in audit_events.chain(c)] == [5, 6, 7]
    assert faults({4: digests[4], 6: digests[6]}) == []


def test_nothing_younger_goes_than_the_database_lets_go(app: Flask) -> None:
    sealed()
    with store.writing() as c:
        for position, digest in ((3, "d" * 64), (5, "e" * 64)):
            audit_events.add_checkpoint(c, AuditCheckpoint(position, digest, 0), {"payload": ""})
        assert audit_events.forget(c, 2**40) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET correlation_id = 'x'",
        "UPDATE audit_event SET at = 0 WHERE position IS NULL",
        "UPDATE audit_event SET position = NULL WHERE position IS NOT NULL",
        "DELETE FROM audit_event WHERE position = 1",
        "DELETE FROM audit_event WHERE position IS NULL",
    ],
)
def test_the_database_refuses_to_change_or_delete(app: Flask, statement: str) -> None:
    sealed(2)
    keep(3)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), db.engine.begin() as c:
        c.exec_driver_sql(statement)
    assert faults() == []


def test_the_database_refuses_to_empty_it(app: Flask, database_url: str) -> None:
    if database_url.startswith("sqlite"):
        return  # it has no TRUNCATE
    sealed(2)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), db.engine.begin() as c:
        c.exec_driver_sql("TRUNCATE audit_event")


def test_what_is_older_than_any_record_is_kept_may_be_deleted(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consent_server.clock.now", lambda: 1_600_000_000)
    sealed(1)
    with db.engine.begin() as c:
        c.exec_driver_sql("DELETE FROM audit_event")
    assert faults() == []
