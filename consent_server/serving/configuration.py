"""What one gunicorn serves: read when it starts and at each SIGHUP; if it cannot be read again, it stays as it was."""

import json
import logging
import os
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

from consent_server import traces
from consent_server.serving import connection, lines
from consent_server.settings import BadSettings, ListenerSettings, Settings, load

log = logging.getLogger("consent_server.serving")


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

    What cannot be used ends the process with one line when it starts; at a SIGHUP it is one line in the log, and the
    settings and the certificate of before stay in use, in the workers of before and in new ones.
    """
    try:
        _Held.serving = _read()
    except (BadSettings, OSError) as error:
        if _Held.serving is None:
            print(f"the door cannot open: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
            sys.exit(1)
        log.error("%s", error, extra={"fields": {"event": "reload_refused"}})
    return held()


def held() -> Serving:
    """Return what `read` returned last, in this process or in the one that it was forked from."""
    assert _Held.serving is not None, "the configuration has not been read"
    return _Held.serving


def _read() -> Serving:
    settings = load(Path(os.environ["CONSENT_CONFIG"]), json.loads(os.environ.get("CONSENT_SET", "{}")))
    door = os.environ["CONSENT_DOOR"]
    listener = settings.public if door == "public" else settings.mutual_tls
    traces.require_extra(settings.traces)
    lines.install(door)
    asks_for_certificate = door == "mutual_tls" and settings.clients.arrival == "tls"
    return Serving(
        settings, door, listener, _tls(door, listener, settings.clients.root if asks_for_certificate else None)
    )


def _tls(door: str, listener: ListenerSettings, client_root: Path | None) -> connection.DoorContext:
    try:
        return connection.context(listener, str(client_root) if client_root else None)
    except OSError as error:  # which does not name its file
        reason = (error.reason or "not PEM") if isinstance(error, ssl.SSLError) else error.strerror
        files = f"{door}.certificate ({listener.certificate}), {door}.key ({listener.key})"
        files += f" and clients.root ({client_root})" if client_root else ""
        raise BadSettings(f"{files}: one of these cannot be used: {reason}") from None
