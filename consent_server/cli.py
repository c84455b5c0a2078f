"""`consent-server …`: run the doors and the jobs, keep the database and the keys, and try it all in the sandbox."""

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click

from consent_server import Door, clock, create_app, shipped
from consent_server.settings import BadSettings, Settings, load

config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    envvar="CONSENT_CONFIG",
    help="The party's settings file.",
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting; may be repeated."
)


def _pairs(overrides: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise click.BadParameter(f"{item} is not KEY=VALUE", param_hint="--set")
        pairs[key] = value
    return pairs


def _settings(config: Path, overrides: tuple[str, ...] = ()) -> Settings:
    try:
        return load(config, _pairs(overrides))
    except BadSettings as error:
        raise click.ClickException(str(error)) from None


def _log_to_standard_error() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    # Their INFO and DEBUG lines hold URLs with queries, or tokens.
    for noisy in ("httpx", "httpcore", "authlib", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@click.group()
@click.version_option(package_name="consent-server")
def main() -> None:
    """Consent and authorisation server for the Perseus scheme."""


@main.command()
@config_option
@click.option("--door", type=click.Choice(["public", "mutual_tls"]), required=True, help="Which door to open.")
@set_option
def serve(config: Path, door: Door, overrides: tuple[str, ...]) -> None:
    """Open one door with gunicorn. A party runs two of these, and one `work`."""
    _settings(config, overrides)  # a bad file must fail here, with a message, and not in a worker
    environment = {
        **os.environ,
        "CONSENT_CONFIG": str(config.resolve()),
        "CONSENT_DOOR": door,
        "CONSENT_SET": json.dumps(_pairs(overrides)),
    }
    gunicorn = [sys.executable, "-m", "gunicorn", "--config", str(shipped("config") / "gunicorn.conf.py")]
    os.execve(sys.executable, gunicorn, environment)  # noqa: S606 - our own interpreter, no shell


@main.command()
@config_option
@click.option("--once", is_flag=True, help="Run every job once and stop.")
@set_option
def work(config: Path, once: bool, overrides: tuple[str, ...]) -> None:
    """Deliver messages, collect readings, fetch lists, apply retention, until stopped."""
    from consent_server import parties
    from consent_server.jobs.work import run_once
    from consent_server.jobs.work import work as run

    _log_to_standard_error()
    settings = _settings(config, overrides)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    app = create_app(settings, "mutual_tls")
    with app.app_context():
        jobs = parties.assemble(settings).jobs
        if once:
            failed = [job.name for job in jobs if not run_once(job)]
            if failed:
                raise click.ClickException(f"these jobs failed, the log says why: {', '.join(failed)}")
            return
        run(jobs, stop)


@main.group()
def db() -> None:
    """Keep the database."""


@db.command("upgrade")
@config_option
@set_option
def db_upgrade(config: Path, overrides: tuple[str, ...]) -> None:
    """Bring the schema up to date. Safe to repeat."""
    from flask import Flask

    from consent_server import store
    from consent_server.store.database import migrate

    settings = _settings(config, overrides)
    app = Flask("consent-server-migrations")
    store.init(app, settings.database.url)
    with app.app_context():
        migrate()
    click.echo("The schema is up to date.")


@main.group()
def keys() -> None:
    """Make, rotate and retire the keys of a party."""


@keys.command("make")
@config_option
@set_option
def keys_make(config: Path, overrides: tuple[str, ...]) -> None:
    """Make the keys that do not exist yet: token signing, refresh tokens, sealing. Existing ones are left alone."""
    from consent_server.parties import keyring

    settings = _settings(config, overrides)
    for line in keyring.make_missing(settings, clock.now()):
        click.echo(line)


@main.group()
def outbox() -> None:
    """See and retry the calls that withdrawals owe."""


def _each_call(config: Path, rows: Any) -> None:
    settings = _settings(config)
    from consent_server import store
    from consent_server.store import outbox as calls

    with create_app(settings, "mutual_tls").app_context(), store.reading() as c:
        for row in rows(calls, c):
            click.echo(f"{row.id}\t{row.kind}\t{row.recipient}\tattempts={row.attempts}\t{row.last_error or ''}")


@outbox.command("waiting")
@config_option
def outbox_waiting(config: Path) -> None:
    """Calls that have not been delivered yet."""
    _each_call(config, lambda calls, c: calls.waiting(c))


@outbox.command("given-up")
@config_option
def outbox_given_up(config: Path) -> None:
    """Calls that were given up; retry them with `outbox retry`."""
    _each_call(config, lambda calls, c: calls.given_up(c))


@outbox.command("retry")
@config_option
@click.argument("number", type=int)
def outbox_retry(config: Path, number: int) -> None:
    """Take call NUMBER from the give-up list back to the queue."""
    from consent_server import store
    from consent_server.store import outbox as calls

    with create_app(_settings(config), "mutual_tls").app_context(), store.writing() as c:
        if not calls.retry(c, number, clock.now()):
            raise click.ClickException(f"{number} is not on the give-up list: see `consent-server outbox given-up`")
    click.echo(f"{number} is due now.")


@main.group()
def sandbox() -> None:
    """A trust framework in a box: try the whole path on one machine."""


@sandbox.command("up")
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=Path(".sandbox"), show_default=True)
@click.option("--base-port", type=int, default=8440, show_default=True)
@click.option("--walk", is_flag=True, help="Walk the whole path once, as an SME would.")
@click.option("--once", is_flag=True, help="Stop after the walk; the exit status is the walk's.")
@click.option("--keep", is_flag=True, help="Keep what the directory holds from the last run.")
@click.option("--database-url", help="A PostgreSQL server; each party gets a schema of its own.")
@set_option
def sandbox_up(
    directory: Path,
    base_port: int,
    walk: bool,
    once: bool,
    keep: bool,
    database_url: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Start the sandbox; KEYs of --set begin with a party: edp.metadata.authorization_alias=false."""
    from consent_server.sandbox.up import up

    _log_to_standard_error()
    sys.exit(
        up(
            directory.resolve(),
            base_port,
            walk=walk or once,
            once=once,
            keep=keep,
            database_url=database_url,
            overrides=_pairs(overrides),
        )
    )
