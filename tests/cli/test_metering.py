"""`consent-server metering check` and `datasources show`, on a deployment of one's own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from consent_server import store
from consent_server.metering import contract
from consent_server.settings import load
from consent_server.store import data_sources, meters
from consent_server.store.database import opened
from consent_server.store.tables.metering import Meter

Command = Callable[..., Result]
ROW = Meter(
    "m-1", "acme", "Acme", "electricity", "1212345678902", "SW8 1AA", "SW8", ["import"], since=60, customer="C-1"
)


@pytest.fixture
def filled(deployment: Path) -> Path:
    with opened(load(deployment).database), store.writing() as c:
        meters.add(c, ROW)
    return deployment


@pytest.mark.parametrize(
    "bill",
    [
        (),
        ("--postcode", "sw8-1aa", "--mpan", "S 00 801 A10 12 1234 5678 902"),
        ("--postcode", "SW8 1AA", "--mpan", "1212345678902", "--customer", "C-1"),
    ],
    ids=["no bill", "a bill", "a bill and a log-in"],
)
def test_D4_the_contract_is_a_table_of_sentences(command: Command, filled: Path, bill: tuple[str, ...]) -> None:
    result = command("metering", "check", "--config", filled, *bill)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == len(contract.CHECKS)
    levels = [line[:6] for line in lines]
    assert levels.count("ok    ") == (len(lines) if bill else 4)
    assert set(levels) == ({"ok    "} if bill else {"ok    ", "-     "}), "what needs a meter is not fine without one"
    assert "1212345678902" not in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("--postcode", "SW8 1AB", "--mpan", "1212345678902"),
            "find returned nothing: are postcode and numbers of one bill",
        ),
        (("--mpan", "12"), "13 digits"),
        (("--customer", "C-2"), "of_customer returned nothing for the sample's customer"),
        (
            ("--set", "metering.register_source=no.such:thing"),
            "metering.register_source: no.such:thing cannot be loaded",
        ),
        (
            ("--set", "metering.readings_source=parquet", "--set", "metering.parquet.readings_folder=/no/such"),
            "Failed: 1 of 16. To mend:\n"
            "  SourceUnavailable: metering.parquet.readings_folder: FileNotFoundError ([Errno 2] Cannot list directory",
        ),
    ],
    ids=["unknown", "no number", "another customer", "no plug-in", "no folder"],
)
def test_D4_what_is_wrong_is_said_and_ends_with_1(command: Command, filled: Path, arguments: Any, says: str) -> None:
    result = command("metering", "check", "--config", filled, *arguments)
    assert result.exit_code == 1
    assert says in result.output
    assert "ok    find returns" not in result.output


def test_D5_a_data_source_is_shown_with_its_meter(command: Command, filled: Path) -> None:
    with opened(load(filled).database), store.writing() as c:
        known = data_sources.ids_for(c, "https://directory.example/a/cap", "acme", ["m-1"])["m-1"]
    result = command("datasources", "show", "--config", filled, known)
    assert result.exit_code == 0
    assert json.loads(result.output) == {
        "datasource": known,
        "meter": "m-1",
        "fuel": "electricity",
        "measures": ["import"],
        "since": "1970-01-01T00:01:00Z",
        "until": None,
    }
    result = command("datasources", "show", "--config", filled, known, "-unknown.0")
    assert result.exit_code == 1
    assert "no meter is behind -unknown.0" in result.output
