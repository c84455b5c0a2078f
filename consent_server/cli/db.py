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
    """Bring the schema up to date. Safe to repeat, and to run on several machines at once."""
    from consent_server.store.schema import migrate, standing

    with database_of(settings):
        migrate()
        newer = standing() == "newer"
    click.echo("The schema is of a newer version, which suits this one." if newer else "The schema is up to date.")
