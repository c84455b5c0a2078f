"""The table for PCAF reporting: verified figures alone, and no cell that a spreadsheet could take for a formula."""

import csv
import io
import json
from dataclasses import replace

import pytest

from consent_server.bank.held import HeldPermission
from consent_server.bank.table import COLUMNS, as_csv, cell
from consent_server.bank.verified import verified
from tests.bank.answers import AT, answer, call, month


def held(reference: str = "Bakery") -> HeldPermission:
    data = [month(number, fuel) for number in range(11) for fuel in ("gas", "electricity")]
    emissions = verified(answer(data, fuels=("electricity", "gas")), call())
    return HeldPermission(
        "1", "i", "https://m.example", "l", reference, AT, b"", (), "account", AT + 86400, b"", emissions
    )


def rows(*permissions: HeldPermission) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(permissions, AT))))


def test_a_row_for_each_fuel() -> None:
    electricity, gas = rows(held())
    assert tuple(electricity) == COLUMNS
    assert [electricity[name] for name in ("fuel", "scope", "tonnes", "gas", "score", "option", "months")] == [
        *("electricity", "2", "13.579500", "CO2", "2", "2a", "11")
    ]
    assert (gas["scope"], gas["gas"], gas["from"], gas["to"]) == ("1", "CO2e", "2025-03-01", "2026-03-01")
    assert (gas["months_missing"], gas["permission_ends"]) == ("2026-02", "2026-03-13")
    assert gas["factors"] == "2025-03-01 to 2026-03-01: https://factors.example"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"expires": AT}, id="expired"),
        pytest.param({"emissions": None, "fault": "Not verified."}, id="not verified"),
    ],
)
def test_what_has_expired_or_failed_has_no_row(changes: dict[str, object]) -> None:
    assert rows(replace(held(), **changes)) == []  # type: ignore[arg-type]


HOSTILE = [
    *(
        "=1+1",
        "+1",
        "-1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\u00a0=1",
        "\ufeff=1",
        "\u200b=1",
        "'=1",
        '"=1',
        "%00=1",
    ),
    *("\uff1d1", "\uff0b1", "\u22121", "\ufe621", "a;=1", "a,=1", 'a",=1', "a|=1", "a\n=1", "a\r\n=1", "a\t=1", "|cmd"),
]


@pytest.mark.parametrize("text", HOSTILE, ids=[json.dumps(text) for text in HOSTILE])
def test_no_text_becomes_a_formula(text: str) -> None:
    written = as_csv([held(text)], AT)
    # As each country's spreadsheet divides lines into cells.
    for separator in ",;\t|":
        for line in csv.reader(io.StringIO(written), delimiter=separator):
            for each in line:
                assert each.lstrip(' "')[:1].isalnum() or each.lstrip(' "')[:1] in ("", "'", ","), each
    assert len(rows(held(text))) == 2


@pytest.mark.parametrize(
    ("text", "shown"), [("Smith, Jones & Co.", "Smith  Jones & Co."), ("3 Bridges", "3 Bridges"), ("", "")]
)
def test_honest_text_stays_readable(text: str, shown: str) -> None:
    assert cell(text) == shown
