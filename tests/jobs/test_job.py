"""The jobs of each party, with nothing due and nothing outside."""

import json
import logging
from pathlib import Path

import pytest

from consent_server import clock
from consent_server.jobs.job import jobs, warn_of_signing_certificate
from consent_server.jobs.work import run_once
from consent_server.scheme.instant import DAY
from tests.conftest import HeldClock
from tests.deployments import deploy, in_new_database, layout, opened, settings_of

PACES = {"jobs.outbox_s": 3, "jobs.collect_s": 4, "jobs.retention_s": 500, "revocation_list.refresh_s": 6}
COMMON = [
    *(("node-report", 15), ("revocation-list", 6), ("outbox", 3), ("mails", 3), ("reminders", 60)),
    *(("retention", 500), ("signing-certificate", DAY), ("audit-trail", 5), ("logos", 10), ("probes", 2)),
]


@pytest.mark.parametrize(
    ("party", "expected"),
    [
        ("edp", COMMON),
        ("cap", [*COMMON, ("collect", 4), ("grid", 4), ("grid-forecast", 1800), ("providers", 30)]),
    ],
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


@pytest.mark.parametrize(("days", "said"), [(61, None), (59, 59), (0, 0), (-3, -3)])
def test_the_end_of_the_signing_certificate_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, held_clock: HeldClock, days: int, said: int | None
) -> None:
    deployment = deploy(settings_of("edp", f"sqlite:///{tmp_path / 'store.db'}", PACES))
    deployment.signer.not_after = clock.now() + days * DAY + 1
    caplog.set_level(logging.INFO, "consent_server.audit")
    with in_new_database(opened(deployment, "public")):
        warn_of_signing_certificate()
    lines = [each for line in caplog.messages if (each := json.loads(line))["event"] == "certificate_ends"]
    assert [(each["certificate"], each["days"]) for each in lines] == (
        [] if said is None else [("keys.signing_certificate", said)]
    )
