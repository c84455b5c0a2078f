"""`consent-server keys`: published before use, retired only when nothing valid rests on a key."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from consent_server import clock
from consent_server.parties.operator.keyring import LONGEST_SIGNED_S
from consent_server.signing.key import load
from consent_server.tokens.keys import PUBLISHED_BEFORE_USE, thumbprint
from consent_server.tokens.refresh_token import KEPT_FOR
from tests.soft_hsm import Hsm

Run = Callable[..., Result]


@pytest.fixture
def keys(command: Run, deployment: Path) -> Run:
    return lambda name, *arguments: command("keys", name, "--config", deployment, *arguments)


@pytest.fixture
def step(deployment: Path) -> Callable[[int], None]:
    return lambda seconds: clock.write_offset(deployment.parent / "clock", seconds)


def listed(keys: Run) -> dict[str, list[tuple[str, str]]]:
    """kind -> (name, state) of each key, in the order of use."""
    found: dict[str, list[tuple[str, str]]] = {"signing": [], "refresh": []}
    for line in keys("list").output.splitlines():
        kind, name, state, *_ = line.split("\t")
        found[kind].append((name, state))
    return found


def states(keys: Run, kind: str) -> list[str]:
    return [state for _, state in listed(keys)[kind]]


def test_made_once(keys: Run) -> None:
    before = listed(keys)
    assert [state for kind in before.values() for _, state in kind] == ["in use", "in use"]
    assert keys("make").output.count("already") == 3
    assert listed(keys) == before


@pytest.mark.parametrize("kind", ["signing", "refresh"])
def test_a_rotated_key_is_published_first_and_used_later(keys: Run, step: Callable[[int], None], kind: str) -> None:
    done = keys("rotate", kind)
    assert done.exit_code == 0
    assert states(keys, kind) == ["in use", "next"]
    step(PUBLISHED_BEFORE_USE)
    assert states(keys, kind) == ["old", "in use"]


def test_a_signing_key_is_retired_when_its_last_token_has_expired(keys: Run, step: Callable[[int], None]) -> None:
    old = listed(keys)["signing"][0][0]
    in_use = keys("retire", "--yes", "signing", old)
    assert in_use.exit_code == 1
    assert "rotate first" in in_use.output
    keys("rotate", "signing")
    step(PUBLISHED_BEFORE_USE + LONGEST_SIGNED_S - 30)
    early = keys("retire", "--yes", "signing", old)
    assert early.exit_code == 1
    assert "wait" in early.output
    step(PUBLISHED_BEFORE_USE + LONGEST_SIGNED_S + 30)
    tried = keys("retire", "--dry-run", "signing", old)
    assert (tried.exit_code, tried.output.splitlines()[-1]) == (0, "Nothing was changed.")
    assert keys("retire", "signing", old).exit_code == 1, "nobody answers"
    assert len(listed(keys)["signing"]) == 2
    assert keys("retire", "--yes", "signing", old).exit_code == 0
    assert states(keys, "signing") == ["in use"]


def test_a_key_that_leaked_is_retired_at_once(keys: Run) -> None:
    old = listed(keys)["signing"][0][0]
    only = keys("retire", "--yes", "signing", old, "--at-once")
    assert only.exit_code == 1
    assert "rotate first" in only.output
    keys("rotate", "signing")
    assert keys("retire", "--yes", "signing", old, "--at-once").exit_code == 0
    assert keys("retire", "--yes", "refresh", "1", "--at-once").exit_code == 2


def test_a_key_not_yet_in_use_may_be_taken_back(keys: Run) -> None:
    keys("rotate", "signing")
    (_, (upcoming, _)) = listed(keys)["signing"]
    assert keys("retire", "--yes", "signing", upcoming).exit_code == 0
    assert states(keys, "signing") == ["in use"]


def test_a_key_in_an_hsm_stays_there_and_is_named_to_be_destroyed(keys: Run, hsm: Hsm) -> None:
    keys("rotate", "signing", "--hsm", hsm.uri())
    (_, (upcoming, _)) = listed(keys)["signing"]
    retired = keys("retire", "--yes", "signing", upcoming).output
    uri = re.search(r"in the HSM: .*(pkcs11:\S+)", retired)
    assert uri is not None, retired
    assert thumbprint(load(uri[1].encode()).public_key()) == upcoming


def test_a_refresh_version_is_kept_for_25_months(keys: Run, deployment: Path, step: Callable[[int], None]) -> None:
    newest = keys("retire", "--yes", "refresh", "1")
    assert newest.exit_code == 1
    assert "rotate first" in newest.output
    keys("rotate", "refresh")
    step(PUBLISHED_BEFORE_USE + KEPT_FOR - 60)
    kept = keys("retire", "--yes", "refresh", "1")
    assert kept.exit_code == 1
    assert "kept until" in kept.output
    step(PUBLISHED_BEFORE_USE + KEPT_FOR + 60)
    assert keys("retire", "--yes", "refresh", "1").exit_code == 0
    assert listed(keys)["refresh"] == [("2", "in use")]


@pytest.mark.parametrize(
    "arguments",
    [("signing", "unknown"), ("signing", "-Begins-with_a-dash"), ("signing", "--two"), ("refresh", "7")],
    ids=["signing", "dash", "two-dashes", "refresh"],
)
def test_an_unknown_key_is_not_retired(keys: Run, arguments: tuple[str, str]) -> None:
    done = keys("retire", "--yes", *arguments)
    assert done.exit_code == 1
    assert "no " in done.output


def test_every_change_is_audited(keys: Run, command: Run, deployment: Path) -> None:
    old = listed(keys)["signing"][0][0]
    keys("rotate", "signing")
    keys("rotate", "refresh")
    keys("retire", "--yes", "signing", old, "--at-once")
    lines = command("audit", "tail", "--config", deployment, "--event", "keys_changed").output.splitlines()
    changes = [(line["key"], line["change"].split(",")[0]) for line in map(json.loads, lines)]
    assert [change for _, change in changes] == ["published", "published", "retired at once"]
    assert changes[1][0] == "refresh 2"
    assert changes[2][0] == f"signing {old}"


def test_a_key_is_retired_also_while_the_database_is_down(keys: Run, deployment: Path) -> None:
    old = listed(keys)["signing"][0][0]
    keys("rotate", "signing")
    (deployment.parent / "store.db").unlink()
    assert keys("retire", "--yes", "signing", old, "--at-once").exit_code == 0
    assert [name for name, _ in listed(keys)["signing"]] != [old]


def test_no_keys_is_one_sentence(keys: Run, deployment: Path) -> None:
    for path in (deployment.parent / "keys" / "tokens").glob("*.pem"):
        path.unlink()
    done = keys("list")
    assert done.exit_code == 1
    assert "make them" in done.output
