"""The states of keys over time, to the second; the commands themselves are in tests/cli."""

import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from consent_server import store
from consent_server.parties.operator.keyring import LONGEST_SIGNED_S, KeysUnusable, held, make_missing, retire, rotate
from consent_server.store import audit_events
from consent_server.tokens import refresh_token
from consent_server.tokens.keys import PUBLISHED_BEFORE_USE, SigningKeys
from consent_server.tokens.refresh_token import KEPT_FOR, RefreshKeys
from consent_server.tokens.sealing import Sealer
from tests.database import new_database

NOW = 1773307800


@pytest.fixture
def app(database_url: str, held_clock: Any) -> Iterator[Flask]:
    with new_database(database_url) as app:
        yield app


@pytest.fixture
def settings(tmp_path: Path, held_clock: Any) -> Any:
    """Those of a deployment whose keys are made."""
    folder = tmp_path / "keys"
    keys = SimpleNamespace(tokens=folder / "tokens", refresh=folder / "refresh", sealing=folder / "sealing.key")
    settings: Any = SimpleNamespace(keys=keys)
    make_missing(settings, NOW)
    return settings


def states(settings: Any, kind: str, at: int) -> list[str]:
    return [each.state for each in held(settings, at) if each.kind == kind]


def named(settings: Any, kind: str, at: int = NOW) -> list[str]:
    return [each.name for each in held(settings, at) if each.kind == kind]


def test_keys_are_made_once_and_for_their_owner_alone(settings: Any) -> None:
    keys = settings.keys
    files = [*keys.tokens.iterdir(), *keys.refresh.iterdir(), keys.sealing]
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    before = {path: path.read_bytes() for path in files}
    assert all("already" in line for line in make_missing(settings, NOW + 60))
    assert {
        path: path.read_bytes() for path in [*keys.tokens.iterdir(), *keys.refresh.iterdir(), keys.sealing]
    } == before


@pytest.mark.parametrize("lost", ["tokens", "refresh", "sealing"])
def test_what_is_missing_is_made_and_the_rest_left_alone(settings: Any, lost: str) -> None:
    path = getattr(settings.keys, lost)
    for each in [path] if path.is_file() else path.iterdir():
        each.unlink()
    said = make_missing(settings, NOW)
    assert sum("already" in line for line in said) == 2
    assert sum(": made" in line for line in said) == 1
    Sealer.from_file(settings.keys.sealing)
    assert states(settings, "signing", NOW) == states(settings, "refresh", NOW) == ["in use"]


def test_a_deployment_without_keys_is_refused(tmp_path: Path) -> None:
    nowhere: Any = SimpleNamespace(keys=SimpleNamespace(tokens=tmp_path / "a", refresh=tmp_path / "b"))
    for act in (
        lambda: held(nowhere, NOW),
        lambda: rotate(nowhere, "signing", NOW),
        lambda: rotate(nowhere, "refresh", NOW),
    ):
        with pytest.raises(KeysUnusable):
            act()
    assert not (tmp_path / "b").exists(), "a wrong directory is not filled"


@pytest.mark.parametrize("kind", ["signing", "refresh"])
def test_a_rotated_key_is_used_when_everyone_can_have_seen_it(app: Flask, settings: Any, kind: Any) -> None:
    made = rotate(settings, kind, NOW)
    assert (made.state, made.used_from, made.until) == ("next", NOW + PUBLISHED_BEFORE_USE, None)
    assert states(settings, kind, made.used_from - 1) == ["in use", "next"]
    assert states(settings, kind, made.used_from) == ["old", "in use"]
    assert "next" in str(made)


@pytest.mark.parametrize(("kind", "kept_s"), [("signing", LONGEST_SIGNED_S), ("refresh", KEPT_FOR)])
def test_an_old_key_is_retired_when_nothing_rests_on_it(app: Flask, settings: Any, kind: Any, kept_s: int) -> None:
    (old,) = named(settings, kind)
    made = rotate(settings, kind, NOW)
    until = made.used_from + kept_s
    assert [each.until for each in held(settings, NOW) if each.kind == kind] == [until, None]
    with pytest.raises(KeysUnusable):
        retire(settings, kind, old, until - 1)
    retire(settings, kind, old, until)
    assert named(settings, kind) == [made.name]


def test_a_running_process_sees_each_change(app: Flask, settings: Any, held_clock: Any) -> None:
    signing, refresh = SigningKeys(settings.keys.tokens), RefreshKeys(settings.keys.refresh)
    first, _ = signing.current()
    token = refresh_token.text(refresh, *reversed(refresh_token.make(refresh)))
    made = rotate(settings, "signing", NOW)
    rotate(settings, "refresh", NOW)
    assert (signing.current()[0], refresh.current()) == (first, 1)
    assert signing.public(made.name) is not None, "published before it is used"
    held_clock.step(PUBLISHED_BEFORE_USE)
    assert (signing.current()[0], refresh.current()) == (made.name, 2)
    assert refresh_token.recognise(refresh, token) is not None, "an older version's tokens stay good"
    retire(settings, "signing", first, held_clock.instant, at_once=True)
    assert signing.public(first) is None


def test_what_leaked_goes_at_once_but_never_the_last(app: Flask, settings: Any) -> None:
    (first,) = named(settings, "signing")
    with pytest.raises(KeysUnusable, match="only key"):
        retire(settings, "signing", first, NOW, at_once=True)
    made = rotate(settings, "signing", NOW)
    with pytest.raises(KeysUnusable, match="rotate first"):
        retire(settings, "signing", first, NOW)
    retire(settings, "signing", first, NOW, at_once=True)
    assert SigningKeys(settings.keys.tokens).current()[0] == made.name, "used early rather than none"


@pytest.mark.parametrize(("kind", "name"), [("signing", "unknown"), ("refresh", "7"), ("refresh", "../1")])
def test_an_unknown_key(app: Flask, settings: Any, kind: Any, name: str) -> None:
    before = held(settings, NOW)
    with pytest.raises(KeysUnusable):
        retire(settings, kind, name, NOW)
    assert held(settings, NOW) == before


def test_each_change_is_kept_and_no_key_with_it(app: Flask, settings: Any) -> None:
    (old,) = named(settings, "signing")
    secret = next(settings.keys.refresh.iterdir()).read_text().strip()
    made = rotate(settings, "signing", NOW)
    rotate(settings, "refresh", NOW)
    retire(settings, "signing", old, NOW, at_once=True)
    with store.reading() as c:
        rows = list(audit_events.newest(c))
    said = {(row.fields["key"], str(row.fields["change"]).partition(",")[0]) for row in rows}
    assert said == {
        (f"signing {made.name}", "published"),
        ("refresh 2", "published"),
        (f"signing {old}", "retired at once"),
    }
    assert secret not in str([row.fields for row in rows])


def test_a_refused_change_is_not_kept(app: Flask, settings: Any) -> None:
    with pytest.raises(KeysUnusable):
        retire(settings, "refresh", "1", NOW)
    with store.reading() as c:
        assert list(audit_events.newest(c)) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_that_is_down_does_not_keep_a_leaked_key(
    app: Flask, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (old,) = named(settings, "signing")
    rotate(settings, "signing", NOW)

    def down() -> Any:
        raise store.StoreUnavailable("gone")

    monkeypatch.setattr(store, "writing", down)
    retire(settings, "signing", old, NOW, at_once=True)
    assert old not in named(settings, "signing")
    assert "only this log records it" in caplog.text
