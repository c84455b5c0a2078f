"""Where a worker's processor time goes: a timer of that time interrupts it, and what it was doing is counted by stage.

The counts are in a file that another process maps (`counts`), so reading them costs the worker nothing. A sample belongs to the
innermost frame that the table knows; C code counts for the Python frame that called it.
"""

import mmap
import re
import signal
import struct
from pathlib import Path
from types import FrameType
from typing import Any, Final

import sqlalchemy as sa

from consent_server.store.postgresql import connection_class

#: Seconds of processor time between two samples; the kernel's own tick is 1 to 4 ms.
INTERVAL_S: Final = 0.001

#: Stage -> the files, and functions where a file has several stages. The first stage with a matching frame counts.
STAGES: Final = {
    "TLS, with its time limits": r"serving/connection\.py|/ssl\.py|gevent/_ssl3\.py|gevent/timeout\.py",
    "request body": r"serving/request_body\.py|gunicorn/http/body\.py",
    "HTTP parsing": r"gunicorn/http/(message|parser|unreader)\.py",
    "access line": r"serving/gunicorn_log\.py",
    "server": r"gunicorn/|config/gunicorn\.conf\.py",
    "audit line": r"consent_server/audit\.py",
    "certificate": r"caller/(arrival|trust|identify)\.py|consent_server/pki/|outbound/revocation_list\.py",
    "Directory": r"caller/membership\.py|outbound/directory\.py",
    "parameters": r"web/parameters\.py",
    # `completed` runs the whole application: what Flask takes in it is Flask's
    "headers, correlation": r"web/(headers|correlation|door)\.py:(?!completed$)",
    "limits": r"web/(limits|budgets)\.py",
    "token: sign, read, MAC": r"consent_server/tokens/|/jwt/|cryptography/",
    "statements: build and compile": r"sqlalchemy/sql/|sqlalchemy/dialects/\w+/(base|_psycopg_common|json)\.py",
    "statements: driver": (
        r"/psycopg/|store/postgresql\.py|store/statement\.py:_run$"
        r"|engine/default\.py:do_(execute|executemany|commit|rollback|begin|ping)$"
    ),
    "transactions, connections": (
        r"sqlalchemy/pool/|sqlalchemy/event/|store/(database|kept|waiting|writers)\.py|flask_sqlalchemy/"
        r"|engine/base\.py:(_begin|_commit|_rollback|begin|commit|close|connect|__init__|__enter__|__exit__)"
    ),
    "statements: execute and fetch": r"sqlalchemy/|consent_server/store/",
    "rules of the act": r"consent_server/(issuer|scheme|withdrawal)/|consent_server/(refusal|clock|deployment)\.py",
    "Flask and Werkzeug": r"/flask/|/werkzeug/",
    "event loop": r"/gevent/",
    "other": "",
}
#: What is counted by number: statements, transactions that end with a commit, and calls of PostgreSQL's driver that may wait
#: for the server (giving a connection back is one that finds nothing to send).
NUMBERS: Final = ("statements", "commits", "driver's calls that may wait")
#: Stages that are the server's own; the others are the application's.
SERVER: Final = ("TLS, with its time limits", "request body", "HTTP parsing", "access line", "server", "event loop")

_COUNT: Final = struct.Struct("<q")
#: What counts for its caller where the table knows that: gevent waits for the database as well, Werkzeug keeps our headers.
_FOR_CALLERS: Final = ("event loop", "Flask and Werkzeug")


class _Counts:
    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(_COUNT.size * (len(STAGES) + len(NUMBERS))))
        with file.open("r+b") as opened:
            self._counts = mmap.mmap(opened.fileno(), 0)

    def add(self, number: int) -> None:
        at = number * _COUNT.size
        _COUNT.pack_into(self._counts, at, _COUNT.unpack_from(self._counts, at)[0] + 1)


class _Sampler:
    def __init__(self, counts: _Counts) -> None:
        self._counts = counts
        self._patterns = [(number, re.compile(pattern)) for number, pattern in enumerate(STAGES.values()) if pattern]
        self._for_callers = {list(STAGES).index(stage) for stage in _FOR_CALLERS}
        self._servers = {list(STAGES).index(stage) for stage in SERVER}
        self._known: dict[tuple[str, str], int | None] = {}

    def __call__(self, _signal: int, frame: FrameType | None) -> None:
        other = found = len(STAGES) - 1
        while frame is not None:
            stage = self._stage(frame.f_code.co_filename, frame.f_code.co_name)
            if stage in self._for_callers:
                found = stage
            elif stage is not None:
                # the server calls the application: what is Flask's stays so
                found = stage if found in {other, *self._servers} or stage not in self._servers else found
                break
            frame = frame.f_back
        self._counts.add(found)

    def _stage(self, file: str, function: str) -> int | None:
        where = (file, function)
        if where not in self._known:
            text = f"{file}:{function}"
            self._known[where] = next((n for n, pattern in self._patterns if pattern.search(text)), None)
        return self._known[where]


def start(file: Path) -> None:
    """Sample this process from now on, and count in `file`."""
    counted = _Counts(file)
    first = len(STAGES)
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *_: counted.add(first))
    sa.event.listen(sa.Engine, "commit", lambda *_: counted.add(first + 1))
    connection = connection_class()
    wait = connection.wait

    def counting(self: Any, *how: Any, **more: Any) -> Any:
        counted.add(first + 2)
        return wait(self, *how, **more)

    connection.wait = counting  # type: ignore[method-assign]
    signal.signal(signal.SIGPROF, _Sampler(counted))
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)


def counts(file: Path) -> dict[str, int]:
    """Return each stage -> samples so far, and each of NUMBERS -> how often."""
    return dict(zip((*STAGES, *NUMBERS), (count for (count,) in _COUNT.iter_unpack(file.read_bytes())), strict=True))
