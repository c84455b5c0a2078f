"""deploy/monitoring: alert rules and dashboard against promtool, the metrics that there are, and the operator's guide."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from consent_server.metrics.counts import Counts
from consent_server.web.tally import ResponseTimes
from tests.conftest import missing

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy/monitoring"
GUIDE = (ROOT / "docs/operator.md").read_text(encoding="utf-8")
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
PANELS: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
NAME = re.compile(r"\bconsent_(?!server)\w+")


def section(title: str) -> str:
    return re.split(r"^## ", GUIDE.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.M)[0]


def metrics() -> set[str]:
    """Every metric that a process has, by the names of its samples."""
    registry = CollectorRegistry()
    Counts(registry).requests("public", {(0, "GET", None, "-", 2): ResponseTimes()})
    counted = {sample.name for family in registry.collect() for sample in family.samples}
    found = re.findall(r'_family\(\s*"(\w+)"', (ROOT / "consent_server/metrics/state.py").read_text())
    return counted | {f"consent_{name}" for name in found}


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        missing("promtool (scripts/debian-packages prometheus:promtool)")
    assert found
    return found


@pytest.mark.parametrize(
    "command",
    [["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]],
)
def test_promtool_finds_nothing_wrong(promtool: str, command: list[str]) -> None:
    done = subprocess.run([promtool, *command], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_guide_says_of_each_alert_what_to_do() -> None:
    alerts = [rule["alert"] for rule in RULES]
    assert re.findall(r"^### (\w+)$", section("Alerts"), re.M) == alerts
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/operator.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in RULES), *QUERIES])
def test_what_is_asked_for_is_measured(expression: str) -> None:
    assert set(NAME.findall(expression)) <= metrics()


def test_the_guide_has_a_row_for_each_metric() -> None:
    listed = set(NAME.findall(section("Metrics")))
    whole = {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name) for name in metrics()}
    assert listed == whole


def test_a_description_on_the_dashboard_names_alerts_that_there_are() -> None:
    named = {alert for panel in PANELS for alert in re.findall(r"\bConsent\w+", panel.get("description", ""))}
    assert named
    assert named <= {rule["alert"] for rule in RULES}
