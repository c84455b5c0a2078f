"""What one gunicorn serves: read when it starts and at each SIGHUP; if what is new cannot be used, all stays as it was."""

import json
import logging
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from consent_server import traces
from consent_server.serving import connection, lines
from consent_server.settings import BadSettings, Settings, load
from consent_server.settings.doors import ListenerSettings

log = logging.getLogger("consent_server.serving")

#: Seconds in which the check before a reload must end, on a machine that others keep busy, too.
CHECKED_WITHIN_S = 120


@dataclass(frozen=True)
class Serving:
    """One door: its settings and its TLS."""

    settings: Settings
    door: str
    listener: ListenerSettings
    tls: connection.DoorContext


class _Held:
    """The latest that could be read. gunicorn runs its configuration file anew at each SIGHUP; this module stays."""

    serving: Serving | None = None


def read() -> Serving:
    """Return the door that the environment names: CONSENT_CONFIG, CONSENT_DOOR and CONSENT_SET (overrides, as JSON).

    What cannot be used ends the process with one line when it starts; later, `reload` has read it.
    """
    if _Held.serving is None:
        try:
            _Held.serving = _read()
        except (BadSettings, OSError) as error:
            print(f"the door cannot open: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
            sys.exit(1)
    return held()


def reload(go_on: Callable[[], None], *, ours: bool) -> None:
    """At a SIGHUP, read again, and let gunicorn `go_on`, which starts new workers and ends those of before.

    What cannot be used is one line in the log: workers, settings and certificate stay. `ours` says whether it is our own
    application that is served, so that `consent-server serve --check` can say whether a worker would start.
    """
    try:
        if ours:
            _check()
        _Held.serving = _read_again(held())
    except (BadSettings, OSError) as error:
        log.error("%s", error, extra={"fields": {"event": "reload_refused"}})
    else:
        go_on()


def held() -> Serving:
    """Return what was read last, in this process or in the one that it was forked from."""
    assert _Held.serving is not None, "the configuration has not been read"
    return _Held.serving


def serving(settings: Settings, door: str) -> Serving:
    """Return a door by its settings, with the TLS of the files that they name. Raise BadSettings."""
    listener = settings.public if door == "public" else settings.mutual_tls
    traces.require_extra(settings.traces)
    asks_for_certificate = door == "mutual_tls" and settings.clients.arrival == "tls"
    return Serving(
        settings, door, listener, _tls(door, listener, settings.clients.root if asks_for_certificate else None)
    )


def _read() -> Serving:
    settings = load(Path(os.environ["CONSENT_CONFIG"]), _overrides())
    found = serving(settings, os.environ["CONSENT_DOOR"])
    lines.install(found.door)
    return found


def _read_again(before: Serving) -> Serving:
    found = _read()
    if found.listener.bind != before.listener.bind:
        # gunicorn would close its socket first, systemd's too, and end if it cannot open the new one.
        raise BadSettings(f"{found.door}.bind: a running door keeps its address: restart it for another")
    return found


def _check() -> None:
    """Let a process of its own load what a worker loads: one that cannot start ends the whole door. Raise BadSettings."""
    command = [sys.executable, "-m", "consent_server", "serve", "--door", os.environ["CONSENT_DOOR"], "--check"]
    command += [f"--set={key}={value}" for key, value in _overrides().items()]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, no shell
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CHECKED_WITHIN_S
        )
    except subprocess.TimeoutExpired:
        raise BadSettings(f"the check of what is new did not end within {CHECKED_WITHIN_S} seconds") from None
    if done.returncode:
        # Anything but the sentence of a command is a library's, and may quote what must not be logged.
        said = re.search(r"^Error: (.*)", done.stderr, re.MULTILINE | re.DOTALL)
        raise BadSettings(said[1].strip() if said else "what is new cannot be loaded: `serve --check` shows why")


def _overrides() -> dict[str, str]:
    found: dict[str, str] = json.loads(os.environ.get("CONSENT_SET", "{}"))
    return found


def _tls(door: str, listener: ListenerSettings, client_root: Path | None) -> connection.DoorContext:
    files = {f"{door}.certificate": listener.certificate, f"{door}.key": listener.key, "clients.root": client_root}
    named = [f"{key} ({path})" for key, path in files.items() if path is not None]
    for words, path in zip(named, filter(None, files.values()), strict=True):
        try:
            path.open("rb").close()
        except OSError as error:
            raise BadSettings(f"{words}: {error.strerror}") from None
    try:
        return connection.context(listener, str(client_root) if client_root else None)
    except OSError as error:  # which does not name its file
        reason = (error.reason or "not PEM") if isinstance(error, ssl.SSLError) else error.strerror
        raise BadSettings(f"{', '.join(named)}: one of these cannot be used: {reason}") from None
