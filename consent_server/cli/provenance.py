"""`consent-server provenance`: sign what a data API of your own gives out."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import click

#: Bytes of one request: ten times the half-hours of 400 days.
LONGEST_REQUEST: Final = 64 * 1024 * 1024


@click.group()
def provenance() -> None:
    """Sign what a data API of your own gives out, in any language."""


@provenance.command("sign")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Such as signing.toml.")
def sign(config: Path) -> None:
    """Read requests, each JSON on one line, and write each body with its provenance, or an error, on one line.

    The exit status is 1 when a request was not signed.
    """
    from consent_server.resource import signing_settings
    from consent_server.resource.sign import answer
    from consent_server.settings import BadSettings

    try:
        party = signing_settings.load(config)
    except BadSettings as error:
        raise click.ClickException(str(error)) from None
    all_signed = True
    for line in _requests(sys.stdin.buffer):
        answered, was_signed = answer(line, party)
        all_signed = all_signed and was_signed
        sys.stdout.buffer.write(answered + b"\n")
        sys.stdout.buffer.flush()  # whoever asked waits for it
    if not all_signed:
        sys.exit(1)


def _requests(stream: BinaryIO) -> Iterator[bytes]:
    """Yield each line that is not blank. One that is too long is cut, so that it is no JSON, and read to its end."""
    while line := stream.readline(LONGEST_REQUEST):
        rest = line
        while len(rest) == LONGEST_REQUEST and not rest.endswith(b"\n"):
            rest = stream.readline(LONGEST_REQUEST)
        if line.strip():
            yield line
