"""The tables on both databases: migrations, single use, and the answer that tells a withdrawal within microseconds."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask

from consent_server import store
from consent_server.scheme.packed import unpack
from consent_server.scheme.permission import Act
from consent_server.store import (
    audit_events,
    codes,
    data_sources,
    journeys,
    limits,
    links,
    locks,
    meters,
    outbox,
    permissions,
    readings,
    released,
    requests,
    rows,
)
from consent_server.store.database import db
from consent_server.store.digests import digest
from consent_server.store.rows import table_of
from consent_server.store.schema import migrate
from consent_server.store.tables.journeys import Journey, PushedRequest
from consent_server.store.tables.limits import FailureCount
from consent_server.store.tables.metering import Meter
from consent_server.store.tables.permissions import AuthorizationCode, MeterAlias, Permission, ReleasedData
from consent_server.tokens.data_sources import DataSources

EXPIRES = 1000


def granted(c: Any, name: str, **changes: Any) -> int:
    return permissions.add(c, permission(name, **changes)).status_index


def permission(name: str, **changes: Any) -> Permission:
    values = {
        "id": name,
        "account": f"account-{name}",
        "client_id": "https://directory.example/a/cap",
        "member": "https://directory.example/m/cap",
        "license": "https://registry.example/license",
        "fuels": ["electricity", "gas"],
        "text_sha256": "0" * 64,
        "sme": "acme",
        "meters": [],
        "datasources": [],
        "granted": 100,
        "expires": EXPIRES,
        "refresh_id": f"refresh-{name}",
        "refresh_version": 1,
        **changes,
    }
    return Permission(**values)


def test_migrations_make_the_tables_that_are_declared(app: Flask) -> None:
    with store.reading() as c:
        context = MigrationContext.configure(c, opts={"compare_type": True})
        assert compare_metadata(context, db.metadata) == []


def test_a_migration_keeps_what_is_there(database_url: str) -> None:
    app = Flask("migration-test")
    store.init(app, database_url)
    with app.app_context():
        migrate("0001")
        with store.writing() as c:
            c.execute(
                sa.text(
                    "INSERT INTO meter (id, sme, business, fuel, number, postcode, outcode, measures, scenario)"
                    " VALUES ('m', 'acme', 'Acme', 'gas', '1234567890', 'SW8 1AA', 'SW8', '[\"import\"]', 'gaps')"
                )
            )
        migrate("0007")
        with store.writing() as c:
            for name in ("b", "a"):
                c.execute(
                    sa.text("INSERT INTO datasource (id, client_id, sme, meter) VALUES (:id, 'cap', 'acme', :meter)"),
                    {"id": f"old-{name}", "meter": f"m-{name}"},
                )
            sources = [{"id": "old-b", "meter": "m-b", "fuel": "gas"}]
            rows.add(c, permission("p", datasources=sources, status_index=0), permission("q", status_index=1))
        migrate()
        with store.writing() as c:
            assert granted(c, "r") == 2
        with store.reading() as c:
            row = Meter("m", "acme", "Acme", "gas", "1234567890", "SW8 1AA", "SW8", ["import"], 0, None, "")
            assert meters.by_number(c, "gas", "1234567890", "SW8 1AA", at=1) == row
            kept = permissions.find(c, "p")
            assert kept is not None
            (source,) = kept.datasources
            assert source["id"].endswith(".1")
            assert source["meter"] == "m-b"
            assert [row.meter for row in data_sources.find(c, [source["id"]])] == ["m-b"]
            assert permissions.find(c, "q").datasources == []  # type: ignore[union-attr]
        db.engine.dispose()


def test_status_indices_count_from_zero(app: Flask) -> None:
    with store.writing() as c:
        assert [granted(c, name) for name in ("p", "q", "r")] == [0, 1, 2]


def test_concurrent_grants_get_different_indices(app: Flask) -> None:
    indices: list[int] = []

    def grant(number: int) -> None:
        with app.app_context(), store.writing() as c:
            indices.append(granted(c, f"p{number}"))

    threads = [threading.Thread(target=grant, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(indices) == list(range(12))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer
def test_a_grant_waits_for_no_grant_of_another_business(app: Flask) -> None:
    with store.writing() as c:
        locks.lock_business(c, "acme")
        granted(c, "p", sme="acme")
        data_sources.ids_for(c, "client-a", "acme", ["m-1"])
        with ThreadPoolExecutor(1) as pool:

            def grant() -> int:
                with app.app_context(), store.writing() as other:
                    locks.lock_business(other, "bakery")
                    data_sources.ids_for(other, "client-a", "bakery", ["m-2"])
                    return granted(other, "q", sme="bakery")

            assert pool.submit(grant).result(10) == 1


@pytest.mark.parametrize("others", [(1, 2), (1, 2, 90_000)], ids=["the version before", "restored data, with a gap"])
def test_an_index_that_the_sequence_did_not_give_is_not_given_again(app: Flask, others: tuple[int, ...]) -> None:
    """A node of the version before takes the index after the last; data may come back without the sequence."""
    with store.writing() as c:
        granted(c, "p")
        rows.add(c, *(permission(f"old-{number}", status_index=number) for number in others))
        assert granted(c, "q") == max(others) + 1


def test_a_code_is_redeemed_and_answered_once_however_many_try(app: Flask) -> None:
    def in_a_transaction(code: str) -> bool:
        with store.writing() as c:
            return codes.redeem(c, code, 101)

    ways = [in_a_transaction]
    if db.engine.dialect.name == "postgresql":
        ways.append(lambda code: codes.redeem_at_once(code, 101))
    for number, way in enumerate(ways):
        code = f"secret-{number}"
        with store.writing() as c:
            granted(c, f"p-{number}")
            codes.add(c, AuthorizationCode(digest(code), f"p-{number}", "x", "y", "z", issued=100, expires=160))
        assert not codes.answer(code), "it is not redeemed"
        redeemed: list[bool] = []
        answered: list[bool] = []

        def redeem(way: Any = way, code: str = code, redeemed: Any = redeemed, answered: Any = answered) -> None:
            with app.app_context():
                redeemed.append(way(code))
                answered.append(codes.answer(code))

        threads = [threading.Thread(target=redeem) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(redeemed) == sorted(answered) == [False] * 11 + [True]


def test_an_end_is_seen_at_once_and_is_final(app: Flask) -> None:
    with store.writing() as c:
        index = granted(c, "p")
    assert not permissions.is_ended(index)
    with store.writing() as c:
        assert permissions.end(c, permissions.find(c, "p"), Act.WITHDRAW, at=200, by="sme", where="edp", why="asked")
    assert permissions.is_ended(index)
    assert permissions.is_ended(index + 1), "an index that no permission has must release nothing"
    with store.writing() as c:
        assert not permissions.end(c, permissions.find(c, "p"), Act.SUPERSEDE, at=300, by="x", where="y", why="z")
        assert permissions.find(c, "p").ended == 200


@pytest.mark.parametrize(
    ("act", "at", "state"),
    [
        (Act.SUPERSEDE, EXPIRES - 1, "superseded"),
        (Act.SUPERSEDE, EXPIRES, None),
        (Act.WITHDRAW, EXPIRES - 1, "withdrawn"),
        (Act.WITHDRAW, EXPIRES, "withdrawn"),
        (Act.EXPIRE, EXPIRES, None),
    ],
)
def test_an_end_obeys_the_table_of_transitions(app: Flask, act: Act, at: int, state: str | None) -> None:
    with store.writing() as c:
        granted(c, "p")
        assert permissions.end(c, permissions.find(c, "p"), act, at=at, by="sme", where="a page", why="asked") == bool(
            state
        )
        row = permissions.find(c, "p")
    assert (row.ended, row.ended_as, row.ended_by) == ((at, state, "sme") if state else (None, None, None))


def test_of_two_who_read_the_same_row_one_ends_it(app: Flask) -> None:
    with store.writing() as c:
        granted(c, "p")
        row = permissions.find(c, "p")
        assert permissions.end(c, row, Act.SUPERSEDE, at=200, by="q", where="token endpoint", why="a newer permission")
        assert not permissions.end(c, row, Act.WITHDRAW, at=201, by="sme", where="a page", why="asked")
        assert permissions.find(c, "p").ended_as == "superseded"


def test_what_is_read_is_what_was_kept(app: Flask) -> None:
    kept = Journey(
        id="j",
        secret="0" * 64,
        request="1" * 64,
        client_id="https://directory.example/a/cap",
        member="https://directory.example/m/cap",
        redirect_uri="https://client.example/callback",
        state=None,
        license="https://registry.example/license",
        code_challenge="challenge",
        created=100,
        seen=101,
        progress={"done": ["identify"], "proved": 101},
    )
    with store.writing() as c:
        rows.add(c, kept)
        read = journeys.find(c, "j")
    assert type(read) is Journey
    assert read == kept


def test_an_exception_leaves_nothing_behind(app: Flask) -> None:
    def interrupted() -> None:
        with store.writing() as c:
            granted(c, "p")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        interrupted()
    with store.reading() as c:
        assert permissions.find(c, "p") is None


def test_what_is_done_together_is_one_transaction(app: Flask) -> None:
    def counted() -> int:
        with store.reading() as c:
            return limits.count(c, "key", 0)

    def count() -> int:
        with store.writing() as c:
            limits.add(c, "key", 0)
        return counted()

    def part(kind: Any) -> None:
        count()
        with suppress(ZeroDivisionError), kind():
            raise ZeroDivisionError

    def interrupted() -> None:
        with store.together():
            count()
            raise InterruptedError

    def went_on() -> None:
        with store.together():
            part(store.writing)

    def went_on_to_count() -> None:
        with store.together():
            part(store.reading)
            count()

    with store.together():
        assert [count(), count()] == [1, 2], "a part sees what another has written"
    # An exception rolls all of it back; so does a part that failed although nobody looked.
    for act, raised in (
        (interrupted, InterruptedError),
        (went_on, RuntimeError),
        (went_on_to_count, store.StoreUnavailable),
    ):
        with pytest.raises(raised):
            act()
        assert counted() == 2
    assert count() == 3


def test_a_data_source_id_is_stable_and_differs_between_clients(app: Flask) -> None:
    with store.writing() as c:
        first = data_sources.ids_for(c, "client-a", "acme", ["m-2", "m-1", "m-2"])
        series = first["m-1"].partition(".")[0]
        assert first == {"m-2": f"{series}.0", "m-1": f"{series}.1"}
        assert data_sources.ids_for(c, "client-a", "acme", ["m-1", "m-3"]) == {
            "m-1": f"{series}.1",
            "m-3": f"{series}.2",
        }
        for other in (("client-b", "acme"), ("client-a", "bakery")):
            assert not set(data_sources.ids_for(c, *other, ["m-1"]).values()) & {f"{series}.{n}" for n in range(3)}
    with store.reading() as c:
        (row,) = data_sources.find(c, [first["m-2"], "unknown", "unknown.7"])
    assert (row.client_id, row.sme, row.meter) == ("client-a", "acme", "m-2")


def test_an_id_that_the_version_before_made_is_numbered_when_it_is_next_granted(app: Flask) -> None:
    with store.writing() as c:
        rows.add(c, MeterAlias("old", "client-a", "acme", "m-1"))
        first = data_sources.ids_for(c, "client-a", "acme", ["m-1", "m-2"])
        assert sorted(data_sources.number_of(each) for each in first.values()) == [0, 1]
        assert data_sources.ids_for(c, "client-a", "acme", ["m-1"]) == {"m-1": first["m-1"]}
        assert data_sources.find(c, ["old"]) == []


def test_what_the_version_before_granted_meanwhile_is_numbered(app: Flask) -> None:
    sources = [{"id": "old-1", "meter": {}}, {"id": "old-2", "meter": {}}]
    both = {"client_id": "client-a", "sme": "acme"}
    with store.writing() as c:
        numbered = data_sources.ids_for(c, "client-a", "acme", ["m-0"])
        rows.add(c, *(MeterAlias(f"old-{n}", "client-a", "acme", f"m-{n}") for n in (1, 2)))
        rows.add(c, MeterAlias("old-3", "client-a", "bakery", "m-3"))
        granted(c, "p", **both, datasources=sources)
        granted(c, "q", **both, datasources=[{"id": numbered["m-0"], "meter": {}}])
    for _ in range(2):  # the second finds nothing
        data_sources.number_the_rest()
        with store.writing() as c:
            ids = data_sources.ids_for(c, "client-a", "acme", ["m-0", "m-1", "m-2"])
            kept = [[each["id"] for each in permissions.find(c, name).datasources] for name in ("p", "q")]  # type: ignore[union-attr]
            assert kept == [[ids["m-1"], ids["m-2"]], [numbered["m-0"]]]
            DataSources.of(ids.values())
            assert data_sources.number_of(data_sources.ids_for(c, "client-a", "bakery", ["m-3"])["m-3"]) == 0


def test_two_grants_at_once_give_no_number_twice(app: Flask) -> None:
    made: list[dict[str, str]] = []

    def grant(name: str) -> None:
        with app.app_context(), store.writing() as c:
            locks.lock_business(c, "acme")
            made.append(data_sources.ids_for(c, "client-a", "acme", [f"{name}-{n}" for n in range(3)]))

    threads = [threading.Thread(target=grant, args=(f"m{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [each for those in made for each in those.values()]
    assert len({each.partition(".")[0] for each in ids}) == 1
    assert sorted(data_sources.number_of(each) for each in ids) == list(range(24))


def test_what_was_released_grows_and_is_noted_once_a_minute(app: Flask) -> None:
    rounds = (
        ((100, 200, 1000), (100, 200, 1000)),
        ((120, 180, 1059), (100, 200, 1000)),
        ((50, 150, 1001), (50, 200, 1001)),
        ((100, 300, 1002), (50, 300, 1002)),
        ((100, 200, 1062), (50, 300, 1062)),
    )
    with store.writing() as c:
        granted(c, "p")
        granted(c, "q")
        for (first, last, at), kept in rounds:
            released.note(c, "account-p", first, last, at)
            assert released.of_subjects(c, ["p", "q"]) == {"p": ReleasedData("p", *kept)}
        released.note(c, "nobody's", 1, 2, 3)
        assert released.of_subjects(c, ["nobody's"]) == {}


def test_links_are_kept_once(app: Flask) -> None:
    with store.writing() as c:
        links.add(c, "a", "b")
        links.add(c, "a", "b")
        assert links.dependents(c, "a") == ["b"]
        assert links.supports(c, "b") == ["a"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_more_is_leased_than_was_asked_for_whatever_the_plan(app: Flask) -> None:
    """PostgreSQL looks at each call and at each time into the first three: the plan that it chose once for a small table."""
    cap = "https://directory.example/a/cap"
    with store.writing() as c:
        for number in range(10):
            outbox.add(c, kind="message", subject=f"p{number}", recipient=cap, at=100)
    with store.writing() as c:
        for way in ("hashjoin", "mergejoin", "material", "hashagg", "sort", "indexscan", "bitmapscan"):
            c.execute(sa.text(f"SET LOCAL enable_{way} = off"))
        leased = outbox.lease(c, cap, 200, lease_s=60, limit=3)
        assert [call.subject for call in leased] == ["p0", "p1", "p2"]


def test_what_is_owed_is_leased_to_one_dispatcher(app: Flask) -> None:
    cap = "https://directory.example/a/cap"
    with store.writing() as c:
        outbox.add(c, kind="message", subject="p", recipient=cap, at=100)
    with store.writing() as c:
        (row,) = outbox.lease(c, cap, 100, 30, 10)
    with store.writing() as c:
        assert (outbox.recipients(c, 110), outbox.lease(c, cap, 110, 30, 10)) == ([], [])
        assert outbox.recipients(c, 130) == [cap]  # the first dispatcher died: its lease has run out
        (again,) = outbox.lease(c, cap, 130, 30, 10)
        assert outbox.failed(c, again, 200, "refused")
        assert (outbox.recipients(c, 199), outbox.lease(c, cap, 199, 30, 10)) == ([], [])
        (again,) = outbox.lease(c, cap, 200, 30, 10)
        assert outbox.give_up(c, again, 250, "refused")
        assert outbox.waiting(c) == []
        assert outbox.retry(c, row.id, 300)
        taken = outbox.lease(c, cap, 300, 30, 10)
        assert [r.id for r in taken] == [row.id]
        outbox.release(c, taken)
        assert outbox.recipients(c, 300) == [cap]
        (again,) = outbox.lease(c, cap, 300, 30, 10)
        assert outbox.delivered(c, [again], 301)
        assert outbox.waiting(c) == []


@pytest.mark.parametrize(
    "slow",
    [
        lambda c, row: outbox.delivered(c, [row], 400),
        lambda c, row: outbox.failed(c, row, 500, "slow"),
        lambda c, row: outbox.give_up(c, row, 400, "slow"),
        lambda c, row: bool(outbox.release(c, [row])),
    ],
    ids=["delivered", "failed", "given up", "released"],
)
@pytest.mark.parametrize(
    "fast",
    [
        lambda c, row: True,
        lambda c, row: outbox.delivered(c, [row], 300),
        lambda c, row: outbox.failed(c, row, 350, "fast"),
        lambda c, row: outbox.give_up(c, row, 300, "fast"),
    ],
    ids=["at work", "delivered", "failed", "given up"],
)
def test_a_slow_dispatcher_overwrites_nothing_of_the_one_that_took_over(app: Flask, fast: Any, slow: Any) -> None:
    with store.writing() as c:
        outbox.add(c, kind="message", subject="p", recipient="cap", at=100)
    with store.writing() as c:
        (first,) = outbox.lease(c, "cap", 100, 30, 10)
    with store.writing() as c:
        (second,) = outbox.lease(c, "cap", 130, 30, 10)
        assert fast(c, second)
    with store.reading() as c:
        decided = outbox.everything(c)
    with store.writing() as c:
        assert not slow(c, first)
        assert outbox.everything(c) == decided


def test_each_recipient_with_work_is_found_once_and_leased_alone(app: Flask) -> None:
    with store.writing() as c:
        for number in range(30):
            outbox.add(c, kind="message", subject="p", recipient=f"r{number % 3}", at=100 + 100 * (number % 3))
    with store.reading() as c:
        assert [sorted(outbox.recipients(c, at)) for at in (99, 100, 250, 300)] == [
            [],
            ["r0"],
            ["r0", "r1"],
            ["r0", "r1", "r2"],
        ]
    with store.writing() as c:
        assert {row.recipient for row in outbox.lease(c, "r1", 250, 30, 20)} == {"r1"}
        assert outbox.recipients(c, 250) == ["r0"]
        given_up = outbox.give_up_older(c, "r0", 100, 250, "gone")
        assert len(given_up) == len(outbox.given_up(c)) == 10
        assert outbox.give_up_older(c, "r1", 300, 250, "gone") == [], "another dispatcher is about to make these"


def test_day_blocks_come_back_in_order(app: Flask) -> None:
    with store.writing() as c:
        readings.put_days(c, "edp", "m", "import", {172800: b"{two", 86400: b"{one"})
        readings.put_days(c, "edp", "m", "import", {86400: b"{one again"})
        found = readings.days(c, "edp", "m", "import", 0, 259200)
        assert [(row.day, unpack(row.body, row.day)) for row in found] == [(86400, b"{one again"), (172800, b"{two")]
        assert readings.extent(c, "edp", "m", "import") == (86400, 172800)
        assert readings.extent(c, "edp", "m", "export") is None


EVENT = {"at": 1, "event": "pushed_request", "correlation_id": "-", "client_id": "c"}


def pushed(handle: str) -> PushedRequest:
    return PushedRequest(digest(handle), "c", "m", "0" * 64, "https://c.example/cb", None, "l", "v" * 43, 1, 2)


def test_a_push_and_its_count_are_kept_together(app: Flask) -> None:
    budget = limits.Budget("k", 0, 2)
    assert [requests.push_within(pushed(str(number)), budget, EVENT) for number in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    assert requests.push_within(pushed("another window's"), budget._replace(window=2**32, most=2**31 - 1), EVENT)
    assert sum(counts_of("k", 0)) == 2
    with store.reading() as c:
        assert [requests.find(c, str(number)) for number in range(4)] == [pushed("0"), pushed("1"), None, None]
        assert [event.fields for event in audit_events.newest(c)] == [{"client_id": "c"}] * 3


def counts_of(key: str, window: int) -> list[int]:
    """Return the counts in all rows of a budget."""
    count = table_of(FailureCount)
    with store.reading() as c:
        ours = sa.or_(count.c.key == key, count.c.key.startswith(f"{key}/"))
        return list(c.scalars(sa.select(count.c.count).where(ours, count.c.window == window)))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("most", [3, 16, 50])
def test_pushes_at_once_are_counted_apart_and_a_budget_is_never_exceeded(app: Flask, most: int) -> None:
    budget = limits.Budget("k", 0, most)

    def push(number: int) -> bool:
        with app.app_context():
            return requests.push_within(pushed(str(number)), budget, EVENT)

    with ThreadPoolExecutor(8) as pool:
        kept = sum(pool.map(push, range(most + 20)))
    assert kept <= most
    for number in range(most - kept):  # what was refused early finds room afterwards
        assert push(1000 + number)
    assert not push(2000)
    counts = counts_of("k", 0)
    assert sum(counts) == most
    assert len(counts) == min(most, limits.PARTS)
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_push_that_is_run_again_after_a_lost_connection_is_kept_once(app: Flask) -> None:
    for _ in range(2):
        assert requests.push_within(pushed("one"), limits.Budget("k", 0, 9), EVENT)
    with store.reading() as c:
        assert requests.find(c, "one") == pushed("one")
        assert len(audit_events.newest(c)) == 1


def test_failures_are_counted_and_cleared(app: Flask) -> None:
    with store.writing() as c:
        assert [limits.add(c, "k", 0) for _ in range(3)] == [1, 2, 3]
        assert limits.count(c, "k", 0) == 3
        limits.clear(c, "k")
        assert limits.count(c, "k", 0) == 0


def test_every_table_has_a_model(app: Flask) -> None:
    with store.reading() as c:
        names = set(sa.inspect(c).get_table_names()) - {"alembic_version"}
    assert names == {table.name for table in db.metadata.sorted_tables}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("code", ["SQLITE_BUSY", "SQLITE_BUSY_RECOVERY"])
def test_a_writer_waits_out_every_kind_of_lock(app: Flask, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """While another process reads the log of one that was killed, SQLite says SQLITE_BUSY_RECOVERY."""
    locked = [sqlite3.OperationalError("database is locked") for _ in range(2)]
    for each in locked:
        each.sqlite_errorcode = getattr(sqlite3, code)
    begin = sa.engine.Connection.begin

    def busy_at_first(connection: sa.engine.Connection) -> sa.engine.RootTransaction:
        if locked:
            raise sa.exc.OperationalError("BEGIN IMMEDIATE", {}, locked.pop())
        return begin(connection)

    monkeypatch.setattr(sa.engine.Connection, "begin", busy_at_first)
    with store.writing() as c:
        assert c.execute(sa.select(1)).scalar_one() == 1
    assert not locked
