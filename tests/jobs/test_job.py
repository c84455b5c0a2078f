"""The jobs of each party, with nothing due and nothing outside."""

from pathlib import Path

import pytest

from consent_server.jobs.job import jobs
from consent_server.jobs.work import run_once
from tests.deployments import deploy, in_new_database, layout, opened, settings_of

PACES = {"jobs.outbox_s": 3, "jobs.collect_s": 4, "jobs.retention_s": 500, "revocation_list.refresh_s": 6}
COMMON = [("node-report", 15), ("revocation-list", 6), ("outbox", 3), ("retention", 500)]


@pytest.mark.parametrize(
    ("party", "expected"), [("edp", COMMON), ("cap", [*COMMON, ("collect", 4), ("providers", 30)])]
)
def test_each_party_has_its_jobs_at_the_pace_of_its_settings(
    tmp_path: Path, party: str, expected: list[tuple[str, int]]
) -> None:
    source = {"revocation_list.source": str(layout().revocation_list)}
    deployment = deploy(settings_of(party, f"sqlite:///{tmp_path / 'store.db'}", PACES | source))
    with in_new_database(opened(deployment, "public")):
        found = jobs()
        assert [(job.name, job.every_s) for job in found] == expected
        assert all(run_once(job) for job in found)
        [kept] = deployment.revocations.lists()
        assert kept.serials
