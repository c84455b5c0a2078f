"""`consent-server provenance`: sign what a data API of your own gives out, and read and verify what others gave you."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from consent_server.cli.shared import certificates_in, set_option, settings_of

if TYPE_CHECKING:
    from consent_server.scheme.provenance.container import VerifiedStep

#: Bytes of one request: ten times the half-hours of 400 days.
LONGEST_REQUEST: Final = 64 * 1024 * 1024
#: Bytes of a file with a record: no record of ours is longer, and the data beside it are as long at most.
LONGEST_FILE: Final = 64 * 1024 * 1024
_PEM: Final = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def provenance() -> None:
    """Sign the output of your own data API, in any language; show and verify records."""


@provenance.command("sign")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Such as signing.toml.")
def sign(config: Path) -> None:
    """Read requests, one line of JSON each, and write for each one line: the body with its provenance, or an error.

    The exit status is 1 if a request was not signed.
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


def _record(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the file of a record, and with what it is verified against."""
    for option in (
        click.option("--trust-framework", default="", help="Its URL; else that of --config, else the record's."),
        click.option("--root", type=_PEM, help="PEM of the Directory's signing root, where --config does not name it."),
        set_option,
        click.option(
            "--config", type=_PEM, envvar="CONSENT_CONFIG", help="A party's settings, for root and trust framework."
        ),
        click.argument("path", type=_PEM, metavar="FILE"),
    ):
        command = option(command)
    return command


@provenance.command("verify")
@_record
def verify(**given: Any) -> None:
    """Verify the record in FILE, which is JSON: the record itself, or a response with `provenance` in it.

    Signatures, certificates and references must be valid, and every step must have been allowed when it was made. The exit
    status is 1 if any check fails, and each failure is one line.
    """
    steps = _verified(**given)
    _say_faults(steps)
    click.echo(f"{len(steps)} steps hold")


@provenance.command("show")
@click.option(
    "--graph", type=click.Path(path_type=Path, dir_okay=False), help="Also write the chain as a picture (SVG)."
)
@_record
def show(graph: Path | None, **given: Any) -> None:
    """Show the record in FILE as a tree: who signed what, when, under which permission, with which factor.

    The record is verified first, as by `provenance verify`. The exit status is 1 if any check fails.
    """
    from consent_server.scheme.provenance import chain, drawing

    steps = _verified(**given)
    for line in chain.tree(steps):
        click.echo(line)
    if graph is not None:
        graph.write_text(drawing.svg(steps, "Where the figures come from"), encoding="utf-8")
    _say_faults(steps)


def _verified(
    path: Path, config: Path | None, overrides: tuple[str, ...], root: Path | None, trust_framework: str
) -> "list[VerifiedStep]":
    """Return the verified steps of a file, or end the command with what does not hold."""
    import orjson

    from consent_server.pki.member_certificate import MalformedCertificate
    from consent_server.scheme.provenance import container
    from consent_server.scheme.provenance.step import ProvenanceError

    if config is not None:
        settings = settings_of(config, overrides)
        root, trust_framework = root or settings.keys.signing_root, trust_framework or settings.scheme.trust_framework
    if root is None:
        raise click.UsageError("say which signing root to verify with: --root, or --config")
    if path.stat().st_size > LONGEST_FILE:
        raise click.ClickException(f"{path}: longer than {LONGEST_FILE} bytes, which no record is")
    try:
        record = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        raise click.ClickException(f"{path}: is not JSON") from None
    if isinstance(record, dict) and "provenance" in record:
        record = record["provenance"]
    if not trust_framework and isinstance(record, dict):
        trust_framework = str(record.get("ib1:provenance"))
    try:
        return container.verify(record, trust_framework, certificates_in(root)[0])
    except (ProvenanceError, MalformedCertificate) as error:
        raise click.ClickException(f"{path}: does not hold: {error}") from None


def _say_faults(steps: "list[VerifiedStep]") -> None:
    """End the command when something between the steps does not hold."""
    from consent_server.scheme.provenance import chain

    found = chain.faults(steps)
    for fault in found:
        click.echo(f"does not hold: {fault}", err=True)
    if found:
        sys.exit(1)


def _requests(stream: BinaryIO) -> Iterator[bytes]:
    """Yield each line that is not blank. One that is too long is cut, so that it is no JSON, and read to its end."""
    while line := stream.readline(LONGEST_REQUEST):
        rest = line
        while len(rest) == LONGEST_REQUEST and not rest.endswith(b"\n"):
            rest = stream.readline(LONGEST_REQUEST)
        if line.strip():
            yield line
