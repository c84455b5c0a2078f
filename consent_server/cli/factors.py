"""`consent-server factors`: the conversion factors for gas of a carbon accounting provider."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import database_of, with_settings

if TYPE_CHECKING:
    from consent_server.scheme.factors import FactorSet
    from consent_server.settings import Settings


@click.group()
def factors() -> None:
    """Manage a carbon accounting provider's copy of the government's conversion factors for gas."""


@factors.command("list")
@with_settings
def list_factors(settings: "Settings") -> None:
    """List every set, with the period to which it applies under the configured rule, and its source.

    The exit status is 1 if the newest set is more than fourteen months old.
    """
    from consent_server import clock, store
    from consent_server.scheme.factors import in_force, is_overdue
    from consent_server.store.factors import sets

    rule = settings.collection.gas_factors
    with database_of(settings), store.reading() as c:
        known = sets(c)
    periods = in_force(known, rule)
    click.echo(f"rule: {rule}")
    for each in periods:
        click.echo(f"{each.factor.year}  {_stretch(each.start, each.end)}")
        click.echo(f"      {_figures(each.factor)}")
        click.echo(f"      {each.factor.title}, {each.factor.source}, {each.factor.license}")
        click.echo(f"      file: {each.factor.file_sha256 or 'none, the set came with this release'}")
    if any(is_overdue(each, clock.now()) for each in periods):
        click.echo("the next set is overdue: load it with `consent-server factors load FILE`", err=True)
        sys.exit(1)


@factors.command("load")
@with_settings
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@click.option("--published", default="", help="When the set was first published, such as 2027-06-10T09:30:00+01:00.")
@click.option("--dry-run", is_flag=True, help="Check the file and print what it would change, but store nothing.")
def load(settings: "Settings", path: Path, published: str, dry_run: bool) -> None:
    """Load a year's factors for natural gas from the government's flat FILE, xlsx or CSV.

    The set replaces the one of the same year. A file is refused if its values are implausible, or if some time would
    then have no set, or two.
    """
    from consent_server.collect import factor_sets
    from consent_server.collect.flat_file import FlatFileFault
    from consent_server.scheme import instant
    from consent_server.scheme.factors import FactorError

    try:
        first = instant.parse(published) if published else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--published") from None
    with database_of(settings):
        try:
            loaded = factor_sets.load(path, settings.collection.gas_factors, first, dry_run)
        except (FlatFileFault, FactorError) as fault:
            raise click.ClickException(f"{path}: {fault}") from None
    click.echo(f"{loaded.found.year}  {_figures(loaded.found)}")
    click.echo(f"      {loaded.found.title}, file {loaded.found.file_sha256}")
    for each in loaded.changes:
        click.echo(f"{_stretch(each.start, each.end)}: {_name(each.before)} -> {_name(each.after)}")
    if not loaded.changes:
        click.echo("no half-hour takes another factor")
    if dry_run:
        click.echo("nothing was kept")
    elif loaded.due:
        click.echo(f"gas is worked out again through {loaded.due} connections")


def _stretch(start: int, end: int) -> str:
    from consent_server.scheme import instant
    from consent_server.scheme.factors import FOR_EVER

    return f"from {instant.text(start)}" + ("" if end == FOR_EVER else f" to {instant.text(end)}")


def _figures(each: "FactorSet") -> str:
    share = "" if each.biomethane_share is None else f", biomethane {each.biomethane_share:.2%} (not used)"
    return f"{each.kg_per_m3} kgCO2e/m3, {each.kg_per_kwh} kgCO2e/kWh (gross){share}"


def _name(each: "FactorSet | None") -> str:
    return "none" if each is None else f"{each.year} ({each.kg_per_m3} kgCO2e/m3)"
