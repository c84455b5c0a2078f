"""`consent-server …`: run the doors and the jobs, maintain the database and the keys, and try it all in the sandbox.

Each command imports what it needs when it runs, so that `consent-server --help` does not wait for the whole package.
"""

import atexit
import gc
from typing import Any

import click

from consent_server.cli import (
    audit,
    catalogue,
    datasources,
    db,
    doctor,
    evidence,
    factors,
    guard,
    keys,
    loading,
    mail,
    metering,
    onboard,
    outbox,
    permissions,
    process,
    provenance,
    report,
    sandbox,
    status,
    subject,
)


class _Commands(click.Group):
    """The commands, of which those of a server say so where the package was installed for the guard alone."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if (error.name or "consent_server").partition(".")[0] == "consent_server":
                raise
            needs = f"{ctx.invoked_subcommand} needs {error.name}: pip install 'consent-server[server]'"
            raise click.ClickException(needs) from None


@click.group(cls=_Commands)
@click.version_option(package_name="consent-server")
def main() -> None:
    """Consent and authorisation server for the Perseus scheme."""
    # At its end the interpreter looks for garbage in all that a command has loaded, which takes 0.3 s.
    atexit.register(gc.freeze)


for _command in (
    process.serve,
    process.work,
    db.db,
    keys.keys,
    audit.audit,
    permissions.permissions,
    subject.subject,
    datasources.datasources,
    metering.metering,
    loading.meters,
    loading.readings,
    outbox.outbox,
    mail.mail,
    doctor.doctor,
    onboard.onboard,
    evidence.evidence,
    catalogue.catalogue,
    guard.guard,
    provenance.provenance,
    factors.factors,
    report.report,
    status.status,
    sandbox.sandbox,
):
    main.add_command(_command)
