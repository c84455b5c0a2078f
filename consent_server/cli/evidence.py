"""`consent-server evidence`: check what a business kept of its permission."""

from pathlib import Path

import click

from consent_server.cli.shared import certificates_in


@click.group()
def evidence() -> None:
    """Check a consent receipt that a business kept."""


@evidence.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--root",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="PEM of the Directory's signing root (the setting keys.signing_root).",
)
def verify(file: Path, root: Path) -> None:
    """Print who signed the receipt in FILE, and what it is about. If it is not valid, say why and exit with status 1."""
    from consent_server import clock
    from consent_server.pki.member_certificate import MalformedCertificate
    from consent_server.scheme import consent_receipt
    from consent_server.scheme.signed_document import DocumentFault

    try:
        found = consent_receipt.verify(file.read_bytes(), certificates_in(root)[0], clock.now())
    except (DocumentFault, MalformedCertificate) as fault:
        raise click.ClickException(str(fault)) from None
    record = found["dpv:hasRecordOfActivity"]
    click.echo(f"Signed by {found['dct:publisher']['@id']} on {found['dct:created']['@value']}")
    click.echo(f"Consent {record['dct:identifier']}")
    for status in record["dpv:hasConsentStatus"]:
        click.echo(f"{status['@type'][0]} {status['dpv:isIndicatedAtTime']['@value']}")
