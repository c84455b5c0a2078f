"""`consent-server datasources`: which meter is behind the id that a client or a token names."""

import json
from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import IDS_ARE_ARGUMENTS, database_of, with_settings

if TYPE_CHECKING:
    from consent_server.settings import Settings


@click.group()
def datasources() -> None:
    """Find the meter behind the id of a data source."""


@datasources.command("show", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
def show(settings: "Settings", ids: tuple[str, ...]) -> None:
    """Print the register's meter for each ID, with the business's time at it. The exit status is 1 if an ID has none."""
    from consent_server.metering import data_sources, sources
    from consent_server.parties.operator.records import CommandFailed

    with database_of(settings):
        found = data_sources.behind(ids, sources.register_of(settings.metering))
        for source in found:
            click.echo(json.dumps(source.as_json()))
        if missing := [each for each in ids if each not in {source.id for source in found}]:
            raise CommandFailed(f"no meter is behind {', '.join(missing)}")
