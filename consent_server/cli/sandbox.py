"""`consent-server sandbox`: a trust framework, an EDP, a CAP and a bank on one machine."""

import sys
from pathlib import Path

import click

from consent_server.cli.shared import SECRETS_ARE_NO_ARGUMENTS, pairs, set_option
from consent_server.serving import lines


def _without_password(_context: click.Context, _option: click.Parameter, url: str | None) -> str | None:
    from consent_server.settings.party import has_secret

    if url is not None and has_secret("database.url", url):
        raise click.BadParameter(SECRETS_ARE_NO_ARGUMENTS)
    return url


@click.group()
def sandbox() -> None:
    """Run a whole trust framework on one machine, to try the path end to end."""


@sandbox.command("up")
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=Path(".sandbox"), show_default=True)
@click.option("--base-port", type=int, default=8440, show_default=True)
@click.option("--walk", is_flag=True, help="Walk the whole path once, as an SME would.")
@click.option("--once", is_flag=True, help="Stop after the walk; the exit status is the walk's.")
@click.option("--keep", is_flag=True, help="Keep the data of the last run.")
@click.option("--database-url", callback=_without_password, help="A PostgreSQL server; each party gets its own schema.")
@set_option
def sandbox_up(
    directory: Path,
    base_port: int,
    walk: bool,
    once: bool,
    keep: bool,
    database_url: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Start the sandbox. Keys of --set begin with a party: edp.metadata.authorization_alias=false."""
    from consent_server.sandbox.up import up

    lines.install("work")
    sys.exit(
        up(
            directory.resolve(),
            base_port,
            walk=walk or once,
            once=once,
            keep=keep,
            database_url=database_url,
            overrides=pairs(overrides),
        )
    )
