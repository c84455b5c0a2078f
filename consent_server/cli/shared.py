"""What the commands share: their options, the settings, the party's database, and errors as one sentence."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec

import click

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from consent_server.deployment import Door
    from consent_server.settings import Settings

P = ParamSpec("P")

#: For a command that takes an id: one in 64 begins with a dash, and is no option.
IDS_ARE_ARGUMENTS: Final = {"ignore_unknown_options": True}

#: `ps` shows the arguments of every process to every user of a machine, and shells keep them.
SECRETS_ARE_NO_ARGUMENTS: Final = (
    "a password must not be an argument, which others can read: put it into the settings file, or into the environment "
    "(docs/settings.md); for PostgreSQL, PGPASSFILE may name its file"
)

config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    envvar="CONSENT_CONFIG",
    help="The party's settings file; CONSENT_CONFIG names it too.",
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting; may be repeated."
)


def destructive(command: Callable[P, None]) -> Callable[P, None]:
    """Return a command with `--dry-run` and `--yes`, as `agreed` takes them."""
    with_yes = click.option("--yes", is_flag=True, help="Do not ask.")(command)
    return click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")(with_yes)


def agreed(what: str, *, dry_run: bool, yes: bool) -> bool:
    """Print what is about to be done. Return whether it shall: not in a dry run, and if not `yes`, after a question.

    End the command if the answer is no, or nobody answers.
    """
    click.echo(what)
    if dry_run:
        click.echo("Nothing was changed.")
    elif not yes:
        click.confirm("Do it?", abort=True)
    return not dry_run


def pairs(overrides: tuple[str, ...]) -> dict[str, str]:
    """Return what `--set` overrides, by key. End the command for a password."""
    from consent_server.settings.party import has_secret

    found = {}
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise click.BadParameter(f"{item} is not KEY=VALUE", param_hint="--set")
        if has_secret(key, value):
            raise click.BadParameter(f"{key}: {SECRETS_ARE_NO_ARGUMENTS}", param_hint="--set")
        found[key] = value
    return found


def read_settings(config: Path, overrides: tuple[str, ...]) -> "Settings":
    """Return the party's settings, and follow the sandbox's clock where they name one. Raise BadSettings."""
    from consent_server import clock
    from consent_server.settings import load

    settings = load(config, pairs(overrides))
    if settings.sandbox.clock:
        clock.follow(settings.sandbox.clock)
    return settings


def settings_of(config: Path, overrides: tuple[str, ...]) -> "Settings":
    """Return the party's settings, or end the command with what is wrong with them."""
    from consent_server.settings import BadSettings

    try:
        return read_settings(config, overrides)
    except BadSettings as error:
        raise click.ClickException(str(error)) from None


def with_settings(command: Callable[Concatenate["Settings", P], None]) -> Callable[..., None]:
    """Return a command with `--config` and `--set`, which gets the settings that they name."""

    @config_option
    @set_option
    @functools.wraps(command)
    def run(config: Path, overrides: tuple[str, ...], *args: P.args, **kwargs: P.kwargs) -> None:
        command(settings_of(config, overrides), *args, **kwargs)

    return run


@contextmanager
def said_plainly() -> Iterator[None]:
    """End the command with one sentence and exit status 1 for a fault that an operator can correct."""
    from consent_server.parties.operator.records import CommandFailed
    from consent_server.refusal import Refusal
    from consent_server.scheme.packed import DamagedBlock
    from consent_server.settings import BadSettings
    from consent_server.store import OutcomeUnknown, StoreUnavailable
    from consent_server.tokens.keys import KeysUnusable
    from consent_server.tokens.sealing import BadSealingKey

    try:
        yield
    except OutcomeUnknown as refusal:
        why = f"the database failed while it kept this ({refusal.private}): look whether it did, before you try again"
        raise click.ClickException(why) from None
    except DamagedBlock as error:
        todo = "restore its row of day_block from the back-up, or delete the row and load that day again"
        raise click.ClickException(f"{error}: {todo}") from None
    except StoreUnavailable as refusal:
        why = f"{refusal.private}: look at it, and try again"
        raise click.ClickException(f"the database cannot be used, and nothing was changed: {why}") from None
    except (BadSettings, BadSealingKey, KeysUnusable, CommandFailed) as error:
        raise click.ClickException(str(error)) from None
    except Refusal as refusal:
        raise click.ClickException(f"{refusal.sentence} ({refusal.private})") from None
    except OSError as error:
        if error.filename is None:
            raise
        raise click.ClickException(f"{error.filename}: {error.strerror}: the settings name this file") from None


@contextmanager
def database_of(settings: "Settings", *, make: bool = False) -> Iterator[None]:
    """Open the party's database for a block, in which errors are said plainly. `make` makes a file that is not there."""
    from consent_server.store.database import opened

    with said_plainly(), opened(settings.database, make=make):
        yield


@contextmanager
def application_of(settings: "Settings", door: "Door") -> Iterator[None]:
    """Run a block as the party, with its keys, its register and its pages; errors are said plainly."""
    from consent_server import create_app
    from consent_server.store.database import require_file

    with said_plainly():
        require_file(settings.database)
        with create_app(settings, door).app_context():
            yield


def require_new(out: Path) -> None:
    """End the command unless a file or folder can be made at `out`, where there is none."""
    if out.exists():
        raise click.BadParameter(f"{out} is there already: name a new one", param_hint="--out")
    if not out.resolve().parent.is_dir():
        raise click.BadParameter(f"{out.resolve().parent} is no folder", param_hint="--out")


def certificates_in(path: Path) -> "list[Certificate]":
    """Return the certificates of a PEM file, or end the command with what is wrong with it."""
    from consent_server.pki.member_certificate import MalformedCertificate, load_certificates

    try:
        return load_certificates(path.read_bytes())
    except (OSError, MalformedCertificate) as error:
        why = getattr(error, "strerror", None) or error
        raise click.ClickException(f"{path}: {why}: name the Directory's root, in PEM") from None
