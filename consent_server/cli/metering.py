"""`consent-server metering`: try the register and the readings that the settings name."""

import sys
from typing import TYPE_CHECKING

import click

from consent_server import clock
from consent_server.cli.shared import database_of, with_settings

if TYPE_CHECKING:
    from consent_server.settings import Settings


@click.group()
def metering() -> None:
    """Test an energy data provider's sources of meters and readings."""


@metering.command("check")
@with_settings
@click.option("--postcode", default="", help="A postcode from one bill.")
@click.option("--mpan", default="", help="Its MPAN.")
@click.option("--mprn", default="", help="Its MPRN.")
@click.option("--customer", default="", help="That business's id in the customer log-in.")
def check(settings: "Settings", postcode: str, mpan: str, mprn: str, customer: str) -> None:
    """Check that the configured sources meet the contract. The exit status is 1 if one check fails.

    Pass the details from one bill; otherwise only what needs no meter is checked. Nothing is stored or changed.
    """
    from consent_server.metering import contract, sources
    from consent_server.metering.rows import RowReadings
    from consent_server.scheme.meters import MeterNumberError, parse_mpan, parse_mprn, parse_postcode
    from consent_server.settings import BadSettings

    try:
        place = parse_postcode(postcode).full if postcode else ""
        numbers = (parse_mpan(mpan).number if mpan else None, parse_mprn(mprn).number if mprn else None)
    except MeterNumberError as error:
        raise click.ClickException(str(error)) from None
    try:
        register, readings = sources.register_of(settings.metering), sources.readings_of(settings.metering)
    except BadSettings as error:
        raise click.ClickException(str(error)) from None
    logs_in = settings.has_log_in or bool(customer)
    sample = contract.Sample(register, readings, place, *numbers, clock.now(), customer or None, logs_in)
    failed = []
    with database_of(settings):
        for verdict in contract.verdicts(sample):
            click.echo(verdict)
            if verdict.fault:
                failed.append(verdict)
        if not failed and isinstance(readings, RowReadings):
            for sentence in readings.advice():
                click.echo(f"advice: {sentence}")
    if failed:
        click.echo(f"Failed: {len(failed)} of {len(contract.CHECKS)}. To mend:")
        for fault, said in {verdict.fault: verdict.said for verdict in failed}.items():
            click.echo(f"  {fault}" + (f" ({said})" if said else ""))
        sys.exit(1)
