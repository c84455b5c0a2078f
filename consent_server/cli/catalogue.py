"""`consent-server catalogue`: our entry in the Directory's data catalogue."""

import json
import sys
from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import database_of, said_plainly, with_settings

if TYPE_CHECKING:
    from consent_server.settings import Settings


@click.group()
def catalogue() -> None:
    """Write and check our entry in the Directory's data catalogue."""


@catalogue.command("entry")
@with_settings
def entry(settings: "Settings") -> None:
    """Print our entry as JSON-LD, to publish at a public https address or to paste into the Directory."""
    from consent_server.parties.operator import catalogue as entries

    with said_plainly():
        click.echo(json.dumps(entries.entry(settings), indent=1, ensure_ascii=False))


@catalogue.command("check")
@with_settings
def check(settings: "Settings") -> None:
    """Call the doors that the entry names, with our own certificate. The exit status is 1 if one does not respond."""
    from consent_server.deployment import Deployment
    from consent_server.parties import party_of
    from consent_server.parties.operator import catalogue as entries
    from consent_server.parties.operator.doctor import FAIL

    with database_of(settings):
        entries.entry(settings)
        findings = list(entries.check(Deployment(settings, party_of(settings))))
    for finding in findings:
        click.echo(finding)
    if any(finding.level == FAIL for finding in findings):
        sys.exit(1)
