"""`consent-server onboard`: how far a party is on its way into the scheme."""

import sys
from pathlib import Path

import click

from consent_server import clock
from consent_server.cli.doctor import examined_settings
from consent_server.cli.shared import config_option, set_option


@click.group()
def onboard() -> None:
    """Join the scheme: show what is done, and what is still to do."""


@onboard.command("check")
@config_option
@set_option
def check(config: Path, overrides: tuple[str, ...]) -> None:
    """Check every step of joining, and list what only a person can do. The exit status is 1 while a line says FAIL."""
    from consent_server.parties.operator import onboarding

    settings = examined_settings(config, overrides)
    found = []
    for step in onboarding.steps(settings, clock.now()):
        found.append(step)
        if step.findings:
            click.echo(f"\n{step.title}")
        for finding in step.findings:
            click.echo(finding)
    click.echo("\nFor a person to do")
    for task in onboarding.tasks(settings, found):
        click.echo(task)
    if missing := [step.title for step in found if not step.done]:
        click.echo(f"\nNot done: {', '.join(missing)}.")
        sys.exit(1)
    click.echo("\nEvery step that can be checked is done.")
