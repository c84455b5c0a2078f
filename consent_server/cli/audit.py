"""`consent-server audit`: the events that are kept in the database."""

import json
from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import IDS_ARE_ARGUMENTS, database_of, said_plainly, with_settings

if TYPE_CHECKING:
    from consent_server.settings import Settings

MOST_LINES = 100_000


@click.group()
def audit() -> None:
    """Read the audit events that are kept beside the acts: grants, decisions, withdrawals, keys. JSON lines."""


def _instant(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    from consent_server.parties.operator import records

    with said_plainly():
        return None if text is None else records.instant_of(text)


@audit.command("tail")
@with_settings
@click.option("--event", help="Events of this name alone, such as permission_withdrawn.")
@click.option("--permission", help="Events about this permission or connection alone.")
@click.option("--since", callback=_instant, metavar="TIME", help="Events from this day or instant on (UTC).")
@click.option("--lines", type=click.IntRange(1, MOST_LINES), default=100, show_default=True, help="At most so many.")
def tail(settings: "Settings", event: str | None, permission: str | None, since: int | None, lines: int) -> None:
    """The newest events, oldest of them first."""
    from consent_server.audit import EVENTS

    if event is not None and event not in EVENTS:
        raise click.BadParameter(f"there is no such event; there are {', '.join(sorted(EVENTS))}", param_hint="--event")
    _print_events(settings, event, permission, since, lines)


@audit.command("show", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@click.argument("permission")
def show(settings: "Settings", permission: str) -> None:
    """The whole history of one PERMISSION (or connection)."""
    _print_events(settings, None, permission, None, MOST_LINES)


def _print_events(settings: "Settings", event: str | None, subject: str | None, since: int | None, limit: int) -> None:
    from consent_server.parties.operator import records

    with database_of(settings):
        for line in records.events(event=event, subject=subject, since=since, limit=limit):
            click.echo(json.dumps(line))
