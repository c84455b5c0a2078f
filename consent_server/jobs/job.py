"""The jobs of a party."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from consent_server import audit, clock, store
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


@dataclass
class Job:
    """`run` is called every `every_s` seconds. It must be safe to run twice, and at the same time on another machine.

    It returns how many of its acts failed at another party, each of which is tried again; None where it has no such acts.
    """

    name: str
    every_s: int
    run: Callable[[], int | None]


def jobs() -> tuple[Job, ...]:
    """Return the jobs of this party."""
    here = current()
    settings, every = here.settings, here.settings.jobs
    common = (
        Job("node-report", NODE_REPORT_S, here.node_report.write),
        Job("revocation-list", settings.revocation_list.refresh_s, here.revocations.refresh),
        Job("outbox", every.outbox_s, partial(_dispatch_outbox, outbox.pool())),
        Job("mails", every.outbox_s, mails.send_due),
        Job("reminders", REMIND_S, reminders.owe),
        ApplyRetention(every.retention_s),
        Job("signing-certificate", DAY, warn_of_signing_certificate),
        Job("audit-trail", SEAL_S, audit_trail.seal),
        Job("logos", LOGOS_S, partial(logos.fetch_due, logos.pool())),
        Job("probes", PROBES_S, partial(_probe, Probes(settings))),
        *((Job("metrics", LOOK_S, state.look),) if settings.metrics.bind else ()),
    )
    if settings.party == "edp":
        return common
    return (
        *common,
        Job("collect", every.collect_s, partial(_collect, gather.pool())),
        # By itself: a slow grid delays no collection.
        Job("grid", every.collect_s, weigh.weigh_due),
        Job("grid-forecast", FORECAST_S, forecast.fetch_forecasts),
        Job("providers", PROVIDERS_S, partial(_fetch_metadata, FairPool(most=8, most_unreliable=4, slow_s=2))),
    )


class ApplyRetention(Job):
    """Runs again in a second while more is due than one run does."""

    def __init__(self, every_s: int) -> None:
        super().__init__("retention", every_s, self._apply)
        self._usual_s = every_s

    def _apply(self) -> None:
        settings = current().settings
        self.every_s = self._usual_s
        retention.apply(settings.retention)
        if settings.party == "cap":
            retention.forget_readings()
            retention.forget_agreements(settings.retention)
        store.empty_log()
        if retention.is_behind(settings.retention):
            self.every_s = BEHIND_S


def warn_of_signing_certificate() -> None:
    """Write an audit line if the signing certificate ends within RENEWAL_DAYS, or has ended."""
    days = (current().signer.not_after - clock.now()) // DAY
    if days < RENEWAL_DAYS:
        audit.event("certificate_ends", certificate="keys.signing_certificate", days=days)


def _dispatch_outbox(pool: FairPool) -> int:
    return outbox.dispatch(pool).failed


def _collect(pool: FairPool) -> int:
    return gather.collect_due(pool).failed


def _probe(probes: Probes) -> None:
    probing.ask_due(probes)
    probing.sum_up()


def _fetch_metadata(pool: FairPool) -> None:
    # A failure is not counted: where a copy is missing, a page asks the provider itself.
    providers.fetch_metadata(pool)
