"""`consent-server doctor`: a deployment is examined before it goes live."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent_server import clock
from consent_server.cli.shared import config_option, read_settings, set_option

if TYPE_CHECKING:
    from consent_server.settings import Settings


@click.command()
@config_option
@set_option
@click.option("--mail-to", metavar="ADDRESS", default="", help="Send a test mail to this address as well.")
def doctor(config: Path, overrides: tuple[str, ...], mail_to: str) -> None:
    """Check a deployment before it goes live. Each line says what to do. The exit status is 1 if a line says FAIL."""
    from consent_server.parties.operator import doctor as examination

    settings = examined_settings(config, overrides)
    failed = 0
    for finding in examination.examine(settings, clock.now(), mail_to):
        click.echo(finding)
        failed += finding.level == examination.FAIL
    if failed:
        click.echo(f"{failed} to mend before this goes live.")
        sys.exit(1)


def examined_settings(config: Path, overrides: tuple[str, ...]) -> "Settings":
    """Return the settings, or end the command with a finding for each key that is wrong."""
    from consent_server.parties.operator import doctor as examination
    from consent_server.settings import BadSettings

    try:
        settings = read_settings(config, overrides)
    except BadSettings as error:
        for finding in examination.settings_faults(str(error)):
            click.echo(finding)
        sys.exit(1)
    click.echo(f"ok    settings: {config}")
    return settings
