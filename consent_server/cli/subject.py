"""`consent-server subject`: what is held about a business that asks, and its deletion."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consent_server.cli.shared import (
    IDS_ARE_ARGUMENTS,
    application_of,
    certificates_in,
    database_of,
    require_new,
    with_settings,
)

if TYPE_CHECKING:
    from consent_server.parties.operator.subjects import SubjectQuery
    from consent_server.settings import Settings

_NEW_FILE = click.Path(path_type=Path, dir_okay=False)
_READABLE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group()
def subject() -> None:
    """Find, export and erase what is held about a business, once you have verified who asks."""


def _named(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options that name a business, which gets what they say as one argument."""

    @click.option("--business", help="Its name, as in its evidence, its account or the register.")
    @click.option("--email", help="The address of its account, or of its receipts.")
    @click.option("--postcode", help="Of one of its meters, in the register of an EDP.")
    @click.option("--meter", help="Number of one of its meters (MPAN or MPRN), in the register of an EDP.")
    @click.option("--permission", help="A permission or connection of its own.")
    @click.option("--subject", help="Its id here, as `find` shows it.")
    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        from consent_server.parties.operator.subjects import SubjectQuery

        query = SubjectQuery(**{name: options.pop(name) for name in SubjectQuery._fields})
        command(*args, query, **options)

    return run


@contextmanager
def _application(settings: "Settings") -> Iterator[None]:
    from consent_server.serving import lines

    lines.install("work")
    with application_of(settings, "public"):
        yield


@subject.command("find", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@_named
def find(settings: "Settings", query: "SubjectQuery") -> None:
    """Print for each matching business how much is held, by table, and what an erasure would leave."""
    from consent_server.parties.operator import subjects

    with _application(settings):
        found = subjects.find(query)
        for each in found:
            click.echo(f"subject {each}")
            _say(subjects.plan(each))
    if not found:
        raise click.ClickException(subjects.NOTHING_HELD)


def _say(plan: Any) -> None:
    from consent_server.scheme import instant

    for each in plan.withdraws:
        click.echo(f"  live   permission or connection {each}: an erasure withdraws it, and messages are sent")
    for table, number in plan.goes:
        click.echo(f"  goes   {table}: {number}")
    for row in plan.stays:
        until = "no day is known" if row.until is None else f"until {instant.date(row.until)}"
        click.echo(f"  stays  {row.table}: {row.rows}, {until}: {row.duty}")


@subject.command("export", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@_named
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write, which must be new; only its owner can read it.",
)
def export(settings: "Settings", query: "SubjectQuery", out: Path) -> None:
    """Write all that is held about one business: index.html to read, what-we-hold.json with every reading."""
    from consent_server.parties.operator import subjects

    require_new(out)
    with _application(settings):
        business = subjects.one(query)
        try:
            subjects.export(business, out)
        except OSError as error:
            raise click.ClickException(f"{out}: {error.strerror}") from None
    click.echo(f"{out}: index.html and what-we-hold.json")


@subject.command("erase", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@_named
@click.option(
    "--dry-run/--no-dry-run", default=True, show_default=True, help="Print what would go and what would stay."
)
@click.option("--yes", is_flag=True, help="With --no-dry-run: do not ask.")
@click.option("--by", default="", help="Who you are; kept in the audit trail and in the certificate.")
@click.option("--out", type=_NEW_FILE, help="The certificate to write: a new file.")
def erase(settings: "Settings", query: "SubjectQuery", dry_run: bool, yes: bool, by: str, out: Path | None) -> None:
    """Withdraw a business's permissions, delete what need not be kept, and write the signed certificate of deletion."""
    from consent_server.parties.operator import records, subjects

    if dry_run and yes:
        raise click.UsageError("--yes goes with --no-dry-run")
    if not dry_run:
        if out is None:
            raise click.UsageError("name the file for the certificate: --out")
        require_new(out)
    with _application(settings):
        if not dry_run:
            by = records.reason_of(by, "say who you are: --by")
        business = subjects.one(query)
        click.echo(f"subject {business}")
        _say(subjects.plan(business))
        if dry_run or out is None:
            click.echo("Nothing was changed. --no-dry-run does it.")
            return
        if not yes:
            click.confirm("Erase this?", abort=True)
        certificate = subjects.erase(business, by)
        click.echo(f"Erased. Certificate {certificate}")
        try:
            out.write_bytes(subjects.certificate(certificate))
        except OSError as error:
            again = f"`consent-server subject certificate {certificate}` writes it again"
            raise click.ClickException(f"{out}: {error.strerror}; {again}") from None


@subject.command("certificate", context_settings=IDS_ARE_ARGUMENTS)
@with_settings
@click.argument("certificate")
def certificate(settings: "Settings", certificate: str) -> None:
    """Print a CERTIFICATE of deletion again, by its number."""
    from consent_server.parties.operator import subjects

    with database_of(settings):
        click.echo(subjects.certificate(certificate), nl=False)


@subject.command("verify")
@click.argument("file", type=_READABLE)
@click.option("--root", type=_READABLE, required=True, help="PEM of the Directory's signing root.")
def verify(file: Path, root: Path) -> None:
    """Print what the certificate of deletion in FILE says. If it is not valid, say why and exit with status 1."""
    from consent_server import clock
    from consent_server.pki.member_certificate import MalformedCertificate
    from consent_server.scheme import deletion
    from consent_server.scheme.signed_document import DocumentFault

    try:
        found = deletion.verify(file.read_bytes(), certificates_in(root)[0], clock.now())
    except (DocumentFault, MalformedCertificate) as fault:
        raise click.ClickException(str(fault)) from None
    click.echo(f"Signed by {found['member']} on {found['time']}, for {found['by']}")
    click.echo(f"Certificate {found['certificate']}: {len(found['withdrawn'])} permissions and connections withdrawn")
    for row in found["erased"]:
        click.echo(f"  deleted  {row['table']}: {row['rows']}")
    for row in found["kept"]:
        click.echo(f"  kept     {row['table']}: {row['rows']}, until {row.get('until') or 'no day that is known'}")
