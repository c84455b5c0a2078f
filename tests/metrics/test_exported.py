"""What `consent-server work` serves: what its jobs did, and what they found."""

import signal
from collections.abc import Iterable
from http.client import HTTPConnection
from pathlib import Path
from threading import Event

import pytest
from click.testing import CliRunner

from consent_server import audit
from consent_server.cli import process
from consent_server.jobs.job import Job
from consent_server.jobs.work import run_once
from tests.conftest import free_ports
from tests.deployments import deploy, in_new_database, layout, opened, settings_of


def test_the_jobs_serve_what_they_did_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, scraped = free_ports(3), []

    def work(jobs: Iterable[Job], stop: Event) -> None:
        (looks,) = (job for job in jobs if job.name == "metrics")
        assert run_once(looks)
        audit.event("mail_sent", subject="p1", kind="given", attempt=1)
        for _ in range(120):  # the thread that listens may not have begun
            try:
                connection = HTTPConnection("127.0.0.1", base + 2, timeout=30)
                connection.request("GET", "/metrics")
                scraped.append(connection.getresponse().read().decode())
                return
            except ConnectionRefusedError:
                stop.wait(0.5)

    database = f"sqlite:///{tmp_path / 'store.db'}"
    with in_new_database(opened(deploy(settings_of("edp", database)), "mutual_tls")):
        pass
    monkeypatch.setattr(audit, "listeners", [])
    monkeypatch.setattr("consent_server.jobs.work.work", work)
    monkeypatch.setattr("consent_server.serving.lines.install", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    options = ["--config", str(layout().settings("edp")), "--set", f"database.url={database}"]
    ran = CliRunner().invoke(process.work, [*options, "--set", f"metrics.bind=127.0.0.1:{base}"])
    assert ran.exit_code == 0, ran.output
    (text,) = scraped
    assert 'consent_events_total{detail="-",event="mail_sent"} 1.0\n' in text
    assert "\nconsent_looked_timestamp_seconds " in text
    assert '\nconsent_certificate_end_timestamp_seconds{certificate="keys.client_certificate"} ' in text
    assert "owed_oldest_seconds{" not in text
