"""`consent-server audit`: the events that are kept in the database, and the chain that they form."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import (
    IDS_ARE_ARGUMENTS,
    application_of,
    certificates_in,
    database_of,
    require_new,
    said_plainly,
    with_settings,
)

if TYPE_CHECKING:
    from consent_server.settings import Settings

MOST_LINES = 100_000


@click.group()
def audit() -> None:
    """Read, check and export the audit trail."""


def _instant(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    from consent_server.parties.operator import records

    with said_plainly():
        return None if text is None else records.instant_of(text)


@audit.command("tail")
@with_settings
@click.option("--event", help="Only events of this name, such as permission_withdrawn.")
@click.option("--permission", help="Only events about this permission or connection.")
@click.option("--since", callback=_instant, metavar="TIME", help="Only events on or after this day or instant (UTC).")
@click.option("--lines", type=click.IntRange(1, MOST_LINES), default=100, show_default=True, help="At most this many.")
def tail(settings: "Settings", event: str | None, permission: str | None, since: int | None, lines: int) -> None:
    """Print the newest events, in order of time."""
    from consent_server.audit import EVENTS

    if event is not None and event not in EVENTS:
        raise click.BadParameter(f"there is no such event; there are {', '.join(sorted(EVENTS))}", param_hint="--event")
    _print_events(settings, event, permission, since, lines)


@audit.command("show", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@click.argument("permission")
def show(settings: "Settings", permission: str) -> None:
    """Print the whole history of one PERMISSION (or connection)."""
    if not _print_events(settings, None, permission, None, MOST_LINES):
        raise click.ClickException(f"no event is kept about {permission}: see `consent-server permissions list`")


def _print_events(settings: "Settings", event: str | None, subject: str | None, since: int | None, limit: int) -> int:
    """Print the events that match. Return how many they are."""
    from consent_server.parties.operator import records

    printed = 0
    with database_of(settings):
        for line in records.events(event=event, subject=subject, since=since, limit=limit):
            click.echo(json.dumps(line))
            printed += 1
    return printed


_READABLE = click.Path(path_type=Path, dir_okay=False, exists=True)


@audit.command("verify")
@with_settings
@click.option(
    "--checkpoint", "kept", type=_READABLE, multiple=True, help="A checkpoint that a partner kept. May be repeated."
)
@click.option("--root", type=_READABLE, help="PEM of the Directory's signing root, in place of keys.signing_root.")
def verify(settings: "Settings", kept: tuple[Path, ...], root: Path | None) -> None:
    """List every event that was changed, moved, inserted or removed. The exit status is 1 if there is one."""
    from consent_server.parties.operator.audit_trail import Verified
    from consent_server.scheme.signed_document import DocumentFault

    trusted = certificates_in(root or settings.keys.signing_root)[0]
    found = 0
    with database_of(settings):
        chain = Verified(trusted, [path.read_bytes() for path in kept])
        try:
            for fault in chain.faults():
                found += 1
                click.echo(f"position {fault.position}: {fault.kind}: {fault.why}")
        except DocumentFault as fault:
            raise click.ClickException(f"a checkpoint of --checkpoint does not hold: {fault}") from None
        if not found:
            click.echo(f"{chain.events} events hold, against {chain.signed} signed checkpoints.")
    if found:
        raise click.ClickException(f"the audit trail does not hold: {found} faults; docs/audit.md says what to do")


@audit.command("seal")
@with_settings
def seal(settings: "Settings") -> None:
    """Sign the end of the chain now, and not with the next day's checkpoint: before an export, or at a party's end."""
    from consent_server.jobs.audit_trail import seal as seal_trail
    from consent_server.parties.operator import audit_trail

    with application_of(settings, "mutual_tls"):
        seal_trail(at_once=True)
        signed = audit_trail.signed_until()
    click.echo("There is no event yet." if signed is None else f"Signed: the chain until position {signed}.")


@audit.command("checkpoints")
@with_settings
@click.option(
    "--since", callback=_instant, metavar="TIME", help="Only those signed on or after this day or instant (UTC)."
)
def checkpoints(settings: "Settings", since: int | None) -> None:
    """Print the signed checkpoints as JSON lines, oldest first, for a partner to keep."""
    from consent_server.parties.operator import audit_trail

    with database_of(settings):
        for signed in audit_trail.checkpoints(since or 0):
            click.echo(json.dumps(signed))


@audit.command("export")
@with_settings
@click.option("--permission", "subjects", multiple=True, help="A permission or connection. May be repeated.")
@click.option("--business", help="All permissions of the business with this name, as in its evidence.")
@click.option("--all", "everything", is_flag=True, help="All permissions and connections.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The archive to write: a new file."
)
def export(settings: "Settings", subjects: tuple[str, ...], business: str | None, everything: bool, out: Path) -> None:
    """Write an archive for an auditor: events with proofs, evidence, records, receipts. docs/audit.md says how to check it."""
    from consent_server.parties.operator import audit_trail

    if bool(subjects) + bool(business) + everything != 1:
        raise click.UsageError("name --permission, once or more, or --business, or --all")
    require_new(out)
    with application_of(settings, "mutual_tls"):
        events = audit_trail.export(subjects or audit_trail.permissions_of(business), out)
    click.echo(f"{out}: {events} events")
