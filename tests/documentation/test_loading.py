"""docs/metering.md, "Loading our own tables", done word by word in a fresh folder: files, commands, a grant, readings out."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from consent_server import store
from consent_server.cli import main
from consent_server.scheme.provenance.container import verify
from consent_server.scheme.provenance.steps import MISSING, worst_missing_data
from consent_server.settings import load
from consent_server.store import data_sources
from consent_server.store.database import db
from consent_server.tokens.data_sources import DataSources
from tests.deployments import layout
from tests.resource.conftest import ResourceServer

PAGE = (Path(__file__).resolve().parents[2] / "docs/metering.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Loading our own tables\n")[1].split("\n## ")[0]
COMMANDS = re.findall(r"^\$ consent-server (.*)\n((?:[^$`].*\n)*)", SECTION, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's files, and the settings of an EDP whose database is not made yet."""
    settings = layout().settings("edp").read_text(encoding="utf-8")
    (tmp_path / "edp.toml").write_text(re.sub(r"sqlite:///[^\"]*", f"sqlite:///{tmp_path}/store.db", settings))
    for name, text in re.findall(r"^`(\w+\.csv)`:\n\n```csv\n(.*?)```", SECTION, re.DOTALL | re.MULTILINE):
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def edp(folder: Path, held_clock: Any) -> Iterator[ResourceServer]:
    """An EDP on what the page's commands have loaded, with a permission of the page's business."""
    for arguments, says in COMMANDS:
        result = CliRunner().invoke(main, arguments.split())
        assert result.stdout.endswith(says), result.output
        assert result.exit_code == (3 if " 0 refused" not in says and says else 0)
    server = ResourceServer(load(folder / "edp.toml"), "electricity_and_gas", "cap")
    with server.app.app_context():
        yield server
        db.engine.dispose()


def test_the_page_is_followed_word_by_word(edp: ResourceServer) -> None:
    assert len(COMMANDS) == 3
    permission = edp.granted("customer-4711")
    with store.writing() as c:
        found = data_sources.ids_for(c, permission.client_id, "customer-4711", ["shop-17", "shop-17-gas"])
    (query,) = re.findall(r"import(\?from=\S+)`", SECTION)
    answers = {
        meter: edp.get(
            f"/datasources/{quote(each, safe='')}/import{query}", datasources=DataSources.of(tuple(found.values()))
        )
        for meter, each in found.items()
    }
    assert [answer.status_code for answer in answers.values()] == [200, 200]
    (released,) = re.findall(r"```json\n(.*?)```", SECTION, re.DOTALL)
    assert answers["shop-17"].json["data"] == json.loads(released)
    assert [each["energy"]["value"] for each in answers["shop-17-gas"].json["data"]] == [0.125]
    for answer in answers.values():
        steps = verify(answer.json["provenance"], edp.layout.trust_framework, edp.deployment.signing_root)
        assert worst_missing_data(steps) == MISSING
