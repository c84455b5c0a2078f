"""`consent-server mail`: the receipts and reminders that could not be sent."""

from typing import TYPE_CHECKING

import click

from consent_server import clock
from consent_server.cli.shared import IDS_ARE_ARGUMENTS, database_of, with_settings

if TYPE_CHECKING:
    from consent_server.settings import Settings


@click.group()
def mail() -> None:
    """List and retry unsent mails to businesses."""


@mail.command("list")
@with_settings
def list_(settings: "Settings") -> None:
    """List the mails that were not sent: waiting, or given up. Only the first letter and the domain of an address are shown."""
    from consent_server import store
    from consent_server.receipts import receipt
    from consent_server.scheme.instant import text
    from consent_server.store import mails

    with database_of(settings), store.reading() as c:
        for owed in mails.unsent(c):
            to = _masked(receipt.address(c, owed.subject) or "-")
            state = "waiting" if owed.given_up is None else "given-up"
            line = (owed.subject, owed.kind, state, to, text(owed.created), f"attempts={owed.attempts}")
            click.echo("\t".join((*line, owed.last_error or "")))


@mail.command("retry", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@click.option("--all", "every", is_flag=True, help="Queue every mail that was given up.")
@click.option("--dry-run", is_flag=True, help="Print which mails would be queued again, and change nothing.")
@click.argument("subject", required=False)
def retry(settings: "Settings", every: bool, dry_run: bool, subject: str | None) -> None:
    """Queue the given-up mails about SUBJECT, a permission or connection, again; with --all, every given-up mail."""
    from consent_server import store
    from consent_server.store import mails

    if every == (subject is not None):
        raise click.UsageError("name a permission or connection, or say --all")
    with database_of(settings):
        with store.reading() if dry_run else store.writing() as c:
            given_up = [owed for owed in mails.unsent(c) if owed.given_up is not None]
            chosen = [owed for owed in given_up if every or owed.subject == subject]
            if not dry_run:
                chosen = [owed for owed in chosen if mails.retry(c, owed.subject, owed.kind, clock.now())]
        if not chosen and not every:
            raise click.ClickException(f"no mail about {subject} was given up: see `consent-server mail list`")
    for owed in chosen:
        click.echo(f"{owed.subject}\t{owed.kind}\t{'would be due now' if dry_run else 'due now'}")


def _masked(address: str) -> str:
    name, at, domain = address.rpartition("@")
    return f"{name[:1]}***@{domain}" if at else address
