"""`consent-server guard`: the guard of a data API in another language, as a service beside its proxy."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from consent_server.resource.gate import Gate


@click.group()
def guard() -> None:
    """Protect your own data API, in any language, without this server's database."""


@guard.command("serve")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Such as guard.toml.")
@click.option("--bind", default="127.0.0.1:8450", show_default=True, help="host:port that only the proxy can reach.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
def serve(config: Path, bind: str, workers: int) -> None:
    """Answer nginx's auth_request (/nginx) and Envoy's ext_authz (/check/…) for the routes of a guard.toml."""
    from consent_server.resource import gate_settings
    from consent_server.settings import BadSettings

    try:
        gate_settings.load(config)  # a bad file must fail here, with a message, and not in a worker
    except BadSettings as error:
        raise click.ClickException(str(error)) from None
    environment = {**os.environ, "CONSENT_GUARD": str(config.resolve())}
    # As long as a request line may be at most: what a proxy accepts is answered by the guard, not by gunicorn's own page.
    options = ["--bind", bind, "--workers", str(workers), "--worker-class", "gevent", "--limit-request-line", "8190"]
    options.append("--no-control-socket")
    gunicorn = [sys.executable, "-m", "gunicorn", *options, "consent_server.cli.guard:gate()"]
    os.execve(sys.executable, gunicorn, environment)  # noqa: S606 - our own interpreter, no shell


def gate() -> "Gate":
    """Return the application that gunicorn serves, from the file that CONSENT_GUARD names."""
    from consent_server.resource import gate_settings
    from consent_server.resource.gate import Gate
    from consent_server.serving import lines

    lines.install("guard")
    settings = gate_settings.load(Path(os.environ["CONSENT_GUARD"]))
    return Gate(settings.guard(), settings.guarded_routes())
