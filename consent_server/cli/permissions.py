"""`consent-server permissions`: one permission or connection, shown or withdrawn."""

import json
from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import IDS_ARE_ARGUMENTS, agreed, database_of, destructive, with_settings
from consent_server.serving import lines

if TYPE_CHECKING:
    from consent_server.settings import Settings


@click.group()
def permissions() -> None:
    """Show a permission, or withdraw it for an SME that asked outside the pages."""


@permissions.command("list")
@with_settings
def list_(settings: "Settings") -> None:
    """Print the ids of all permissions and connections in force, one on each line, as `permissions withdraw` takes them."""
    from consent_server.parties.operator import records

    with database_of(settings):
        for permission in records.living():
            click.echo(permission)


@permissions.command("show", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@click.argument("permission")
def show(settings: "Settings", permission: str) -> None:
    """Print everything that is stored about a PERMISSION (or connection), except tokens and meter numbers."""
    from consent_server.parties.operator import records

    with database_of(settings):
        click.echo(json.dumps(records.permission(permission), indent=1))


@permissions.command("withdraw", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@click.argument("subjects", nargs=-1, required=True, metavar="PERMISSION...")
@click.option(
    "--why", required=True, help="The reason, kept with the permission and in the audit trail; no meter numbers."
)
@destructive
def withdraw(settings: "Settings", subjects: tuple[str, ...], why: str, dry_run: bool, yes: bool) -> None:
    """Withdraw each PERMISSION and all that depends on it. `consent-server work` sends the messages to the clients."""
    from consent_server.parties.operator import records

    ended: set[str] = set()
    with database_of(settings):
        records.reason_of(why, "say why")
        plan = "\n".join("To be withdrawn: " + ", ".join(records.ending(subject)) for subject in subjects)
        if not agreed(plan, dry_run=dry_run, yes=yes):
            return
        lines.install("work")
        for subject in subjects:
            if subject not in ended:  # it rested on one before it
                withdrawn = records.withdraw_as_operator(subject, why)
                ended.update(withdrawn)
                click.echo("Withdrawn: " + ", ".join(withdrawn))
