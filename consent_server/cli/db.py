"""`consent-server db`: the schema of a party's database."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import database_of, with_settings
from consent_server.serving import lines

if TYPE_CHECKING:
    from consent_server.settings import Settings


@click.group()
def db() -> None:
    """Upgrade and repair the database."""


@db.command("upgrade")
@with_settings
def upgrade(settings: "Settings") -> None:
    """Bring the schema up to date, and what nodes of the version before wrote since. Safe to repeat, and to run on several
    machines at once.
    """
    from consent_server.store.data_sources import number_the_rest
    from consent_server.store.schema import migrate, state

    with database_of(settings, make=True):
        migrate()
        number_the_rest()
        newer = state() == "newer"
    click.echo("The schema is of a newer version, which suits this one." if newer else "The schema is up to date.")


@db.command("replay-withdrawals")
@with_settings
@click.argument("journals", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def replay_withdrawals(settings: "Settings", journals: tuple[Path, ...]) -> None:
    """After a back-up was restored, end again what the JOURNALS (one file for each node) say was withdrawn. Safe to repeat."""
    from consent_server.store import withdrawal_journal
    from consent_server.withdrawal.replay import replay

    lines.install("work")
    entries, unreadable = [], []
    for journal in journals:
        for found in withdrawal_journal.read(journal):
            if isinstance(found, int):
                unreadable.append(f"{journal}, line {found}")
            else:
                entries.append(found)
    with database_of(settings):
        effects = replay(sorted(entries, key=lambda entry: entry.at))
    click.echo(
        f"Ended: {effects['ended']}. Had ended: {effects['had ended']}. Not in the back-up: {effects['unknown']}."
    )
    if unreadable:
        raise click.ClickException("lines that are no entries, look at them: " + "; ".join(unreadable))
