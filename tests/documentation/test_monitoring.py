"""deploy/monitoring: alert rules and dashboard against promtool, the metrics that there are, and the operator's guide."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry

from consent_server.metrics.counts import Counts
from consent_server.web.tally import ResponseTimes
from tests.conftest import program

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy/monitoring"
GUIDE = (ROOT / "docs/operator.md").read_text(encoding="utf-8")
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
EXPRESSIONS = [*(rule["expr"] for rule in RULES), *QUERIES]
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
    return program("promtool", "prometheus:promtool")


@pytest.mark.parametrize(
    "command",
    [["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]],
)
def test_promtool_finds_nothing_wrong(promtool: str, command: list[str]) -> None:
    done = subprocess.run([promtool, *command], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_reads_each_query_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    """As the expression of a rule, since it looks at those; Grafana sets the interval."""
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES)
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


def lost(given: Any, kept: Any, where: str = "") -> list[str]:
    """Where something of a document is not in what was made of it."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [each for key in given for each in lost(given[key], kept.get(key), f"{where}/{key}")]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        return [
            each
            for n, (one, other) in enumerate(zip(given, kept, strict=True))
            for each in lost(one, other, f"{where}/{n}")
        ]
    return [] if given == kept else [where]


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    """Its makers' classes, which are generated from its schema, keep what they know."""
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert lost(DASHBOARD, kept) == []
    misspelt = {**DASHBOARD, "panels": [{**DASHBOARD["panels"][1], "gridpos": {}}]}
    assert lost(misspelt, json.loads(JSONEncoder().encode(Dashboard.from_json(misspelt)))) == ["/panels/0/gridpos"]


def test_panels_do_not_cover_each_other() -> None:
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(squares) == len(set(squares))
    assert max(x for x, _ in squares) < 24
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_asked_for_by_its_labels(expression: str) -> None:
    grouped = re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right) ?\(([^)]*)\)", expression)
    selected = [
        label for braces in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+) ?[=!]", braces)
    ]
    used = {label.strip() for labels in grouped for label in labels.split(",") if label} | set(selected)
    table = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|([^|]*)\|", section("Metrics"), re.M)
    labels = {
        name: set(re.findall(r"`(\w+)`", cell)) for names, cell in table for name in re.findall(r"`(\w+)`", names)
    }
    named = {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name) for name in NAME.findall(expression)}
    of_prometheus = {"job", "instance", *(["le"] if "_bucket" in expression else [])}
    assert used - of_prometheus <= set().union(*(labels[name] for name in named))


def test_the_guide_says_of_each_alert_what_to_do() -> None:
    alerts = [rule["alert"] for rule in RULES]
    assert re.findall(r"^### (\w+)$", section("Alerts"), re.M) == alerts
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/operator.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.parametrize("expression", EXPRESSIONS)
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
