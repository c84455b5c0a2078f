"""`consent-server meters load` and `readings load`: an EDP's own meters and readings from files."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import agreed, database_of, destructive, with_settings

if TYPE_CHECKING:
    from consent_server.metering.importing.load import How
    from consent_server.metering.importing.report import LoadReport
    from consent_server.settings import Settings

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_dry_run = click.option("--dry-run", is_flag=True, help="Read and check every line, but store nothing.")


@click.group()
def meters() -> None:
    """Manage the meter register, if it is in our own database."""


@click.group()
def readings() -> None:
    """Manage the readings, if they are in our own database."""


@meters.command("load")
@with_settings
@click.argument("path", type=_FILE, metavar="FILE")
@_dry_run
def load_meters(settings: "Settings", path: Path, dry_run: bool) -> None:
    """Load meters from a CSV or JSON FILE: meter_id, sme_id, business, postcode, and mpan or mprn.

    Optional columns are measures, site, since, until, capacity and customer. The exit status is 0 if every line was accepted,
    3 if some were refused, and 1 if none was accepted or the file cannot be read.
    """
    from consent_server.metering.importing import register
    from consent_server.metering.importing.report import FileFault, LoadReport

    report = LoadReport()
    with database_of(settings):
        try:
            register.load(path, dry_run, report)
        except FileFault as fault:
            _say(report)
            raise click.ClickException(f"{path}: {fault}") from None
    _say(report)
    sys.exit(report.status)


@readings.command("load")
@with_settings
@click.argument("paths", type=_FILE, nargs=-1, required=True, metavar="FILE…")
@click.option("--layout", default="ours", show_default=True, help="What the columns are; `--layout help` lists them.")
@click.option("--zone", default="", help="The time zone of times without one, such as Europe/London.")
@click.option("--ends", is_flag=True, help="The time of a row is the end of its half-hour, not the beginning.")
@click.option("--meter", default="", help="The meter's id in the register, if the rows do not name one.")
@click.option("--taken-at", default="", help="When the readings were taken, if the rows do not say.")
@_dry_run
def load_readings(
    settings: "Settings",
    paths: tuple[Path, ...],
    layout: str,
    zone: str,
    ends: bool,
    meter: str,
    taken_at: str,
    dry_run: bool,
) -> None:
    """Load half-hours from CSV, JSON or Parquet files, in any order. Loading the same reading twice does no harm.

    The exit status is 0 if every line was accepted, 3 if some were refused, and 1 if none was accepted or a file cannot be read
    to its end. Values that are set aside count as accepted, but are not released.
    """
    from consent_server import clock
    from consent_server.metering.importing import files, load
    from consent_server.metering.importing.report import FileFault, LoadReport

    how = _how(layout, zone, ends, meter, taken_at, dry_run, settings.metering.register_source == "table")
    report, fault = LoadReport(), ""
    with database_of(settings):
        for path in paths:
            with click.progressbar(length=files.size(path), label=path.name, file=sys.stderr) as bar:
                before = report.refused_lines
                try:
                    load.load(path, how, clock.now(), report, bar.update)
                except FileFault as error:
                    fault = f"{path}: {error}"
                    break
            if len(paths) > 1 and report.refused_lines > before:
                click.echo(f"{path}: {report.refused_lines - before} refused", err=True)
    _say(report)
    if fault:
        raise click.ClickException(fault)
    sys.exit(report.status)


@readings.command("set-aside")
@with_settings
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most this many.")
def set_aside(settings: "Settings", limit: int) -> None:
    """List the values that were set aside because they cannot be consumption or are in dispute, as JSON lines."""
    from consent_server.parties.operator import set_aside

    with database_of(settings):
        for each in set_aside.listed(limit):
            click.echo(json.dumps(each, ensure_ascii=False))


_why = click.option("--why", required=True, help="The reason, kept in the audit trail; no meter numbers.")
_by = click.option("--by", required=True, help="Who decides; kept in the audit trail.")


@readings.command("release")
@with_settings
@click.argument("id_", metavar="ID")
@_why
@_by
def release(settings: "Settings", id_: str, why: str, by: str) -> None:
    """Release the value with this ID in the list of `set-aside`. From then on it is a normal reading."""
    from consent_server.parties.operator import set_aside

    with database_of(settings):
        set_aside.release(id_, why, by)


@readings.command("discard")
@with_settings
@click.argument("id_", metavar="ID")
@_why
@_by
@destructive
def discard(settings: "Settings", id_: str, why: str, by: str, dry_run: bool, yes: bool) -> None:
    """Delete the value with this ID in the list of `set-aside`. Its half-hour stays missing."""
    from consent_server.parties.operator import set_aside

    with database_of(settings):
        value = json.dumps(set_aside.one(id_), ensure_ascii=False)
        if agreed(f"To be deleted: {value}", dry_run=dry_run, yes=yes):
            set_aside.discard(id_, why, by)


@readings.command("pack")
@with_settings
@click.option("--undo", is_flag=True, help="Unpack all, before release 0.1.0 is started again.")
def pack(settings: "Settings", undo: bool) -> None:
    """Pack the day blocks that release 0.1.0 kept, once no process of it runs. It may be stopped, and begun again."""
    from consent_server.parties.operator.packing import repack

    with database_of(settings):
        click.echo(f"{repack(undo)} day blocks {'unpacked' if undo else 'packed'}")


def _how(layout: str, zone: str, ends: bool, meter: str, taken_at: str, dry_run: bool, by_register: bool) -> "How":
    from zoneinfo import ZoneInfo

    from consent_server import clock
    from consent_server.metering.importing.layouts import LAYOUTS
    from consent_server.metering.importing.load import How
    from consent_server.metering.importing.rows import Stated
    from consent_server.scheme import instant

    if layout not in LAYOUTS:
        listed = "\n".join(f"  {name}: {each.about}" for name, each in LAYOUTS.items())
        raise click.BadParameter(f"must be one of\n{listed}", param_hint="--layout")
    try:
        ZoneInfo(zone or "UTC")
    except (ValueError, OSError, KeyError):
        raise click.BadParameter("is no zone such as Europe/London", param_hint="--zone") from None
    try:
        taken = instant.parse(taken_at) if taken_at else None
        if taken is not None and taken > clock.now():
            raise ValueError
    except ValueError:
        raise click.BadParameter(
            "is no instant before now, such as 2026-03-12T09:30:00Z", param_hint="--taken-at"
        ) from None
    return How(layout, zone, ends, Stated(meter, taken), dry_run, by_register)


def _say(report: "LoadReport") -> None:
    for line in report.lines():
        click.echo(line)
