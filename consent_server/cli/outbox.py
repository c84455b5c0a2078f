"""`consent-server outbox`: the calls that withdrawals owe."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from consent_server import clock
from consent_server.cli.shared import database_of, with_settings

if TYPE_CHECKING:
    from consent_server.settings import Settings
    from consent_server.store.tables.owed import OwedCall


@click.group()
def outbox() -> None:
    """List and retry the calls that withdrawals require."""


@outbox.command("waiting")
@with_settings
def waiting(settings: "Settings") -> None:
    """List the calls that have not been delivered yet."""
    from consent_server import store
    from consent_server.store import outbox as calls

    with database_of(settings), store.reading() as c:
        _print(calls.waiting(c))


@outbox.command("given-up")
@with_settings
def given_up(settings: "Settings") -> None:
    """List the calls that were given up; retry them with `outbox retry`."""
    from consent_server import store
    from consent_server.store import outbox as calls

    with database_of(settings), store.reading() as c:
        _print(calls.given_up(c))


@outbox.command("retry")
@with_settings
@click.argument("number", type=int)
def retry(settings: "Settings", number: int) -> None:
    """Queue the given-up call NUMBER again."""
    from consent_server import store
    from consent_server.store import outbox as calls

    with database_of(settings):
        with store.writing() as c:
            found = calls.retry(c, number, clock.now())
        if not found:
            raise click.ClickException(f"{number} is not on the give-up list: see `consent-server outbox given-up`")
    click.echo(f"{number} is due now.")


def _print(found: Iterable["OwedCall"]) -> None:
    for call in found:
        click.echo(f"{call.id}\t{call.kind}\t{call.recipient}\tattempts={call.attempts}\t{call.last_error or ''}")
