"""/ready tries what it speaks of: a door on each database, with what can be wrong with it one after the other."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.deployment import Deployment, current
from consent_server.jobs.job import Job
from consent_server.jobs.work import run_once
from consent_server.parties.operator.doctor import house
from consent_server.readiness import LIVE_S, WORK_LIVE_S
from consent_server.store import schema
from consent_server.store.database import db
from consent_server.tokens import keys, refresh_token
from consent_server.tokens.keys import KeysUnusable
from consent_server.tokens.sealing import BadSealingKey
from tests.deployments import START, deploy, opened, settings_of


class NodeUnderTest:
    """A machine with key files of its own, on the shared database."""

    def __init__(self, folder: Path, database_url: str) -> None:
        made = settings_of("edp", database_url).keys
        self.files = {name: folder / name for name in ("tokens", "refresh", "sealing")}
        folder.mkdir()
        for name, path in self.files.items():
            source: Path = getattr(made, name)
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, path)
        changes = {f"keys.{name}": str(path) for name, path in self.files.items()}
        self.settings = settings_of("edp", database_url, changes | {"revocation_list.source": ""})
        self.deployment: Deployment = deploy(self.settings)
        self.app: Flask = opened(self.deployment, "public")

    def ready(self) -> Mapping[str, Any]:
        answer = self.app.test_client().get("/ready")
        found: dict[str, Any] = answer.get_json()
        assert (answer.status_code == 503) == bool(found["failing"])
        return found

    def examined(self, at: int) -> list[str]:
        return [str(finding) for finding in house.database(self.settings, at)]


@pytest.fixture
def build_node(tmp_path: Path, database_url: str, held_clock: Any) -> Iterator[Callable[[str], NodeUnderTest]]:
    made: list[NodeUnderTest] = []

    def build(name: str) -> NodeUnderTest:
        made.append(NodeUnderTest(tmp_path / name, database_url))
        return made[-1]

    yield build
    for node in made:
        with node.app.app_context():
            db.engine.dispose()


@pytest.fixture
def node(build_node: Callable[[str], NodeUnderTest]) -> NodeUnderTest:
    made = build_node("one")
    with made.app.app_context():
        schema.migrate()
        assert run_once(Job("node-report", 1, current().node_report.write))
    return made


def test_H21_a_sound_door_is_ready(node: NodeUnderTest, held_clock: Any) -> None:
    found = node.ready()
    assert (found["status"], found["failing"], found["degraded"]) == ("ready", [], [])
    others = [line for line in node.examined(held_clock.instant) if not line.startswith("ok")]
    # PostgreSQL's tables belong to the one role of the tests, which the doctor warns of.
    assert not [line for line in others if "our role owns the audit trail" not in line]


def test_H21_an_unmigrated_database_says_what_to_run(build_node: Callable[[str], NodeUnderTest]) -> None:
    found = build_node("one").ready()
    assert found["failing"] == ["database"]
    assert "consent-server db upgrade" in found["database"]


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_G14_an_older_schema_says_what_to_run(build_node: Callable[[str], NodeUnderTest], revision: str) -> None:
    node = build_node("one")
    with node.app.app_context():
        schema.migrate(revision)
    assert node.ready()["failing"] == ["database"]
    answer = node.app.test_client().get("/authorize?client_id=x&request_uri=x")
    assert answer.status_code in (400, 503)


def test_G14_a_newer_schema_suits_an_older_program(node: NodeUnderTest) -> None:
    with node.app.app_context():
        with store.writing() as c:
            c.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        schema.migrate()
    assert node.ready()["failing"] == []


def test_H21_nothing_can_be_written(node: NodeUnderTest, held_clock: Any) -> None:
    assert not node.ready()["failing"]
    held_clock.step(10)
    with node.app.app_context(), ExitStack() as others:
        db.engine.dispose()
        if db.engine.dialect.name == "sqlite":
            sa.event.listen(db.engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only = ON"))
        else:
            holding = others.enter_context(sa.create_engine(node.settings.database.url).begin())
            holding.execute(sa.text("LOCK TABLE node IN EXCLUSIVE MODE"))
            sa.event.listen(db.engine, "connect", impatient)
        assert node.ready()["failing"] == ["database"]


def impatient(raw: Any, _record: object) -> None:
    raw.execute("SET lock_timeout = 50")
    raw.commit()


def test_G15_a_journal_that_cannot_be_written_is_said(node: NodeUnderTest, tmp_path: Path) -> None:
    node.app.config["WITHDRAWAL_JOURNAL"] = tmp_path / "nowhere" / "withdrawals.jsonl"
    assert node.ready()["failing"] == ["journal"]


def test_H21_a_dead_worker_is_said_and_stops_no_door(node: NodeUnderTest, held_clock: Any) -> None:
    held_clock.step(WORK_LIVE_S + 1)
    found = node.ready()
    assert (found["failing"], found["degraded"]) == ([], ["worker"])
    assert "consent-server work" in found["worker"]
    assert any(line.startswith("FAIL  jobs: none since") for line in node.examined(held_clock.instant))
    with node.app.app_context():
        run_once(Job("node-report", 1, current().node_report.write))
    held_clock.step(1)
    assert node.ready()["degraded"] == []


def rotated(node: NodeUnderTest) -> None:
    keys.rotate(node.files["tokens"], START)


def made_anew(node: NodeUnderTest) -> None:
    shutil.rmtree(node.files["tokens"])
    keys.make(node.files["tokens"], START)


def other_refresh_keys(node: NodeUnderTest) -> None:
    shutil.rmtree(node.files["refresh"])
    refresh_token.rotate(node.files["refresh"], START - 3600)


def other_sealing_key(node: NodeUnderTest) -> None:
    node.files["sealing"].write_bytes(b"x" * 32)


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        pytest.param(rotated, "one", id="a key that was not copied from two"),
        pytest.param(made_anew, "two", id="the newcomer made its own"),
        pytest.param(other_refresh_keys, "two", id="the newcomer has other refresh keys"),
        pytest.param(other_sealing_key, "two", id="the newcomer has another sealing key"),
    ],
)
def test_O8_H21_a_node_with_other_keys_says_so(
    node: NodeUnderTest,
    build_node: Callable[[str], NodeUnderTest],
    held_clock: Any,
    change: Callable[[NodeUnderTest], None],
    failing: str,
) -> None:
    node.ready()
    held_clock.step(10)
    two = build_node("two")
    change(two)
    two.deployment = deploy(two.settings)
    two.app = opened(two.deployment, "public")
    found = {}
    for _ in range(keys.PUBLISHED_BEFORE_USE // 30 + 2):
        held_clock.step(30)
        found = {"two": two.ready(), "one": node.ready()}
    other = "one" if failing == "two" else "two"
    assert "keys" in found[failing]["failing"]
    assert (found[other]["failing"], "keys" in found[other]["degraded"]) == ([], True)
    assert any(line.startswith("FAIL  node") for line in node.examined(held_clock.instant))
    assert "one:" not in str(found), "names of machines are the log's"
    held_clock.step(LIVE_S + 1)
    assert "keys" not in node.ready()["failing"], "a node that is gone is no measure"


@pytest.mark.parametrize("change", [made_anew, other_refresh_keys, other_sealing_key])
def test_G16_keys_that_were_replaced_are_said(
    node: NodeUnderTest, held_clock: Any, caplog: pytest.LogCaptureFixture, change: Callable[[NodeUnderTest], None]
) -> None:
    caplog.set_level(logging.INFO)
    node.ready()
    rotated(node)
    held_clock.step(10)
    node.ready()
    assert "keys_changed" not in caplog.text
    change(node)
    node.app = opened(deploy(node.settings), "public")
    held_clock.step(10)
    node.ready()
    assert '"event":"keys_changed"' in caplog.text


@pytest.mark.parametrize("name", ["tokens", "refresh", "sealing"])
def test_G16_no_process_starts_without_its_keys_nor_makes_them(node: NodeUnderTest, name: str) -> None:
    path = node.files[name]
    (shutil.rmtree if path.is_dir() else Path.unlink)(path)
    with pytest.raises((KeysUnusable, BadSealingKey)):
        deploy(node.settings)
    assert not path.exists()


def test_H21_a_key_that_is_not_in_use_yet_leaves_time_to_copy_it(
    node: NodeUnderTest, build_node: Callable[[str], NodeUnderTest], held_clock: Any
) -> None:
    two = build_node("two")
    rotated(two)
    two.ready()
    held_clock.step(1)
    assert not node.ready()["failing"]


def test_G12_clocks_that_differ_are_said(
    node: NodeUnderTest,
    build_node: Callable[[str], NodeUnderTest],
    held_clock: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    two = build_node("two")
    held_clock.step(90)
    assert not two.ready()["degraded"]
    held_clock.step(-90)
    assert node.ready()["degraded"] == ["clock"]
    assert not node.ready()["failing"]
    assert any("90 s ahead" in line for line in node.examined(held_clock.instant))
    assert "clock_stepped_back" not in caplog.text
    two.ready()
    assert '"event":"clock_stepped_back"' in caplog.text
    assert '"seconds":90' in caplog.text


def test_H21_ready_is_worked_out_once_in_a_second(node: NodeUnderTest, held_clock: Any) -> None:
    asked: list[int] = []
    node.deployment.checks = lambda: {"part": lambda: asked.append(1)}  # type: ignore[method-assign]
    for _ in range(5):
        node.ready()
    held_clock.step(1)
    node.ready()
    assert len(asked) == 2


def test_H21_keys_that_are_gone_are_no_fault(node: NodeUnderTest) -> None:
    shutil.rmtree(node.files["tokens"])
    found = node.ready()
    assert "tokens" not in str(found)
    assert "keys" in found["failing"] or "database" in found["failing"]
