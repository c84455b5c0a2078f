"""`consent-server serve` and `work`: the processes of a party."""

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent_server import create_app, shipped
from consent_server.cli.shared import config_option, pairs, said_plainly, set_option, settings_of, with_settings

if TYPE_CHECKING:
    from consent_server.deployment import Door
    from consent_server.settings import Settings


log = logging.getLogger("consent_server.cli")


@click.command()
@config_option
@click.option("--door", type=click.Choice(["public", "mutual_tls"]), required=True, help="Which door to serve.")
@set_option
@click.option(
    "--check", is_flag=True, help="Open nothing; say whether its settings, certificates and keys can be used."
)
def serve(config: Path, door: "Door", overrides: tuple[str, ...], check: bool) -> None:
    """Serve one door with gunicorn. A party runs both doors, and one `work`."""
    from consent_server.store.database import require_file

    settings = settings_of(config, overrides)  # a bad file must fail here, with a message, and not in a worker
    with said_plainly():
        require_file(settings.database)
        if check:
            from consent_server.serving import configuration

            configuration.serving(settings, door)
            create_app(settings, door)
            click.echo("this door can open")
            return
    environment = {
        **os.environ,
        "CONSENT_CONFIG": str(config.resolve()),
        "CONSENT_DOOR": door,
        "CONSENT_SET": json.dumps(pairs(overrides)),
    }
    gunicorn = [sys.executable, "-m", "gunicorn", "--config", str(shipped("config") / "gunicorn.conf.py")]
    os.execve(sys.executable, gunicorn, environment)  # noqa: S606 - our own interpreter, no shell


@click.command()
@with_settings
@click.option("--once", is_flag=True, help="Run every job once and stop.")
def work(settings: "Settings", once: bool) -> None:
    """Deliver messages, collect readings, fetch lists and apply retention, until stopped."""
    from consent_server.jobs.job import jobs as jobs_of
    from consent_server.jobs.work import JobEnded, run_once, spare_garbage_collector
    from consent_server.jobs.work import work as run
    from consent_server.serving import lines
    from consent_server.store.database import require_file

    lines.install("work")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Its default would end the jobs without a line in the log, when an operator sends it to every process of a party.
    signal.signal(signal.SIGHUP, lambda *_: log.warning("SIGHUP: the jobs go on; restart them for new settings"))
    with said_plainly():
        require_file(settings.database)
        app = create_app(settings, "mutual_tls")
    _trace(settings)
    if not once and (address := settings.metrics.address("work")) is not None:
        _export(address)
    spare_garbage_collector()
    with app.app_context():
        jobs = jobs_of()
        if once:
            failed = [job.name for job in jobs if not run_once(job)]
            if failed:
                raise click.ClickException(f"these jobs failed, the log says why: {', '.join(failed)}")
            return
        try:
            run(jobs, stop)
        except JobEnded as ended:
            raise click.ClickException(f"these jobs have ended, the log says why: {ended}") from None


def _trace(settings: "Settings") -> None:
    from consent_server import traces
    from consent_server.settings import BadSettings

    try:
        traces.start(settings.traces, "work")
    except BadSettings as error:
        raise click.ClickException(str(error)) from None


def _export(address: tuple[str, int]) -> None:
    """Count what the jobs do, and serve that and what they find."""
    from prometheus_client import CollectorRegistry

    from consent_server import audit
    from consent_server.metrics.counts import Counts
    from consent_server.metrics.state import state
    from consent_server.serving import exporter

    registry = CollectorRegistry()
    registry.register(state)
    counts = Counts(registry)
    audit.listeners.append(lambda line: counts.events((line,)))
    exporter.in_background(address, registry)
