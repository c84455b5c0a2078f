"""`consent-server report`: verify a report that was made out to a bank, and report on what this party keeps and does."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent_server.cli.shared import certificates_in, database_of, set_option, settings_of, with_settings

if TYPE_CHECKING:
    from consent_server.documents.data import ReportData, WholePeriod
    from consent_server.documents.verify import VerifiedReport
    from consent_server.settings import Settings

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def report() -> None:
    """Verify reports addressed to a bank, and report on this party."""


_as_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@report.command("retention")
@with_settings
@_as_json
def retention(settings: "Settings", as_json: bool) -> None:
    """List each table: its rule, its number of rows, the instant that counts of the oldest row, and how many are due."""
    from consent_server.parties.operator.retention import tables
    from consent_server.scheme import instant

    with database_of(settings):
        found = tables(settings.retention)
    lines = [each._asdict() | {"oldest": "-" if each.oldest is None else instant.text(each.oldest)} for each in found]
    if as_json:
        click.echo(json.dumps(lines, indent=1))
        return
    for line in [{name: name for name in lines[0]}, *lines]:
        click.echo("{table:<21} {rows:>9} {due:>7}  {oldest:<20}  {rule}".format(**line))


@report.command("policy")
@with_settings
@click.option("--days", type=click.IntRange(1, 1178), default=31, show_default=True, help="Cover this many days.")
@_as_json
def policy(settings: "Settings", days: int, as_json: bool) -> None:
    """Report whether the scheme's policies are met. The exit status is 1 if a line says FAIL."""
    from consent_server import clock
    from consent_server.parties.operator.doctor import FAIL
    from consent_server.parties.operator.policy import lines
    from consent_server.scheme.instant import DAY

    at = clock.now()
    with database_of(settings):
        found = list(lines(settings, at - days * DAY, at))
    if as_json:
        every = [{"policy": each.policy} | dataclasses.asdict(each.finding) for each in found]
        click.echo(json.dumps(every, indent=1))
    else:
        for each in found:
            click.echo(f"{each.policy}: {each.finding}")
    if any(each.finding.level == FAIL for each in found):
        sys.exit(1)


@report.command("verify")
@click.argument("paths", type=_FILE, metavar="FILE...", nargs=-1, required=True)
@click.option("--config", type=_FILE, envvar="CONSENT_CONFIG", help="A party's settings, for all that follows.")
@set_option
@click.option("--root", type=_FILE, help="PEM of the Directory's signing root, where --config does not name it.")
@click.option("--trust-framework", default="", help="Its URL, where --config does not name it.")
@click.option("--to", "recipient", default="", help="The bank's member URL, where --config does not name it.")
@click.option("--account", default="", help="The account that the permission record of the business names.")
@click.option("--crl", "lists", type=_FILE, multiple=True, help="A revocation list of the Directory; may be repeated.")
@click.option(
    "--timestamp-root", "roots", type=_FILE, multiple=True, help="PEM of the roots of time-stamping authorities."
)
def verify(
    paths: tuple[Path, ...],
    config: Path | None,
    overrides: tuple[str, ...],
    root: Path | None,
    trust_framework: str,
    recipient: str,
    account: str,
    lists: tuple[Path, ...],
    roots: tuple[Path, ...],
) -> None:
    """Verify the PDF in FILE: signature, attachments, record, and that its pages agree with its data.

    Several files are the parts of one report that is divided by months: each is verified, and that they are all its parts and
    add up to its totals. The exit status is 1 if any check fails; each failed check has a line with its name.
    """
    from consent_server import clock
    from consent_server.documents.parts import verify_together
    from consent_server.documents.verify import LARGEST, NotGenuine, Trusted

    if config is not None:
        settings = settings_of(config, overrides)
        root, trust_framework = root or settings.keys.signing_root, trust_framework or settings.scheme.trust_framework
        recipient = recipient or settings.member.url
    if root is None or not trust_framework:
        raise click.UsageError("say what to verify with: --root and --trust-framework, or --config")
    trusted = Trusted(
        certificates_in(root)[0],
        trust_framework,
        [each.read_bytes() for each in lists],
        recipient or None,
        account or None,
        [root for path in roots for root in certificates_in(path)],
    )
    contents = []
    for path in paths:
        with path.open("rb") as file:
            contents.append(file.read(LARGEST + 1))
    try:
        found = verify_together(contents, trusted, clock.now())
    except NotGenuine as error:
        for check, why in error.faults:
            click.echo(f"does not hold: {check}: {why}", err=True)
        sys.exit(1)
    for each in found:
        _say(each)
    whole = found[0].data.part_of
    if whole is None:
        return
    months = f"{whole.start[:7]} to {_last_month(whole.end)}"
    if len(found) == 1:
        click.echo(f"it is a part of a report on {months}: give all parts to verify the totals that it names")
        return
    click.echo(f"together they are all parts of the report on {months}, and add up to its totals:")
    _say_totals(whole)


def _say(found: "VerifiedReport") -> None:
    """Print what holds of one file."""
    from consent_server.scheme import instant

    data = found.data
    click.echo(f"holds: signed by {found.member} at {instant.text(found.signed_at)}, made out to {data.to.url}")
    click.echo(
        f"{data.start[:7]} to {_last_month(data.end)}: its record has {found.steps} steps, its pages agree with its data"
    )
    if not found.revocation_known:
        click.echo("not known: whether the signer's certificates were revoked since; give current lists with --crl")
    if found.stamped_at is None:
        click.echo("it has no timestamp: only the signer states the time of signing")
    else:
        said = "" if found.stamp_trusted else ", if that is an authority: give its root with --timestamp-root"
        click.echo(f"stamped by {data.timestamp.authority} at {instant.text(found.stamped_at)}{said}")
    _say_totals(data)


def _say_totals(period: "ReportData | WholePeriod") -> None:
    from consent_server.documents.data import count_months

    of = count_months(period)
    for total in period.totals:
        click.echo(f"{total.fuel}: {total.kilograms:,.2f} {total.unit} in {total.months} of {of} months")


def _last_month(end: str) -> str:
    from consent_server.scheme import instant

    return instant.month(instant.parse(end) - 1)


@report.command("service-levels")
@with_settings
@click.option(
    "--month", required=True, metavar="YYYY-MM", help="A month that is kept as a whole: see retention.status_months."
)
@click.option("--format", "form", type=click.Choice(["csv", "html"]), default="csv", show_default=True)
def service_levels(settings: "Settings", month: str, form: str) -> None:
    """Print the service levels of a month, with the figures behind them."""
    from consent_server import clock
    from consent_server.scheme import instant
    from consent_server.status import levels

    try:
        start = instant.parse(f"{month}-01T00:00:00Z")
    except ValueError:
        raise click.BadParameter("name a month such as 2026-10", param_hint="--month") from None
    if start > clock.now():
        raise click.BadParameter(f"{month} has not begun", param_hint="--month")
    if start < instant.months_later(clock.now(), -settings.retention.status_months):
        why = f"{month} is not kept as a whole any more (retention.status_months = {settings.retention.status_months})"
        raise click.BadParameter(why, param_hint="--month")
    with database_of(settings):
        found = levels.of_month(start)
    click.echo(levels.as_csv(found) if form == "csv" else levels.as_html(found, settings.brand), nl=False)
