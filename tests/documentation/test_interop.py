"""docs/interop.md has a row for each deployed form that the code accepts by name, and each row cites a test."""

import re
from pathlib import Path

from consent_server.outbound.upstream import PERMISSIONS_WRAPPER
from consent_server.scheme.provenance.deployed import NAMED_ONLY, PERMISSION_LICENCES, transfer_forms

PAGE = Path(__file__).resolve().parents[2] / "docs/interop.md"
FORMS = "## Deployed forms that are accepted"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = PAGE.read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1:]]


def test_each_form_that_has_a_name_is_a_row_and_no_other_name_is() -> None:
    transfer = transfer_forms(
        application="a", license="l", address="https://x", parameters={"from": "2026-03-12T00:00:00Z"}
    )
    accepted = {form.name for form in transfer} | {*NAMED_ONLY, PERMISSION_LICENCES, PERMISSIONS_WRAPPER}
    written = {found[1] for cells in rows(FORMS) if (found := re.match(r"`([a-z]+_[a-z_]+)`:", cells[0]))}
    assert written == accepted


def test_each_row_says_who_sends_it_where_which_test_and_until_when() -> None:
    for cells in rows(FORMS):
        assert len(cells) == 5, cells
        assert all(cells), cells
        assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`", cells[3]), cells
