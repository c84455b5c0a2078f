"""`consent-server work --once`: every job once, and an exit status to go by."""

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from consent_server import store
from consent_server.cli import process
from consent_server.jobs import job as jobs_of
from consent_server.outbound.fair_pool import Tally
from consent_server.store import job_runs
from tests.deployments import deploy, in_new_database, layout, opened, settings_of


@pytest.mark.parametrize(
    ("dispatched", "list_there", "named"),
    [
        pytest.param(Tally(3, 0), True, None, id="all well"),
        pytest.param(Tally(0, 0), True, None, id="nothing due"),
        pytest.param(Tally(3, 2), True, "outbox", id="calls failed"),
        pytest.param(Tally(3, 0), False, "revocation-list", id="no list"),
    ],
)
def test_S20_work_once_says_by_its_exit_status_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dispatched: Tally, list_there: bool, named: str | None
) -> None:
    database = f"sqlite:///{tmp_path / 'store.db'}"
    source = layout().revocation_list if list_there else tmp_path / "no list"
    with in_new_database(opened(deploy(settings_of("cap", database)), "mutual_tls")):
        pass
    outbox = SimpleNamespace(pool=lambda: None, dispatch=lambda _: dispatched)
    monkeypatch.setattr(jobs_of, "outbox", outbox)
    monkeypatch.setattr("consent_server.serving.lines.install", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    options = ["--config", str(layout().settings("cap")), "--set", f"database.url={database}"]
    ran = CliRunner().invoke(process.work, [*options, "--set", f"revocation_list.source={source}", "--once"])
    assert ran.exit_code == (named is not None), ran.output
    assert (named or "") in ran.output
    with in_new_database(opened(deploy(settings_of("cap", database)), "mutual_tls")), store.reading() as c:
        assert job_runs.last(c)["outbox"].ok, "what fails at another party is no failure of ours"
