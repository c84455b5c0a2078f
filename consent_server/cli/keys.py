"""`consent-server keys`: made once, before the first start, then rotated and retired."""

from typing import TYPE_CHECKING

import click

from consent_server import clock
from consent_server.cli.shared import IDS_ARE_ARGUMENTS, agreed, database_of, destructive, said_plainly, with_settings
from consent_server.serving import lines

if TYPE_CHECKING:
    from consent_server.parties.operator.keyring import Kind
    from consent_server.settings import Settings

hsm_option = click.option(
    "--hsm", metavar="URI", help="Make the signing key in this token: its PKCS#11 URI (docs/operator.md)."
)
kind_argument = click.argument("kind", type=click.Choice(["signing", "refresh"]))


@click.group()
def keys() -> None:
    """Make, rotate and retire the keys of a party. Running doors pick up each change without a restart."""


@keys.command("make")
@with_settings
@hsm_option
def make(settings: "Settings", hsm: str | None) -> None:
    """Make the keys that do not exist yet: token signing, refresh tokens, sealing. Existing ones are left alone."""
    from consent_server.parties.operator import keyring

    lines.install("work")
    with said_plainly():
        for line in keyring.make_missing(settings, clock.now(), hsm):
            click.echo(line)


@keys.command("list")
@with_settings
def list_(settings: "Settings") -> None:
    """List every key: kind, name, whether it is next, in use or old, and since or until when."""
    from consent_server.parties.operator import keyring

    with said_plainly():
        for key in keyring.held(settings, clock.now()):
            click.echo(key)


@keys.command("rotate")
@with_settings
@kind_argument
@hsm_option
def rotate(settings: "Settings", kind: "Kind", hsm: str | None) -> None:
    """Publish a new key of a KIND. It comes into use ten minutes later, when every cached copy of the JWKS contains it.

    A signing key is made where the newest is, a file or an HSM, unless --hsm names another token.
    """
    from consent_server.parties.operator import keyring

    if hsm and kind == "refresh":
        raise click.UsageError("--hsm is for signing keys: refresh-token keys are files")
    lines.install("work")
    with database_of(settings):
        click.echo(keyring.rotate(settings, kind, clock.now(), hsm))


@keys.command("retire", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@kind_argument
@click.argument("name")
@click.option("--at-once", is_flag=True, help="A signing key leaked: every token that it signed stops working now.")
@destructive
def retire(settings: "Settings", kind: "Kind", name: str, at_once: bool, dry_run: bool, yes: bool) -> None:
    """Remove a key that no valid token depends on any more. A refresh-token version is kept for 25 months.

    A key in an HSM stays there: the command names it, to be destroyed with the HSM's own tool.
    """
    from consent_server.parties.operator import keyring

    if at_once and kind == "refresh":
        raise click.UsageError("--at-once is for signing keys: withdraw the permissions whose tokens leaked instead")
    with database_of(settings):
        at = clock.now()
        keyring.require_retirable(settings, kind, name, at, at_once=at_once)
        effect = "every token that it signed stops working" if at_once else "nothing valid depends on it"
        if not agreed(f"To be removed: the {kind} key {name}; {effect}.", dry_run=dry_run, yes=yes):
            return
        lines.install("work")
        stays = keyring.retire(settings, kind, name, at, at_once=at_once)
    click.echo(f"{name} is retired.")
    if stays is not None:
        click.echo(f"Its private key is still in the HSM: destroy it there, with the HSM's own tool: {stays}")
