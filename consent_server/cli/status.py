"""`consent-server status`: what partners are told about incidents and downtime."""

from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import database_of, with_settings

if TYPE_CHECKING:
    from consent_server.settings import Settings
    from consent_server.store.tables.status import StatusNotice

_parts = click.option(
    "--part",
    "parts",
    type=click.Choice(["issuer", "data", "messages"]),
    multiple=True,
    required=True,
    help="The part that is affected; may be repeated.",
)
_text = click.option("--text", required=True, help="What partners notice, and what they can do.")
_dry_run = click.option("--dry-run", is_flag=True, help="Print what would be announced, and change nothing.")


@click.group()
def status() -> None:
    """Announce incidents and planned downtime, on the status page and in its feed."""


@status.command("list")
@with_settings
def list_(settings: "Settings") -> None:
    """Print the state of each part, and every notice of the last 90 days and of the future."""
    from consent_server.status import state

    with database_of(settings):
        found = state.now()
    for part in found.parts:
        share = "-" if part.availability is None else f"{part.availability:.3%}"
        click.echo(f"{part.name}\t{part.state}\t{share} in 90 days")
    for notice in found.notices:
        click.echo(_line(notice))


@status.group()
def incident() -> None:
    """Open, update or close an incident."""


@incident.command("open")
@with_settings
@_parts
@click.option(
    "--effect", type=click.Choice(["down", "degraded"]), required=True, help="Down: it does not serve at all."
)
@click.option("--since", default="", help="When it began, such as 2026-03-12T09:30:00Z; else now.")
@_text
@click.argument("title")
def open_(settings: "Settings", parts: tuple[str, ...], effect: str, since: str, text: str, title: str) -> None:
    """Announce an incident. While `data` is down the heartbeat says so too."""
    from consent_server.parties.operator import notices
    from consent_server.parties.operator.records import instant_of

    with database_of(settings):
        began = instant_of(since) if since else None
        how: notices.Effect = "down" if effect == "down" else "degraded"
        click.echo(_line(notices.open_incident(parts, how, title, text, began)))


@incident.command("update")
@with_settings
@_text
@click.argument("incident_id", metavar="ID")
def update(settings: "Settings", text: str, incident_id: str) -> None:
    """Publish the current state of an incident."""
    from consent_server.parties.operator import notices

    with database_of(settings):
        click.echo(_line(notices.update_incident(incident_id, text, close=False)))


@incident.command("close")
@with_settings
@_text
@click.argument("incident_id", metavar="ID")
def close(settings: "Settings", text: str, incident_id: str) -> None:
    """Close an incident, saying what it was."""
    from consent_server.parties.operator import notices

    with database_of(settings):
        click.echo(_line(notices.update_incident(incident_id, text, close=True)))


@status.group()
def downtime() -> None:
    """Plan or cancel downtime."""


@downtime.command("plan")
@with_settings
@_parts
@click.option("--from", "begins", required=True, help="Such as 2026-03-12T09:30:00Z.")
@click.option("--to", "ends", required=True, help="Such as 2026-03-12T11:30:00Z.")
@click.option("--short-notice", is_flag=True, help="Announce it with less than five working days' notice.")
@_dry_run
@click.argument("title")
def plan(
    settings: "Settings",
    parts: tuple[str, ...],
    begins: str,
    ends: str,
    short_notice: bool,
    dry_run: bool,
    title: str,
) -> None:
    """Announce downtime, at least five working days ahead and preferably a month."""
    from consent_server.parties.operator import notices
    from consent_server.parties.operator.records import instant_of

    with database_of(settings):
        planned = notices.plan_downtime(
            parts, title, instant_of(begins), instant_of(ends), short_notice=short_notice, keep=not dry_run
        )
    click.echo(_line(planned))
    if not planned.in_time:
        click.echo("less than five working days' notice: it counts as failure in the service levels", err=True)
    elif not notices.is_a_month_ahead(planned):
        click.echo("notice enough; the scheme prefers a month", err=True)
    if dry_run:
        click.echo("nothing was changed", err=True)


@downtime.command("cancel")
@with_settings
@click.argument("downtime_id", metavar="ID")
def cancel(settings: "Settings", downtime_id: str) -> None:
    """Cancel planned downtime, or end downtime that has begun."""
    from consent_server.parties.operator import notices

    with database_of(settings):
        click.echo(_line(notices.cancel_downtime(downtime_id)))


def _line(notice: "StatusNotice") -> str:
    from consent_server.scheme.instant import text

    ends = "open" if notice.ends is None else text(notice.ends)
    state = "cancelled" if notice.cancelled is not None else notice.effect
    return "\t".join((notice.id, notice.kind, state, text(notice.begins), ends, ",".join(notice.parts), notice.title))
