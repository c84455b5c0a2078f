"""`provenance show` and `provenance verify`: a record in a file, and what a file may be instead."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import Result

from consent_server.scheme.provenance.steps import cap_record
from tests.scheme.provenance.test_steps import CAP_FSP, FRAMEWORK, FSP_GRANT, cap, emissions_release
from tests.scheme.signing import SigningAuthority, signing_authority

Run = Callable[..., Result]


@pytest.fixture
def run(command: Callable[..., Result], tmp_path: Path) -> Run:
    def provenance(what: str, content: object, *more: object, authority: SigningAuthority | None = None) -> Result:
        path, root = tmp_path / "record.json", tmp_path / "root.pem"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        root.write_bytes((authority or signing_authority()).root_pem)
        return command("provenance", what, path, "--root", root, *more)

    return provenance


def record(**changed: Any) -> dict[str, Any]:
    return json.loads(json.dumps(cap_record(emissions_release(FSP_GRANT, CAP_FSP), cap()))) | changed


def spoilt() -> dict[str, Any]:
    """A record with the signature of a part of it in place of its own."""
    changed = record()
    changed["steps"][-1][3] = changed["steps"][0][-1][3]
    return changed


def test_a_good_record_and_its_picture(run: Run, tmp_path: Path) -> None:
    graph = tmp_path / "chain.svg"
    shown = run("show", {"data": [], "provenance": record()}, "--graph", graph)
    assert shown.exit_code == 0
    assert shown.output.splitlines()[1].startswith("transfer of emissions-report 2026-03-12 to ")
    assert ElementTree.parse(graph).getroot().tag.endswith("svg")
    verified = run("verify", record(), "--trust-framework", FRAMEWORK)
    assert (verified.exit_code, verified.output) == (0, "21 steps hold\n")


@pytest.mark.parametrize("what", ["show", "verify"])
@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        (record(origins=[]), (), "does not hold: origins must list"),
        (spoilt(), (), "does not hold: a signature does not fit"),
        (record(), ("--trust-framework", "https://elsewhere.example/trust-framework"), "this trust framework's URL"),
        ([], (), "a record is a JSON object"),
        (b"{", (), "is not JSON"),
        (b"", (), "is not JSON"),
    ],
    ids=["origins", "signature", "trust framework", "a list", "no JSON", "nothing"],
)
def test_what_does_not_hold(run: Run, what: str, content: Any, more: tuple[str, ...], said: str) -> None:
    result = run(what, content, *more)
    assert (result.exit_code, said in result.output) == (1, True), result.output


def test_another_root(run: Run) -> None:
    assert run("verify", record(), authority=SigningAuthority("Another")).exit_code == 1


def test_what_is_signed_and_not_allowed_ends_with_1_after_the_tree(run: Run) -> None:
    late = cap_record(emissions_release(replace(FSP_GRANT, license="https://registry.example/another"), CAP_FSP), cap())
    shown = run("show", late)
    assert shown.exit_code == 1
    assert "transfer of emissions-report" in shown.output
    assert "does not hold: transfer" in shown.output


def test_without_a_root_nothing_is_verified(command: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record()), encoding="utf-8")
    assert command("provenance", "verify", path).exit_code == 2
