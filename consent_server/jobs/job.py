"""The jobs of a party."""

from abc import ABC, abstractmethod
from typing import Final

from consent_server import audit, clock
from consent_server.collect import forecast, gather, weigh
from consent_server.deployment import current
from consent_server.jobs import audit_trail, retention
from consent_server.journey import logos
from consent_server.metrics.state import state
from consent_server.outbound.fair_pool import FairPool
from consent_server.outbound.probes import Probes
from consent_server.portal import providers
from consent_server.receipts import mails, reminders
from consent_server.scheme.instant import DAY
from consent_server.status import probing
from consent_server.withdrawal import outbox

NODE_REPORT_S: Final = 15
PROVIDERS_S: Final = 30
FORECAST_S: Final = 1800
REMIND_S: Final = 60
SEAL_S: Final = 5
LOGOS_S: Final = 10
LOOK_S: Final = 15
#: Between two runs of retention while more is due than one run does: a thousand accounts take some tenths of a second.
BEHIND_S: Final = 1
#: A probe is due more seldom: after a failed one within six seconds of its beginning (status.measured).
PROBES_S: Final = 2
#: The renewal of a certificate is due from so many days before its end, as the doctor says too.
RENEWAL_DAYS: Final = 60


class Job(ABC):
    """`run` is called every `every_s` seconds. It must be safe to run twice, and at the same time on another machine."""

    name: str

    def __init__(self, every_s: int) -> None:
        self.every_s = every_s

    @abstractmethod
    def run(self) -> int:
        """Do what is due; return how many of its acts failed at another party, each of which is tried again."""


class ReportNode(Job):
    """Writes that the jobs run here, and with which keys."""

    name = "node-report"

    def run(self) -> int:
        current().node_report.write()
        return 0


class WarnOfSigningCertificate(Job):
    """Writes an audit line each day in the last 60, and each day on which nothing can be signed any more."""

    name = "signing-certificate"

    def run(self) -> int:
        days = (current().signer.not_after - clock.now()) // DAY
        if days < RENEWAL_DAYS:
            audit.event("certificate_ends", certificate="keys.signing_certificate", days=days)
        return 0


class FetchRevocationList(Job):
    name = "revocation-list"

    def run(self) -> int:
        current().revocations.refresh()
        return 0


class DispatchOutbox(Job):
    name = "outbox"

    def __init__(self, every_s: int) -> None:
        super().__init__(every_s)
        self._pool = outbox.pool()

    def run(self) -> int:
        return outbox.dispatch(self._pool).failed


class SendMails(Job):
    name = "mails"

    def run(self) -> int:
        return mails.send_due()


class Remind(Job):
    name = "reminders"

    def run(self) -> int:
        reminders.owe()
        return 0


class ApplyRetention(Job):
    """Runs again in a second while more is due than one run does."""

    name = "retention"

    def __init__(self, every_s: int) -> None:
        super().__init__(every_s)
        self._usual_s = every_s

    def run(self) -> int:
        self.every_s, kept = self._usual_s, current().settings.retention
        retention.apply(kept)
        if current().settings.party == "cap":
            retention.forget_readings()
        if retention.is_behind(kept):
            self.every_s = BEHIND_S
        return 0


class SealAuditTrail(Job):
    """Gives the events of the audit trail their places in its chain, and signs a checkpoint each day."""

    name = "audit-trail"

    def run(self) -> int:
        audit_trail.seal()
        return 0


class AskProbes(Job):
    """Looks each minute how our doors, our messages, the Directory and the Registry are, and sums up the days that are over."""

    name = "probes"

    def __init__(self, every_s: int) -> None:
        super().__init__(every_s)
        self._probes = Probes(current().settings)

    def run(self) -> int:
        probing.ask_due(self._probes)
        probing.sum_up()
        return 0


class Collect(Job):
    name = "collect"

    def __init__(self, every_s: int) -> None:
        super().__init__(every_s)
        self._pool = gather.pool()

    def run(self) -> int:
        return gather.collect_due(self._pool).failed


class Weigh(Job):
    """Works out electricity by the grid's figures: a slow grid delays no collection."""

    name = "grid"

    def run(self) -> int:
        return weigh.weigh_due()


class FetchForecasts(Job):
    name = "grid-forecast"

    def run(self) -> int:
        return forecast.fetch_forecasts()


class FetchProviderMetadata(Job):
    name = "providers"

    def __init__(self, every_s: int) -> None:
        super().__init__(every_s)
        self._pool = FairPool(most=8, most_unreliable=4, slow_s=2)

    def run(self) -> int:
        providers.fetch_metadata(self._pool)
        return 0  # nothing is owed: a page asks a provider itself where the copy is missing


class FetchLogos(Job):
    name = "logos"

    def __init__(self, every_s: int) -> None:
        super().__init__(every_s)
        self._pool = logos.pool()

    def run(self) -> int:
        logos.fetch_due(self._pool)
        return 0


class LookAtState(Job):
    """Looks for the metrics at what waits, ends or is old."""

    name = "metrics"

    def run(self) -> int:
        state.look()
        return 0


def jobs() -> tuple[Job, ...]:
    """Return the jobs of this party."""
    settings = current().settings
    every = settings.jobs
    common = (
        ReportNode(NODE_REPORT_S),
        FetchRevocationList(settings.revocation_list.refresh_s),
        DispatchOutbox(every.outbox_s),
        SendMails(every.outbox_s),
        Remind(REMIND_S),
        ApplyRetention(every.retention_s),
        WarnOfSigningCertificate(DAY),
        SealAuditTrail(SEAL_S),
        FetchLogos(LOGOS_S),
        AskProbes(PROBES_S),
        *((LookAtState(LOOK_S),) if settings.metrics.bind else ()),
    )
    if settings.party == "edp":
        return common
    grid = (Weigh(every.collect_s), FetchForecasts(FORECAST_S))
    return (*common, Collect(every.collect_s), *grid, FetchProviderMetadata(PROVIDERS_S))
