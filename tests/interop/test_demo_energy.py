"""Our CAP collects from a provider in the scheme's deployed form, and refuses from it all that it refuses from any other."""

import json
import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from consent_server.collect import provider
from consent_server.outbound.data import ConsumptionData
from consent_server.parties.operator import records
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import verify
from consent_server.scheme.provenance.steps import trust_framework_url
from tests.collect.conftest import FEBRUARY, LICENSE, TODAY, Cap, cap  # noqa: F401 - the fixture
from tests.interop.demo_energy import DemoEnergyProvider
from tests.scheme.signing import DIRECTORY, REGISTRY, signing_authority

ALL_FORMS = [
    "origin_missing_data",
    "origin_without_postcode",
    "permission_without_origin_license",
    "permission_without_processes",
    "transfer_minutes",
    "transfer_path_readings",
    "transfer_service_address",
    "transfer_to_application",
]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One kind: what is kept is the same in both (tests/collect)."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def demo(cap: Cap, monkeypatch: pytest.MonkeyPatch) -> DemoEnergyProvider:  # noqa: F811
    """The demo provider behind `cap`, which calls it with its own client of the consumption API."""
    played: Any = DemoEnergyProvider("edp.example", LICENSE, f"{DIRECTORY}/a/cap")
    cap.connect(cap.provider("edp"))
    monkeypatch.setattr(provider, "consumption_data", lambda service: ConsumptionData(played, service.endpoint))
    return played


def test_readings_are_collected_and_each_deployed_form_is_named(
    cap: Cap,  # noqa: F811
    demo: DemoEnergyProvider,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "consent_server.audit")
    assert cap.collect() == 1, cap.row().trouble
    windows = cap.kept().windows
    assert [(row.fuel, row.window_start) for row in windows] == [("electricity", FEBRUARY), ("gas", FEBRUARY)]
    assert [row.deployed_forms for row in windows] == [ALL_FORMS, ALL_FORMS]
    assert [row.complete for row in windows] == [False, False]  # as the provider has signed
    line = next(json.loads(each.message) for each in caplog.records if "readings_collected" in each.message)
    assert line["deployed_forms"] == ALL_FORMS
    assert records.permission("c")["deployed_forms"] == ALL_FORMS


def test_the_receipt_that_we_sign_is_in_the_specifications_form(cap: Cap, demo: DemoEnergyProvider) -> None:  # noqa: F811
    cap.collect()
    record = orjson.loads(cap.kept().windows[0].record)
    *_, transfer, receipt = verify(record, trust_framework_url(REGISTRY), signing_authority().root)
    assert transfer["path"] == "/readings"  # what another has signed stays as it is
    assert {name: receipt[name] for name in receipt if name not in ("id", "_signature")} == {
        "type": "receipt",
        "scheme": transfer["scheme"],
        "timestamp": instant.text(cap.clock.instant),
        "transfer": transfer["id"],
    }


def test_a_provider_in_the_specifications_form_has_no_deviation(cap: Cap, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    caplog.set_level(logging.INFO, "consent_server.audit")
    cap.collected(cap.provider())
    assert [row.deployed_forms for row in cap.kept().windows] == [[]]
    assert '"deployed_forms":[]' in caplog.text


FEBRUARY_ON = {"from": "2026-02-01T00:00Z", "to": "2026-03-12T00:00Z"}
# What the transfer is instead, and which duty of a receiver refuses it
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "another member's transfer": ({"signs": "edp2"}, "the member that we called"),
    "to another application": ({"recipient": f"{DIRECTORY}/a/cap2"}, "to must be"),
    "to another member": ({"recipient": f"{DIRECTORY}/m/cap2"}, "to must be"),
    "from another host": ({"host": "edp2.example"}, "service must be"),
    "another window": (
        {"changes": {"parameters": {"measure": "import", **FEBRUARY_ON, "from": "2025-02-01T00:00Z"}}},
        "parameters must be",
    ),
    "another measure": ({"changes": {"parameters": {"measure": "export", **FEBRUARY_ON}}}, "parameters must be"),
    "another path": ({"changes": {"path": "/readings/all"}}, "path must be"),
    "another license": ({"changes": {"license": f"{LICENSE}-other"}}, "license must be"),
    "long ago": ({"changes": {"timestamp": "2026-03-10T09:30:00Z"}}, "must be recent"),
    "in the future": ({"changes": {"timestamp": "2026-03-13T09:30:00Z"}}, "must not lie in the future"),
}


@pytest.mark.parametrize(("changes", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_hostile_is_refused_in_the_deployed_form(
    cap: Cap,  # noqa: F811
    demo: DemoEnergyProvider,
    changes: dict[str, Any],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in changes.items():
        setattr(demo, name, value)
    assert cap.collect() == 0
    assert reason in caplog.text
    kept = cap.kept()
    assert (kept.windows, [*filter(None, kept.of.values())], kept.months) == ([], [], [])


def test_a_forged_step_is_refused_in_the_deployed_form(
    cap: Cap,  # noqa: F811
    demo: DemoEnergyProvider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    genuine = demo.record

    def forged(address: str, start: int, end: int) -> Any:
        record = genuine(address, start, end)
        record["steps"][0] = genuine(address, start, end)["steps"][0]
        return record

    monkeypatch.setattr(demo, "record", forged)
    assert cap.collect() == 0
    assert "does not fit" in caplog.text or "must refer to" in caplog.text
