"""`consent-server …`: run the doors and the jobs, maintain the database and the keys, and try it all in the sandbox.

Each command imports what it needs when it runs, so that `consent-server --help` does not wait for the whole package.
"""

import atexit
import gc

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
    outbox,
    permissions,
    process,
    provenance,
    report,
    sandbox,
    subject,
)


@click.group()
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
    evidence.evidence,
    catalogue.catalogue,
    guard.guard,
    provenance.provenance,
    factors.factors,
    report.report,
    sandbox.sandbox,
):
    main.add_command(_command)
