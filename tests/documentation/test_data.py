"""docs/data.md has every column of every table, once, with the rule that is applied to it."""

import re
from pathlib import Path

import pytest

from consent_server.store import tables
from consent_server.store.database import db
from consent_server.store.retention import RULES

ROOT = Path(__file__).resolve().parents[2]
assert tables  # which declares what `db.metadata` has

_ROW = re.compile(r"^\| `(\w+)` \| ([`\w ]+) \| (yes|no) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ROWS = _ROW.findall((ROOT / "docs/data.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("table", sorted(db.metadata.tables))
def test_every_column_is_in_one_row(table: str) -> None:
    written = [column for name, columns, *_ in ROWS if name == table for column in re.findall(r"`(\w+)`", columns)]
    assert sorted(written) == sorted(db.metadata.tables[table].c.keys())


def test_no_row_is_of_a_table_that_is_not_there() -> None:
    assert {row[0] for row in ROWS} == set(db.metadata.tables)


@pytest.mark.parametrize(
    ("table", "personal", "until"), sorted({(name, yes, until) for name, _, yes, _, until in ROWS})
)
def test_the_page_names_the_rule_that_is_applied(table: str, personal: str, until: str) -> None:
    rule = RULES[table].name
    if rule in {"register", "none"}:
        assert not until.startswith("`"), f"{table} has no setting"
        assert (personal == "yes") == (rule == "register")
    else:
        assert until.replace(";", ",").split(",")[0] == f"`{rule}`"
