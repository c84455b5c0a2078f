"""docs/refusals.md has every row of the matrix: in words, and with a test that is there or the reason why there is none."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs/refusals.md"
#: How many rows each section has.
SECTIONS = {"A": 18, "B": 22, "C": 25, "D": 15, "E": 15, "F": 9, "G": 16, "H": 24}
IDS = [f"{section}{number:02}" for section, count in SECTIONS.items() for number in range(1, count + 1)]
CITED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def rows() -> dict[str, tuple[str, list[tuple[str, str]], str]]:
    """Row -> (what happens, the tests that it names, its state)."""
    found = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"[A-H]\d\d", cells[0]):
            assert cells[0] not in found, f"{cells[0]} stands twice"
            found[cells[0]] = (cells[1], CITED.findall(cells[2]), cells[3])
    return found


def test_the_ids_are_the_matrixs(shared_documents: Path) -> None:
    matrix = (shared_documents / "security-matrix.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| ([A-H]\d\d) \|", matrix, re.MULTILINE) == IDS
    assert len(IDS) == 144


def test_every_row_of_the_matrix_has_its_line() -> None:
    assert sorted(rows()) == IDS


@pytest.mark.parametrize("row", IDS)
def test_a_row_says_in_words_what_happens(row: str) -> None:
    what = rows()[row][0]
    assert re.fullmatch(r"[A-Z].{20,160}\.", what)
    assert [other for other, (same, _, _) in rows().items() if same == what] == [row]


def test_the_words_are_our_own(shared_documents: Path) -> None:
    matrix = (shared_documents / "security-matrix.md").read_text(encoding="utf-8")
    assert not [row for row, (what, _, _) in rows().items() if what.rstrip(".") in matrix]


@pytest.mark.parametrize("row", IDS)
def test_a_row_names_tests_that_are_there_or_says_why_not(row: str) -> None:
    _, tests, state = rows()[row]
    assert re.match(r"held|(partly|not yet): \w", state), state
    assert bool(tests) == (not state.startswith("not yet")), "a test, or the reason why there is none"
    gone = [f"{file}::{name}" for file, name in tests if not (ROOT / file).exists() or name not in functions(file)]
    assert not gone


@pytest.mark.parametrize("row", [row for row in IDS if row[0] in "ABCD"])
def test_a_row_of_the_protocol_has_tests_under_its_own_id(row: str) -> None:
    """In a test's name, or in the names of its cases; D13 alone cannot be driven from outside."""
    _, tests, _ = rows()[row]
    cited = [(file, name) for file, name in tests if file.startswith("tests/refusals/") or row == "D13"]
    assert any(row in name or f'"{row}-' in (ROOT / file).read_text(encoding="utf-8") for file, name in cited)
