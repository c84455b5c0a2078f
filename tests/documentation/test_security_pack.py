"""docs/security: each threat is met by rows of docs/refusals.md, each row meets a threat, and no control is left out."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The headings of Microsoft's STRIDE, and with which letter their threats are numbered.
STRIDE = {
    "Spoofing": "S",
    "Tampering": "T",
    "Repudiation": "R",
    "Information disclosure": "I",
    "Denial of service": "D",
    "Elevation of privilege": "E",
}


def text(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def sections() -> dict[str, str]:
    """The section's name in links -> the rows of docs/refusals.md that stand in it."""
    found: dict[str, str] = {}
    for part in text("refusals.md").split("\n## ")[1:]:
        heading, _, rest = part.partition("\n")
        name = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        found |= dict.fromkeys(re.findall(r"^\| ([A-H]\d\d) \|", rest, re.MULTILINE), name)
    return found


def test_every_threat_is_met_by_rows_that_exist_and_every_row_meets_one() -> None:
    page = text("security/threat-model.md")
    linked = re.findall(r"\[([A-H]\d\d)\]\(\.\./refusals\.md#([\w-]+)\)", page)
    assert dict(linked) == sections()
    assert set(linked) == set(dict(linked).items()), "a row is linked to where it does not stand"


def test_threats_stand_under_their_letter_and_name_their_rows() -> None:
    parts = text("security/threat-model.md").partition("## Threats, by STRIDE")[2].split("\n### ")[1:]
    assert [part.partition("\n")[0] for part in parts] == list(STRIDE)
    for part, letter in zip(parts, STRIDE.values(), strict=True):
        rows = [line.strip("| ").split(" | ") for line in part.splitlines() if re.match(rf"\| {letter}\d", line)]
        assert [row[0] for row in rows] == [f"{letter}{number}" for number in range(1, len(rows) + 1)]
        assert all(len(row) == 4 and "refusals.md#" in row[3] for row in rows)
        assert len(rows) == part.count("\n| ") - 1, "each row but the heading is a threat of this letter"


def test_the_boundaries_of_the_picture_are_those_of_the_table() -> None:
    drawn = re.findall(r"<text [^>]*>(\d)</text>", text("security/boundaries.svg"))
    told = text("security/threat-model.md").partition("## Boundaries of trust")[2].partition("\n## ")[0]
    assert drawn == re.findall(r"^\| (\d) \|", told, re.MULTILINE)
    assert "://" not in text("security/boundaries.svg").replace("http://www.w3.org/2000/svg", "")


def test_every_control_of_annex_a_stands_once_with_what_its_operator_must() -> None:
    """ISO/IEC 27001:2022: 37 organizational controls, 8 of people, 14 physical and 34 technological ones."""
    rows = re.findall(r"^\| (\d\.\d+) \| (.+?) \| (.+?) \| (.+) \|$", text("security/annex-a.md"), re.MULTILINE)
    sizes = {5: 37, 6: 8, 7: 14, 8: 34}
    assert [row[0] for row in rows] == [f"{theme}.{n}" for theme, size in sizes.items() for n in range(1, size + 1)]
    assert len({title for _, title, _, _ in rows}) == 93
    assert all(must != "—" for _, _, _, must in rows)
