"""The jobs of a party."""

from abc import ABC, abstractmethod

from consent_server.collect.gather import collect_due
from consent_server.deployment import current
from consent_server.jobs import retention
from consent_server.store.job_runs import EVERY_S
from consent_server.withdrawal.outbox import dispatch


class Job(ABC):
    """`run` is called every `every_s` seconds. It must be safe to run twice, and at the same time on another machine."""

    name: str

    def __init__(self, every_s: int) -> None:
        self.every_s = every_s

    @abstractmethod
    def run(self) -> object:
        """Do what is due."""


class ShowLife(Job):
    """Shows that the jobs run here, and with which keys."""

    name = "beat"

    def run(self) -> None:
        current().beat.show()


class FetchRevocationList(Job):
    name = "revocation-list"

    def run(self) -> None:
        current().revocations.refresh()


class DispatchOutbox(Job):
    name = "outbox"

    def run(self) -> int:
        return dispatch()


class ApplyRetention(Job):
    name = "retention"

    def run(self) -> int:
        return retention.apply()


class Collect(Job):
    name = "collect"

    def run(self) -> int:
        return collect_due()


def jobs() -> tuple[Job, ...]:
    """Return the jobs of this party."""
    settings = current().settings
    every = settings.jobs
    common = (
        ShowLife(EVERY_S),
        FetchRevocationList(settings.revocation_list.refresh_s),
        DispatchOutbox(every.outbox_s),
        ApplyRetention(every.retention_s),
    )
    return common if settings.party == "edp" else (*common, Collect(every.collect_s))
