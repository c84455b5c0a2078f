"""The emissions data API, to the letter of emissions-data@2026-03-12."""

from dataclasses import dataclass
from typing import Any

import pytest

from consent_server.resource.parts import Report
from consent_server.scheme import instant

RECORD = {"ib1:provenance": "https://registry.example/trust-framework"}
WINDOW = "/emissions?from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z"


@dataclass(frozen=True)
class Month:
    fuel: str
    start: int
    end: int
    taken_at: int
    kilograms: float


def month(fuel: str, first: str, kilograms: float) -> Month:
    start = instant.parse(f"{first}T00:00:00Z")
    return Month(fuel, start, instant.next_month(start), start + 90 * 86400, kilograms)


MONTHS = [month("electricity", "2026-01-01", 12.3456789), month("gas", "2026-01-01", 7)]


@pytest.fixture
def asked(server: Any) -> list[tuple[str, str]]:
    calls: list[tuple[str, str]] = []

    def months(release: Any, start: int, end: int, at: int) -> Report:
        calls.append((instant.text(start), instant.text(end)))
        return Report(MONTHS, RECORD)

    server.months = months
    return calls


def test_months_come_in_kilograms_with_provenance(server: Any, asked: Any) -> None:
    answer = server.get(WINDOW)
    assert answer.status_code == 200
    assert answer.json == {
        "data": [
            {
                "type": "electricity",
                "from": "2026-01-01T00:00:00Z",
                "to": "2026-02-01T00:00:00Z",
                "takenAt": "2026-04-01T00:00:00Z",
                "emissions": {"value": 12.345679, "unitCode": "KGM"},
            },
            {
                "type": "gas",
                "from": "2026-01-01T00:00:00Z",
                "to": "2026-02-01T00:00:00Z",
                "takenAt": "2026-04-01T00:00:00Z",
                "emissions": {"value": 7, "unitCode": "KGM"},
            },
        ],
        "provenance": RECORD,
    }
    assert answer.headers["Cache-Control"] == "no-store"


def test_gas_stays_when_the_permission_does_not_cover_it(server: Any, asked: Any) -> None:
    answer = server.get(WINDOW, fuels=("electricity",))
    assert [row["type"] for row in answer.json["data"]] == ["electricity"]


@pytest.mark.parametrize(
    ("query", "window"),
    [
        ("from=2026-01-01&to=2026-03-01", ("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z")),
        ("from=2026-01-01T00:00:00Z&to=2026-01-01", ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")),
        ("from=2026-01-01", ("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z")),
        ("from=2026-01-01T01:00:00%2B01:00", ("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z")),
        ("from=2025-01-01&to=2026-02-01", ("2025-01-01T00:00:00Z", "2026-02-01T00:00:00Z")),
    ],
    ids=["dates alone", "empty", "to is this month", "offset", "13 months"],
)
def test_windows(server: Any, asked: list[tuple[str, str]], query: str, window: tuple[str, str]) -> None:
    assert server.get(f"/emissions?{query}").status_code == 200
    assert asked == [window]


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("", [("from", "missing")]),
        ("from=2026-01-02", [("from", "month")]),
        ("from=2026-01-01T00:30:00Z", [("from", "month")]),
        ("from=2026-01", [("from", "month")]),
        ("from=2026-13-01&to=x", [("from", "month"), ("to", "month")]),
        ("from=2026-02-01&to=2026-01-01", [("to", "reversed")]),
        ("from=2024-01-01&to=2026-01-01", [("from", "too_long")]),
        ("from=2026-01-01&to=2026-02-01&to=2026-03-01", [("to", "doubled")]),
    ],
)
def test_bad_windows_are_422(server: Any, asked: Any, query: str, faults: list[tuple[str, str]]) -> None:
    answer = server.get(f"/emissions?{query}")
    assert answer.status_code == 422
    assert [(fault["loc"][1], fault["type"]) for fault in answer.json["detail"]] == faults
    assert not asked


def test_a_report_that_is_not_ready_is_202(server: Any) -> None:
    server.months = lambda *asked: Report(retry_after=30)
    answer = server.get(WINDOW)
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "30")
    assert list(answer.json) == ["message"]


def test_no_months_need_no_record(server: Any) -> None:
    server.months = lambda *asked: Report([], None)
    assert server.get(WINDOW).json == {"data": []}


def test_without_a_token_there_is_nothing(server: Any, asked: Any) -> None:
    answer = server.client.get(WINDOW)
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
    assert not asked
