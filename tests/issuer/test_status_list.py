"""H11: what anybody may read is made once: the status list for each change and interval, other documents once."""

import gzip
import random
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import clock, store
from consent_server.issuer import metadata
from consent_server.issuer import status_list as issued
from consent_server.store import status_list
from consent_server.store.database import db
from consent_server.store.rows import table_of
from consent_server.store.tables.permissions import KeptStatusList, Permission
from consent_server.tokens import keys, status
from consent_server.web import openapi


@pytest.fixture
def signings(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bits of each list that was signed."""
    made: list[bytes] = []
    sign = status.encode

    def counted(signing_keys: Any, uri: str, bits: bytes, *times: int) -> str:
        made.append(bits)
        return sign(signing_keys, uri, bits, *times)

    monkeypatch.setattr(status, "encode", counted)
    return made


def withdrawn(node: Any) -> list[bool]:
    """What a resource server reads: for each index in use, whether its permission has ended."""
    answer = node.get("/status-list")
    assert answer.status_code == 200
    deployment = node.deployment
    listed = status.decode(
        answer.text, deployment.signing_keys, metadata.status_list_uri(deployment.settings), clock.now()
    )
    return [listed.withdrawn(index) for index in range(len(node.rows(Permission)))]


@pytest.fixture
def node(issuer: Any) -> Any:
    for sme in ("acme", "bolts", "crumbs"):
        issuer.grant(sme=sme)
    return issuer


@pytest.fixture
def other_node(node: Any, changed: Callable[..., Any]) -> Any:
    return changed()


def end(node: Any, index: int) -> None:
    node.end(node.row(Permission, status_index=index).id, clock.now())


def test_H11_a_list_is_signed_once_for_each_change_and_interval(
    node: Any, other_node: Any, signings: list[bytes], held_clock: Any
) -> None:
    served = {each.get("/status-list").text for each in (node, other_node) * 10}
    assert (len(served), len(signings)) == (1, 1)
    end(node, 1)
    assert withdrawn(other_node) == withdrawn(node) == [False, True, False]
    end(other_node, 0)
    assert withdrawn(node) == withdrawn(other_node) == [True, True, False]
    assert len(signings) == 3
    node.grant(sme="drills")
    assert withdrawn(other_node) == [True, True, False, False]
    assert len(signings) == 4
    held_clock.step(status.SIGNED_EVERY - 1)
    withdrawn(node)
    assert len(signings) == 4
    held_clock.step(1)
    withdrawn(node)
    assert len(signings) == 5
    held_clock.step(-2)  # a list of the future says nothing of its age
    withdrawn(node)
    assert len(signings) == 6


def end_by_hand(index: int) -> Any:
    kept = table_of(Permission)
    return sa.update(kept).where(kept.c.status_index == index).values(ended=clock.now(), ended_as="withdrawn")


def test_H11_an_end_is_in_the_list_whoever_committed_it(node: Any) -> None:
    """Also a node of the release before, which knows nothing of a list that is kept."""
    assert withdrawn(node) == [False, False, False]
    with node.public.app_context(), store.writing() as c:
        c.execute(end_by_hand(2))
    assert withdrawn(node) == [False, False, True]


def test_H11_an_end_that_is_not_committed_is_not_in_the_list(node: Any, other_node: Any) -> None:
    withdrawn(node)
    with node.public.app_context(), store.writing() as c:
        c.execute(end_by_hand(2))
        assert withdrawn(other_node) == [False, False, False]
    assert withdrawn(other_node) == [False, False, True]


def test_H11_many_who_ask_at_once_make_one_list(node: Any, other_node: Any, signings: list[bytes]) -> None:
    end(node, 1)
    answers: list[list[bool]] = []
    threads = [
        threading.Thread(target=lambda each=each: answers.append(withdrawn(each))) for each in (node, other_node) * 6
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[False, True, False]] * 12
    assert len(signings) == 1


def test_H11_a_list_that_was_lost_is_made_again_with_every_end(node: Any) -> None:
    end(node, 0)
    assert withdrawn(node) == [True, False, False]
    with node.public.app_context(), store.writing() as c:
        c.execute(sa.delete(table_of(KeptStatusList)))
    end(node, 2)
    assert withdrawn(node) == [True, False, True]


def test_H11_a_list_is_signed_anew_with_a_new_key(node: Any, signings: list[bytes]) -> None:
    withdrawn(node)
    directory = node.deployment.settings.keys.tokens
    old, _ = node.deployment.signing_keys.current()
    new = keys.rotate(directory, clock.now() - keys.PUBLISHED_BEFORE_USE)
    try:
        assert withdrawn(node) == [False, False, False]
        assert len(signings) == 2
        assert {each["kid"] for each in node.get("/jwks").get_json(force=True)["keys"]} == {old, new}
    finally:
        keys.retire(directory, new)
    assert [each["kid"] for each in node.get("/jwks").get_json(force=True)["keys"]] == [old]


def test_H11_while_nothing_can_be_written_the_list_is_right_all_the_same(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdrawn(node)
    end(node, 1)

    def full(*_: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("disk full"))

    with monkeypatch.context() as broken:
        broken.setattr(status_list, "keep", full)
        assert withdrawn(node) == [False, True, False]
    assert withdrawn(node) == [False, True, False]


def test_H11_whether_there_is_a_change_is_read_from_an_index(node: Any) -> None:
    with node.public.app_context(), store.writing() as c:
        explain, changed = "EXPLAIN QUERY PLAN", c.begin_nested()
        if c.dialect.name == "postgresql":
            # So small a table is read whole otherwise, or by the index of all that have ended.
            c.execute(sa.text("SET LOCAL enable_seqscan = off"))
            c.execute(sa.text("DROP INDEX ix_permission_ended"))
            explain = "EXPLAIN"
        for statement in (status_list._SERVED, status_list._NOT_LISTED):
            text = statement.compile(db.engine, compile_kwargs={"literal_binds": True})
            plan = " ".join(str(row) for row in c.exec_driver_sql(f"{explain} {text}"))
            assert "ix_permission_not_listed" in plan
        changed.rollback()


def test_H11_other_documents_are_made_once(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for module, name in ((metadata, "document"), (openapi, "document"), (keys, "_jwk")):
        monkeypatch.setattr(module, name, _counted(getattr(module, name), f"{module.__name__}.{name}", made))
    for path in (metadata.path(node.deployment.settings), "/jwks"):
        answers = [node.get(path) for _ in range(5)]
        assert len({answer.data for answer in answers}) == 1
    assert made == ["consent_server.issuer.metadata.document", "consent_server.tokens.keys._jwk"]
    assert node.call("GET", "/openapi/issuer.json").status_code == 200
    assert "consent_server.web.openapi.document" not in made


def _counted(function: Callable[..., Any], name: str, made: list[str]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        made.append(name)
        return function(*arguments)

    return call


@pytest.mark.parametrize("path", ["/.well-known/oauth-authorization-server", "/jwks", "/status-list"])
def test_H11_who_has_a_document_gets_no_second_copy(node: Any, path: str) -> None:
    first = node.get(path)
    again = node.public.test_client().get(
        path, base_url=node.deployment.settings.public.origin, headers={"If-None-Match": first.headers["ETag"]}
    )
    assert (first.status_code, again.status_code, again.data) == (200, 304, b"")
    assert first.headers["Cache-Control"] == again.headers["Cache-Control"]
    if path == "/status-list":
        end(node, 0)
        changed = node.public.test_client().get(
            path, base_url=node.deployment.settings.public.origin, headers={"If-None-Match": first.headers["ETag"]}
        )
        assert changed.status_code == 200


def test_H11_a_list_is_compressed_for_whoever_takes_that_once(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token Status List section 8.2; RFC 9110 sections 8.8.3.3 and 12.5.3."""
    packed: list[bytes] = []
    compressobj = zlib.compressobj
    monkeypatch.setattr(zlib, "compressobj", lambda *how, **more: packed.append(b"") or compressobj(*how, **more))

    def asked(**headers: str) -> Any:
        origin = node.deployment.settings.public.origin
        return node.public.test_client().get("/status-list", base_url=origin, headers=headers)

    plain, *small = asked(), *[asked(**{"Accept-Encoding": "br, gzip;q=0.5"}) for _ in range(3)]
    assert {each.headers["Content-Encoding"] for each in small} == {"gzip"}
    assert {gzip.decompress(each.data) for each in small} == {plain.data}
    assert len(packed) == 1
    assert plain.headers["ETag"] != small[0].headers["ETag"]
    for each, taken in ((plain, "identity"), (small[0], "gzip")):
        assert each.headers["Vary"] == "Accept-Encoding"
        known = asked(**{"Accept-Encoding": taken, "If-None-Match": each.headers["ETag"]})
        assert (known.status_code, known.data) == (304, b"")
    assert "Content-Encoding" not in asked(**{"Accept-Encoding": "gzip;q=0"}).headers


def test_H11_a_million_permissions_take_150_kb_up_to_35_in_a_hundred_ended(tmp_path: Path) -> None:
    keys.make(tmp_path / "keys", clock.now() - 3600)
    bits = status.with_ended(b"", 1_000_000, random.Random(1).sample(range(1_000_000), 350_000))
    signed = status.encode(keys.SigningKeys(tmp_path / "keys"), "https://edp.example/status-list", bits, 1, 2, 3)
    assert len(issued.gzipped(signed.encode())) <= 150_000


@pytest.mark.long
def test_H11_two_hundred_thousand_ended_permissions(node: Any, signings: list[bytes]) -> None:
    many = 200_000
    columns = [column.name for column in table_of(Permission).columns]
    changed = {name: f"CAST(i AS TEXT) || {name}" for name in ("id", "account", "refresh_id")}
    changed |= {"status_index": "i", "ended": "CASE WHEN i % 2 = 1 THEN 1 END", "ended_as": "'withdrawn'"}
    with node.public.app_context(), store.writing() as c:
        c.execute(
            sa.text(
                f"INSERT INTO permission ({', '.join(columns)}) "
                f"WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {many}) "
                f"SELECT {', '.join(changed.get(name, name) for name in columns)} "
                "FROM n, permission WHERE status_index = 0"
            )
        )
    spent = []
    for step in ("the first list", "a withdrawal", *["the same again"] * 20):
        if step == "a withdrawal":
            with node.public.app_context(), store.writing() as c:
                c.execute(end_by_hand(0))
        began = time.process_time()
        text = node.get("/status-list").text
        spent.append(time.process_time() - began)
    print(f"first {spent[0]:.4f} s, a withdrawal {spent[1]:.4f} s, the same again {min(spent[2:]):.4f} s of CPU")
    assert len(signings) == 2
    listed = status.decode(
        text, node.deployment.signing_keys, metadata.status_list_uri(node.deployment.settings), clock.now()
    )
    assert [listed.withdrawn(index) for index in (0, 1, 2, many - 1)] == [True, False, False, True]
