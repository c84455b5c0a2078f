"""`factors list` and `factors load`: a year's set from the government's flat file, and what is refused in one."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from click.testing import Result

from consent_server import clock, store
from consent_server.scheme import instant
from consent_server.settings import load
from consent_server.store.database import opened
from consent_server.store.factors import sets

Command = Callable[..., Result]
Row = list[str | float]
HEADER: Row = [
    *("ID", "Scope", "Level 1", "Level 2", "Level 3", "Level 4", "Column Text", "UOM", "GHG/Unit"),
    "GHG Conversion Factor 2027",
]
NOW = instant.parse("2027-07-01T00:00:00Z")
PUBLISHED = "2027-06-10T09:30:00+01:00"


def factor(level_3: str, uom: str, value: str | float, unit: str = "kg CO2e", scope: str = "Scope 1") -> Row:
    return ["1_1", scope, "Fuels", "Gaseous fuels", level_3, "", "", uom, unit, value]


M3 = factor("Natural gas", "cubic metres", 2.0312)
KWH = factor("Natural gas", "kWh (Gross CV)", 0.18254)
MINERAL = factor("Natural gas (100% mineral blend)", "cubic metres", 2.0513)
#: Beside what is read: other units, gases and scopes of the same gas.
OTHERS = [
    factor("Natural gas", "kWh (Net CV)", 0.20224),
    factor("Natural gas", "cubic metres", 2.027, "kg CO2e of CO2 per unit"),
    factor("Natural gas", "cubic metres", 0.33, scope="Scope 3"),
    factor("Butane", "cubic metres", ""),
]
GOOD: list[Row] = [
    ["UK Government GHG Conversion Factors for Company Reporting"],
    ["Year", 2027],
    [],
    HEADER,
    *OTHERS,
    M3,
    KWH,
    MINERAL,
]


def as_csv(rows: list[Row]) -> bytes:
    return "\r\n".join(",".join(f'"{cell}"' for cell in row) for row in rows).encode("utf-8-sig")


def as_xlsx(rows: list[Row], extra: str = "") -> bytes:
    """The parts of an xlsx file that hold cells: texts are shared, one is inline, empty cells are left out."""
    texts = sorted({cell for row in rows for cell in row if isinstance(cell, str) and cell})
    lines = []
    for number, row in enumerate(rows, 1):
        cells = []
        for place, cell in enumerate(row):
            where = f'r="{chr(65 + place)}{number}"'
            if isinstance(cell, float | int):
                cells.append(f"<c {where}><v>{cell}</v></c>")
            elif cell == "Scope":
                cells.append(f'<c {where} t="inlineStr"><is><t>{cell}</t></is></c>')
            elif cell:
                cells.append(f'<c {where} t="s"><v>{texts.index(cell)}</v></c>')
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    shared = "".join(f"<si><r><t>{escape(text[:2])}</t></r><r><t>{escape(text[2:])}</t></r></si>" for text in texts)
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", f"{extra}<sst {main}>{shared}</sst>")
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet {main}><sheetData/></worksheet>")
        archive.writestr(
            "xl/worksheets/sheet2.xml", f"<worksheet {main}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        )
    return body.getvalue()


@pytest.fixture
def run(command: Command, deployment: Path) -> Callable[..., Result]:
    def factors(what: str, body: bytes | None = None, *more: object, at: int = NOW) -> Result:
        clock.step_by(int)
        clock.write_offset(deployment.parent / "clock", at - clock.now())
        path = deployment.parent / "flat"
        if body is not None:
            path.write_bytes(body)
        return command("factors", what, "--config", deployment, *([] if body is None else [path]), *more)

    return factors


def kept(deployment: Path) -> dict[int, Any]:
    with opened(load(deployment).database), store.reading() as c:
        return {each.year: each for each in sets(c)}


@pytest.mark.parametrize("form", [as_csv, as_xlsx], ids=["csv", "xlsx"])
def test_a_years_set_is_loaded_and_listed(run: Callable[..., Result], deployment: Path, form: Any) -> None:
    said = run("load", form(GOOD), "--published", PUBLISHED, "--dry-run")
    assert said.exit_code == 0
    assert "from 2027-06-10T08:30:00Z: 2026 (2.02633 kgCO2e/m3) -> 2027 (2.0312 kgCO2e/m3)" in said.output
    assert 2027 not in kept(deployment)
    assert run("load", form(GOOD), "--published", PUBLISHED).exit_code == 0
    found = kept(deployment)[2027]
    assert (found.kg_per_m3, found.kg_per_kwh, found.mineral_kg_per_m3) == (2.0312, 0.18254, 2.0513)
    assert found.published == instant.parse(PUBLISHED)
    listed = run("list")
    assert listed.exit_code == 0
    for part in (
        "rule: latest-published",
        "2026  from 2026-06-11T08:30:00Z to 2027-06-10T08:30:00Z",
        found.file_sha256,
    ):
        assert part in listed.output
    # A revised file of that year needs no date, and says what it changes.
    revised = [*GOOD[:-3], factor("Natural gas", "cubic metres", 2.0313), *GOOD[-2:]]
    assert "2027 (2.0312 kgCO2e/m3) -> 2027 (2.0313 kgCO2e/m3)" in run("load", form(revised)).output
    assert "no half-hour takes another factor" in run("load", form(revised)).output


def test_an_overdue_set_is_said(run: Callable[..., Result]) -> None:
    assert run("list").exit_code == 0
    late = run("list", at=instant.parse("2027-09-01T00:00:00Z"))
    assert (late.exit_code, "the next set is overdue" in late.output) == (1, True)


BAD: dict[str, tuple[list[Row] | bytes, str]] = {
    "a value in grams": ([HEADER, factor("Natural gas", "cubic metres", 2031.2), KWH], "rows 2 and 3: 2027: 2031.2 kg"),
    "no number": ([HEADER, factor("Natural gas", "cubic metres", "n/a"), KWH], "row 2: the factor is no number"),
    "an empty cell": ([HEADER, factor("Natural gas", "cubic metres", ""), KWH], "row 2: the factor is no number"),
    "not a number": ([HEADER, factor("Natural gas", "cubic metres", "nan"), KWH], "rows 2 and 3: 2027: nan"),
    "no gross calorific value": (
        [HEADER, M3, OTHERS[0]],
        "no row is Scope 1 / Fuels / Gaseous fuels / Natural gas / kWh",
    ),
    "a row twice": ([HEADER, M3, KWH, M3], "rows 2, 4: Scope 1 / Fuels"),
    "no header": ([M3, KWH], "no row is a header"),
    "two years": ([[*HEADER, "GHG Conversion Factor 2026"], M3, KWH], "row 1: the header must have each column once"),
    "a year is missing": ([[*HEADER[:-1], "GHG Conversion Factor 2028"], M3, KWH], "2027: the set is missing"),
    "another year than its date": (
        [[*HEADER[:-1], "GHG Conversion Factor 2029"], M3, KWH],
        "published in its own year",
    ),
    "a picture": (b"\x89PNG\r\n", "neither xlsx nor CSV"),
    "an archive of something else": (b"PK\x03\x04 and no more", "no xlsx file"),
    "entities": (as_xlsx(GOOD, '<!DOCTYPE x [<!ENTITY a "b">]>'), "no plain XML"),
    "nothing": (b"", "no row is a header"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_in_a_file(run: Callable[..., Result], deployment: Path, name: str) -> None:
    given, said = BAD[name]
    published = "2028-06-08T09:30:00+01:00" if "2028" in str(given) else PUBLISHED
    result = run("load", given if isinstance(given, bytes) else as_csv(given), "--published", published)
    assert (result.exit_code, said in result.output) == (1, True), result.output
    assert kept(deployment).keys() == {2024, 2025, 2026}


def test_a_new_year_needs_its_date(run: Callable[..., Result]) -> None:
    assert "say when it was published" in run("load", as_csv(GOOD)).output
    assert run("load", as_csv(GOOD), "--published", "2027-06-10").exit_code == 2
