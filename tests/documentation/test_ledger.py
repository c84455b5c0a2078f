"""docs/ledger.md and its neighbours cite files and tests: each must be there."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")])
LEDGER = ROOT / "docs/ledger.md"

CITED = re.compile(
    r"`((?:consent_server|tests|config|templates|docs|scripts|requirements|bench)/[\w./-]*)(?:::(\w+))?`"
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def citations(page: Path) -> Iterator[tuple[str, str]]:
    yield from CITED.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_cites_is_there(page: Path) -> None:
    missing = []
    for path, test in citations(page):
        file = ROOT / path
        if not file.exists() or (test and test not in functions(file)):
            missing.append(f"{path}::{test}" if test else path)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_where_a_page_leads_is_there(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert missing == []


def rows() -> list[list[str]]:
    """Every row of the ledger's tables of clauses: clause, what it asks, where, test, state."""
    found = []
    for line in LEDGER.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and cells[0] not in {"Item", "Subject"} and "---" not in line:
            found.append(cells)
    return found


def test_every_clause_that_is_met_says_where_and_by_which_test() -> None:
    assert len(rows()) > 200
    for clause, asks, where, test, state in rows():
        word = re.match(r"met|by setting|partly|not met|n/a", state)
        assert word is not None, (clause, asks, state)
        if word[0] in {"met", "by setting", "partly"}:
            assert "`consent_server/" in where or "`config/" in where, (clause, asks)
            assert "::test_" in test, (clause, asks)


def test_what_is_partly_met_is_explained_at_the_end() -> None:
    text = LEDGER.read_text(encoding="utf-8")
    explained = text[text.index("## What is not met") :]
    assert len(re.findall(r"^\| (?!What|---)", explained, re.MULTILINE)) >= sum(
        state.startswith(("partly", "not met", "by setting")) for *_, state in rows()
    )


@pytest.mark.parametrize(
    "section",
    [
        *("5.3.2.1", "5.3.2.2", "5.3.3", "5.3.4", "5.4", "OAuth with Member Identity Certificates"),
        *("Member Identity Digital Certificates", "Permission Records", "Withdrawal of Permission", "Message Delivery"),
        *("Baseline TLS Configuration", "Directory's allowlist", "heartbeat", "Data Catalog Records", "IB1: Directory"),
        *("guide for Energy Data Providers", "guide for Carbon Accounting Providers"),
    ],
)
def test_each_specification_has_its_table(section: str) -> None:
    headings = re.findall(r"^## (.*)", LEDGER.read_text(encoding="utf-8"), re.MULTILINE)
    assert any(section in heading for heading in headings)
