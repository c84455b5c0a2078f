"""`consent-server …`: run the doors and the jobs, keep the database and the keys, and try it all in the sandbox."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from consent_server import Door, clock, create_app, shipped
from consent_server.serving import lines
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
        settings = load(config, _pairs(overrides))
    except BadSettings as error:
        raise click.ClickException(str(error)) from None
    if settings.sandbox.clock:
        clock.follow(settings.sandbox.clock)
    return settings


@contextmanager
def _database(settings: Settings) -> Iterator[None]:
    """The party's database alone: an operator must reach it also while the doors cannot start."""
    from flask import Flask

    from consent_server import store
    from consent_server.store.database import db

    app = Flask("consent-server-command")
    store.init(app, settings.database.url)
    with app.app_context():
        try:
            yield
        finally:
            db.engine.dispose()


@contextmanager
def _said_plainly() -> Iterator[None]:
    """Turn what an operator can mend into one sentence and exit status 1."""
    from consent_server.parties.operator.keyring import KeysUnusable
    from consent_server.parties.operator.records import NotPossible
    from consent_server.refusal import Refusal

    try:
        yield
    except Refusal as refusal:
        raise click.ClickException(f"{refusal.sentence} ({refusal.private})") from None
    except (KeysUnusable, NotPossible) as error:
        raise click.ClickException(str(error)) from None


def _log_to_standard_error() -> None:
    lines.install("work")


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

    settings = _settings(config, overrides)
    lines.install("work")
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
    from consent_server.store.database import migrate

    with _database(_settings(config, overrides)):
        migrate()
    click.echo("The schema is up to date.")


@main.group()
def keys() -> None:
    """Make, rotate and retire the keys of a party. Doors notice by themselves: nothing needs a restart."""


kind_argument = click.argument("kind", type=click.Choice(["signing", "refresh"]))


@keys.command("make")
@config_option
@set_option
def keys_make(config: Path, overrides: tuple[str, ...]) -> None:
    """Make the keys that do not exist yet: token signing, refresh tokens, sealing. Existing ones are left alone."""
    from consent_server.parties.operator import keyring

    _log_to_standard_error()
    settings = _settings(config, overrides)
    for line in keyring.make_missing(settings, clock.now()):
        click.echo(line)


@keys.command("list")
@config_option
@set_option
def keys_list(config: Path, overrides: tuple[str, ...]) -> None:
    """Every key: kind, name, whether it is next, in use or old, and since or until when."""
    from consent_server.parties.operator import keyring

    settings = _settings(config, overrides)
    with _said_plainly():
        for key in keyring.held(settings, clock.now()):
            click.echo(key)


@keys.command("rotate")
@config_option
@set_option
@kind_argument
def keys_rotate(config: Path, overrides: tuple[str, ...], kind: Any) -> None:
    """Publish a new key of a KIND. It is used ten minutes later, when nobody's copy of the JWKS is older than it."""
    from consent_server.parties.operator import keyring

    _log_to_standard_error()
    settings = _settings(config, overrides)
    with _database(settings), _said_plainly():
        click.echo(keyring.rotate(settings, kind, clock.now()))


# One kid in 64 begins with a dash.
@keys.command("retire", context_settings={"ignore_unknown_options": True})
@config_option
@set_option
@kind_argument
@click.argument("name")
@click.option("--at-once", is_flag=True, help="A signing key leaked: every token that it signed stops working now.")
def keys_retire(config: Path, overrides: tuple[str, ...], kind: Any, name: str, at_once: bool) -> None:
    """Remove a key that nothing valid rests on any more. A refresh-token version is kept for 25 months."""
    from consent_server.parties.operator import keyring

    if at_once and kind == "refresh":
        raise click.UsageError("--at-once is for signing keys: withdraw the permissions whose tokens leaked instead")
    _log_to_standard_error()
    settings = _settings(config, overrides)
    with _database(settings), _said_plainly():
        keyring.retire(settings, kind, name, clock.now(), at_once=at_once)
    click.echo(f"{name} is retired.")


@main.group()
def audit() -> None:
    """Read the audit events that are kept beside the acts: grants, decisions, withdrawals, keys. JSON lines."""


def _instant(_context: Any, _option: Any, text: str | None) -> int | None:
    from consent_server.parties.operator import records

    with _said_plainly():
        return None if text is None else records.instant_of(text)


def _print_events(config: Path, overrides: tuple[str, ...], **wanted: Any) -> None:
    from consent_server.parties.operator import records

    with _database(_settings(config, overrides)), _said_plainly():
        for line in records.events(**wanted):
            click.echo(json.dumps(line))


@audit.command("tail")
@config_option
@set_option
@click.option("--event", help="Events of this name alone, such as permission_withdrawn.")
@click.option("--permission", help="Events about this permission or connection alone.")
@click.option("--since", callback=_instant, metavar="TIME", help="Events from this day or instant on (UTC).")
@click.option("--lines", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
def audit_tail(config: Path, overrides: tuple[str, ...], event: str, permission: str, since: int, lines: int) -> None:
    """The newest events, oldest of them first."""
    from consent_server.audit import EVENTS

    if event is not None and event not in EVENTS:
        raise click.BadParameter(f"there is no such event; there are {', '.join(sorted(EVENTS))}", param_hint="--event")
    _print_events(config, overrides, event=event, subject=permission, since=since, limit=lines)


@audit.command("show")
@config_option
@set_option
@click.argument("permission")
def audit_show(config: Path, overrides: tuple[str, ...], permission: str) -> None:
    """The whole history of one PERMISSION (or connection)."""
    _print_events(config, overrides, subject=permission, limit=100_000)


@main.group()
def permissions() -> None:
    """See a permission, and withdraw it for an SME that asked by another way."""


@permissions.command("show")
@config_option
@set_option
@click.argument("permission")
def permissions_show(config: Path, overrides: tuple[str, ...], permission: str) -> None:
    """Everything that is kept of a PERMISSION (or connection) but tokens and meter numbers."""
    from consent_server.parties.operator import records

    with _database(_settings(config, overrides)), _said_plainly():
        click.echo(json.dumps(records.permission(permission), indent=1))


@permissions.command("withdraw")
@config_option
@set_option
@click.argument("permission")
@click.option("--why", required=True, help="Kept with the permission and in the audit; no meter numbers.")
def permissions_withdraw(config: Path, overrides: tuple[str, ...], permission: str, why: str) -> None:
    """Withdraw a PERMISSION with all that rests on it. `consent-server work` tells the clients."""
    from consent_server.parties.operator import records

    _log_to_standard_error()
    with _database(_settings(config, overrides)), _said_plainly():
        fallen = records.withdraw_as_operator(permission, why)
    click.echo("Withdrawn: " + ", ".join(fallen))


@main.group()
def outbox() -> None:
    """See and retry the calls that withdrawals owe."""


def _each_call(config: Path, overrides: tuple[str, ...], rows: Any) -> None:
    from consent_server import store
    from consent_server.store import outbox as calls

    with _database(_settings(config, overrides)), _said_plainly():
        with store.reading() as c:
            found = rows(calls, c)
        for row in found:
            click.echo(f"{row.id}\t{row.kind}\t{row.recipient}\tattempts={row.attempts}\t{row.last_error or ''}")


@outbox.command("waiting")
@config_option
@set_option
def outbox_waiting(config: Path, overrides: tuple[str, ...]) -> None:
    """Calls that have not been delivered yet."""
    _each_call(config, overrides, lambda calls, c: calls.waiting(c))


@outbox.command("given-up")
@config_option
@set_option
def outbox_given_up(config: Path, overrides: tuple[str, ...]) -> None:
    """Calls that were given up; retry them with `outbox retry`."""
    _each_call(config, overrides, lambda calls, c: calls.given_up(c))


@outbox.command("retry")
@config_option
@set_option
@click.argument("number", type=int)
def outbox_retry(config: Path, overrides: tuple[str, ...], number: int) -> None:
    """Take call NUMBER from the give-up list back to the queue."""
    from consent_server import store
    from consent_server.store import outbox as calls

    with _database(_settings(config, overrides)), _said_plainly():
        with store.writing() as c:
            found = calls.retry(c, number, clock.now())
        if not found:
            raise click.ClickException(f"{number} is not on the give-up list: see `consent-server outbox given-up`")
    click.echo(f"{number} is due now.")


@main.command()
@config_option
@set_option
def doctor(config: Path, overrides: tuple[str, ...]) -> None:
    """Check a deployment before it goes live. Each line says what to do; the exit status is 1 when one says FAIL."""
    from consent_server.parties.operator import doctor as examination

    try:
        settings = load(config, _pairs(overrides))
    except BadSettings as error:
        for finding in examination.settings_faults(str(error)):
            click.echo(finding)
        sys.exit(1)
    if settings.sandbox.clock:
        clock.follow(settings.sandbox.clock)
    failed = 0
    click.echo(f"ok    settings: {config}")
    for finding in examination.examine(settings, clock.now(), lambda: _database(settings)):
        click.echo(finding)
        failed += finding.level == examination.FAIL
    if failed:
        click.echo(f"{failed} to mend before this goes live.")
        sys.exit(1)


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
