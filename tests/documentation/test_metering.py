"""docs/metering.md, done as it says: the plug-in on it is found by its settings and keeps the contract."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consent_server.metering import contract, sources
from consent_server.scheme.instant import DAY
from consent_server.settings.metering import MeteringSettings
from tests.metering.foreign import page_code
from tests.metering.test_foreign import PLACES

PAGE = (Path(__file__).resolve().parents[2] / "docs/metering.md").read_text(encoding="utf-8")


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MeteringSettings]:
    (tmp_path / "edp_meters.py").write_text(page_code("edp_meters.py"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    named = dict(re.findall(r'^(register_source|readings_source) = "(.*)"$', PAGE, re.MULTILINE))
    yield MeteringSettings(**named)
    del sys.modules["edp_meters"]


def test_the_pages_plug_in_keeps_the_contract(plug_in: MeteringSettings) -> None:
    register, readings = sources.register_of(plug_in), sources.readings_of(plug_in)
    sample = contract.Sample(register, readings, "SW8 1AA", "1212345678902", None, 1735689600 + 400 * DAY)
    assert sample.found is not None
    assert [verdict for verdict in contract.verdicts(sample) if verdict.fault] == []


def test_the_page_names_every_setting_of_the_origin() -> None:
    named = set(re.findall(r"`metering\.(\w+)`", PAGE))
    sections = {"sql_register", "sql_readings", "parquet", "http"}  # tried by tests/metering/test_foreign.py
    assert named == MeteringSettings.model_fields.keys() - {"gas"} - sections
    assert all(f"[metering.{section}]" in PAGE for section in sections)


def test_the_pages_table_of_the_contract_has_every_check_and_every_source() -> None:
    """That each cell is so, tests/metering/test_sources.py and test_foreign.py say, and the plug-in's test above."""
    table = PAGE.partition("## The contract, source by source")[2].strip().splitlines()
    header, *rows = [line.strip("| ").split(" | ") for line in table if line.startswith("| ")]
    assert header == ["What must be so", "table, day-blocks", *PLACES, "plug-in above"]
    sentences = [" ".join((check.__doc__ or "").split()) for check in contract.CHECKS]
    assert rows == [[sentence, *["yes"] * (len(header) - 1)] for sentence in sentences]
