"""`consent-server db`: the schema of a party's database."""

from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import database_of, with_settings

if TYPE_CHECKING:
    from consent_server.settings import Settings


@click.group()
def db() -> None:
    """Keep the database."""


@db.command("upgrade")
@with_settings
def upgrade(settings: "Settings") -> None:
    """Bring the schema up to date. Safe to repeat."""
    from consent_server.store.database import migrate

    with database_of(settings):
        migrate()
    click.echo("The schema is up to date.")
