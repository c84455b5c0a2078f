"""`consent-server permissions`: one permission or connection, shown or withdrawn."""

import json
from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import IDS_ARE_ARGUMENTS, database_of, with_settings
from consent_server.serving import lines

if TYPE_CHECKING:
    from consent_server.settings import Settings


@click.group()
def permissions() -> None:
    """See a permission, and withdraw it for an SME that asked by another way."""


@permissions.command("show", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@click.argument("permission")
def show(settings: "Settings", permission: str) -> None:
    """Everything that is kept of a PERMISSION (or connection) but tokens and meter numbers."""
    from consent_server.parties.operator import records

    with database_of(settings):
        click.echo(json.dumps(records.permission(permission), indent=1))


@permissions.command("withdraw", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@click.argument("permission")
@click.option("--why", required=True, help="Kept with the permission and in the audit; no meter numbers.")
def withdraw(settings: "Settings", permission: str, why: str) -> None:
    """Withdraw a PERMISSION with all that rests on it. `consent-server work` sends the messages to the clients."""
    from consent_server.parties.operator import records

    lines.install("work")
    with database_of(settings):
        fallen = records.withdraw_as_operator(permission, why)
    click.echo("Withdrawn: " + ", ".join(fallen))
